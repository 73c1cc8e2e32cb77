"""Message → result. Pure."""

from typing import Any

import numpy as np
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from latentry.v1 import inference_service_pb2 as pb
from latentry.v1 import manifest_pb2, model_service_pb2

from latentry_client import hashing
from latentry_client.exceptions import BadResponseError, CallContext, FailedPreconditionError
from latentry_client.results import (
    Classification,
    Encoding,
    Hashes,
    Health,
    Metric,
    Model,
    ModelPage,
    Outputs,
    RunInfo,
    Samples,
    Scores,
    StyleMixes,
)
from latentry_client.tensors import Array, to_array

_OutputsResponse = pb.DecodeResponse | pb.DenoiseResponse | pb.ReconstructResponse | pb.InterpolateResponse


def encoding(response: pb.EncodeResponse) -> Encoding:
    """Make Encode's result."""
    return Encoding(
        codings=to_array(response.codings),
        log_variance=_optional(response, "log_variance"),
        styles=_optional(response, "styles"),
        run=run_info(response.run),
    )


def outputs(response: _OutputsResponse) -> Outputs:
    """Make the result of the operations that answer with outputs alone."""
    return Outputs(outputs=to_array(response.outputs), run=run_info(response.run))


def samples(response: pb.SampleResponse) -> Samples:
    """Make Sample's result."""
    return Samples(
        outputs=to_array(response.outputs),
        seed=response.seed,
        codings=_optional(response, "codings"),
        labels=np.array(response.labels, np.int64) if response.labels else None,
        run=run_info(response.run),
    )


def scores(response: pb.ScoreResponse) -> Scores:
    """Make Score's result."""
    threshold = response.threshold if response.HasField("threshold") else None
    return Scores(scores=to_array(response.scores), threshold=threshold, run=run_info(response.run))


def classification(response: pb.ClassifyResponse) -> Classification:
    """Make Classify's result.

    Raises:
        BadResponseError: labels, names and probabilities do not belong together.
    """
    labels, probabilities = np.array(response.labels, np.int64), to_array(response.probabilities)
    num_labels = len(response.label_names)
    if probabilities.shape != (len(labels), num_labels) or not ((labels >= 0) & (labels < num_labels)).all():
        raise BadResponseError(
            f"{len(labels)} labels of {num_labels} names with probabilities of shape {list(probabilities.shape)}"
        )
    return Classification(
        labels=labels,
        probabilities=probabilities,
        label_names=tuple(response.label_names),
        run=run_info(response.run),
    )


def hashes(response: pb.EncodeResponse) -> Hashes:
    """Make the binary codes of Encode's codings.

    Raises:
        FailedPreconditionError: the model's codings stand for no bits.
    """
    codings = to_array(response.codings)
    try:
        codes = hashing.to_codes(codings)
    except ValueError as error:
        model_name = response.run.model
        raise FailedPreconditionError(
            f"model {model_name!r} is not trained for hashing: {error}", call=CallContext("Encode", model_name)
        ) from error
    return Hashes(codes=codes, num_bits=codings.shape[1], run=run_info(response.run))


def style_mixes(response: pb.StyleMixResponse) -> StyleMixes:
    """Make StyleMix's result."""
    return StyleMixes(outputs=to_array(response.outputs), noise_seed=response.noise_seed, run=run_info(response.run))


def run_info(run: pb.RunInfo) -> RunInfo:
    """Make the account of what ran."""
    return RunInfo(model=run.model, version=run.version, queue_us=run.queue_us, compute_us=run.compute_us)


def model(message: model_service_pb2.Model) -> Model:
    """Make one version of a model."""
    manifest = message.manifest
    return Model(
        name=message.name,
        version=message.version,
        state=_word(model_service_pb2.ModelState, message.state, "MODEL_STATE_"),
        error=message.error,
        variant=manifest.variant,
        preset=manifest.preset,
        capabilities=frozenset(_word(manifest_pb2.Capability, c, "CAPABILITY_") for c in manifest.capabilities),
        input_shape=tuple(manifest.input_shape),
        codings_shape=tuple(manifest.codings_shape),
        label_names=tuple(manifest.label_names),
        num_style_layers=manifest.style.num_layers,
        metrics=tuple(Metric(m.name, m.value, m.split) for m in manifest.metrics),
        manifest=manifest if message.HasField("manifest") else None,
    )


def answered_model(response: model_service_pb2.GetModelResponse | model_service_pb2.LoadModelResponse) -> Model:
    """Make the result of GetModel and LoadModel."""
    return model(response.model)


def unloaded(response: model_service_pb2.UnloadModelResponse) -> tuple[Model, ...]:
    """Make UnloadModel's result."""
    return tuple(model(message) for message in response.models)


def model_page(response: model_service_pb2.ListModelsResponse) -> ModelPage:
    """Make a page of models."""
    return ModelPage(
        models=tuple(model(message) for message in response.models), next_page_token=response.next_page_token
    )


def health(response: health_pb2.HealthCheckResponse) -> Health:
    """Make the result of a health check."""
    return Health(_word(health_pb2.HealthCheckResponse.ServingStatus, response.status, ""))


def _optional(response: Message, field: str) -> Array | None:
    return to_array(getattr(response, field)) if response.HasField(field) else None


def _word(enum: Any, number: int, prefix: str) -> str:  # noqa: ANN401 - protobuf's enums share no public type
    known = enum.DESCRIPTOR.values_by_number.get(number)
    return known.name.removeprefix(prefix).lower() if known else f"unknown_{number}"
