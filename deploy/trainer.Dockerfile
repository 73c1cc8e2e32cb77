# The trainer, with Fashion-MNIST. The usual torch brings CUDA and runs on CPUs, too; its build for CPUs alone is several GB
# smaller: PIP_EXTRA_INDEX_URL takes the address of torch's own index of such builds.
FROM python:3.11-slim AS build
ARG PIP_EXTRA_INDEX_URL=
WORKDIR /src
COPY constraints.txt ./
# The second name is newer pips' for the isolated environments that wheels are built in.
ENV PIP_CONSTRAINT=/src/constraints.txt \
    PIP_BUILD_CONSTRAINT=/src/constraints.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1
RUN apt-get update \
 && apt-get install --yes --no-install-recommends dataset-fashion-mnist \
 && rm -rf /var/lib/apt/lists/*
RUN python -m venv --without-pip /opt/venv
# In a layer of its own: the largest by far, and the one that changes least.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/venv/bin/python install --no-deps torch
COPY proto proto
COPY trainer trainer
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/venv/bin/python install ./proto ./trainer

FROM python:3.11-slim
LABEL org.opencontainers.image.title="latentry-trainer" \
      org.opencontainers.image.description="Trainer of latentry: autoencoders and GANs, exported to ONNX bundles" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
# The server's image has the same user and `models` folder, so that both may use a new `models` volume.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin latentry \
 && install -d -o latentry -g latentry /models /runs
COPY --from=build /usr/share/datasets/fashion-mnist /usr/share/datasets/fashion-mnist
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /
USER 10001:10001
VOLUME ["/models", "/runs"]
ENTRYPOINT ["latentry-train"]
CMD ["list"]
