# The inference server. VARIANT: cpu, or gpu for onnxruntime-gpu with CUDA and cuDNN from their wheels.
FROM python:3.11-slim AS build
ARG VARIANT=cpu
WORKDIR /src
COPY constraints.txt ./
# The second name is newer pips' for the isolated environments that wheels are built in.
ENV PIP_CONSTRAINT=/src/constraints.txt \
    PIP_BUILD_CONSTRAINT=/src/constraints.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv --without-pip /opt/venv
COPY proto proto
COPY server server
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/venv/bin/python install ./proto "./server[$VARIANT,tracing,remote]" s3fs \
 && /opt/venv/bin/python -c 'import onnxruntime' # pip only warns of an unknown VARIANT

FROM python:3.11-slim
LABEL org.opencontainers.image.title="latentry-server" \
      org.opencontainers.image.description="Inference server of latentry: ONNX bundles over gRPC" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
# The trainer's image has the same user and `models` folder, so that both may use a new volume of it. A new volume at
# `/cache`, for what a repository behind a URL sends, is the user's as well.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin latentry \
 && install -d -o latentry -g latentry /models /cache
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    LATENTRY_HOST=0.0.0.0 \
    LATENTRY_REPOSITORY=/models
USER 10001:10001
VOLUME ["/models"]
EXPOSE 50051 8002
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 CMD ["latentry-server", "health"]
ENTRYPOINT ["latentry-server"]
