"""Pure: what the protocol says of a graph: its tensors, its configuration, its state and what it has done."""

from collections.abc import Iterable, Iterator
from typing import Any

from latentry.open_inference import grpc_service_pb2 as messages
from latentry.open_inference import model_config_pb2 as config

from latentry_server.batching.limits import BatchingLimits
from latentry_server.batching.statistics import GraphStatistics
from latentry_server.operations.call import Limits
from latentry_server.repository.manifest import graph_role
from latentry_server.repository.version import ModelState, ModelStatus
from latentry_server.spec import GraphRole, GraphSpec, TensorSpec
from latentry_server.transport.open_inference.names import graph_name
from latentry_server.transport.open_inference.tensors import DATATYPES, wire_shape

PLATFORM = "onnxruntime_onnx"

_STATES = {
    ModelState.LOADING: "LOADING",
    ModelState.READY: "READY",
    ModelState.UNLOADING: "UNLOADING",
    ModelState.UNLOADED: "UNAVAILABLE",
    ModelState.FAILED: "UNAVAILABLE",
}


def to_metadata(name: str, versions: Iterable[int], graph: GraphSpec) -> messages.ModelMetadataResponse:
    """Describe a graph's tensors; shapes have -1 for the batch axis."""
    return messages.ModelMetadataResponse(
        name=name,
        versions=map(str, versions),
        platform=PLATFORM,
        inputs=map(_tensor_metadata, graph.inputs),
        outputs=map(_tensor_metadata, graph.outputs),
    )


def to_config(name: str, graph: GraphSpec, *, limits: Limits, batching: BatchingLimits) -> messages.ModelConfigResponse:
    """Describe how a graph is served; dims are of one row, and the largest batch is that of one request."""
    return messages.ModelConfigResponse(
        config=config.ModelConfig(
            name=name,
            platform=PLATFORM,
            backend="onnxruntime",
            max_batch_size=limits.max_request_rows,
            input=[config.ModelInput(**_row(tensor)) for tensor in graph.inputs],
            output=[config.ModelOutput(**_row(tensor)) for tensor in graph.outputs],
            dynamic_batching=config.ModelDynamicBatching(
                preferred_batch_size=[batching.max_batch_rows],
                max_queue_delay_microseconds=round(batching.max_delay_ms * 1000),
            ),
        )
    )


def to_statistics(name: str, version: int, done: GraphStatistics) -> messages.ModelStatistics:
    """Write what a graph has done; merging and splitting are part of a run's time."""
    nothing = _duration(done.requests, 0)
    return messages.ModelStatistics(
        name=name,
        version=str(version),
        last_inference=round(done.last_run_unix_s * 1e3),
        inference_count=done.rows,
        execution_count=done.runs,
        inference_stats=messages.InferStatistics(
            success=_duration(done.requests, done.queue_s + done.compute_s),
            fail=_duration(done.failed_requests, done.failed_s),
            queue=_duration(done.requests, done.queue_s),
            compute_input=nothing,
            compute_infer=_duration(done.requests, done.compute_s),
            compute_output=nothing,
        ),
    )


def to_index(statuses: Iterable[ModelStatus], *, only_ready: bool) -> messages.RepositoryIndexResponse:
    """List the graphs of every version; a version whose graphs are not known has one entry, with the model's name."""
    return messages.RepositoryIndexResponse(
        models=[
            messages.RepositoryIndexResponse.ModelIndex(
                name=name, version=str(status.version), state=_STATES[status.state], reason=_reason(status)
            )
            for status in statuses
            if status.state is ModelState.READY or not only_ready
            for name in [graph_name(status.name, role) for role in roles(status)] or [status.name]
        ]
    )


def roles(status: ModelStatus) -> Iterator[GraphRole]:
    """Give the graphs of a version, as its manifest has them."""
    for graph in status.manifest.graphs if status.manifest else ():
        if (role := graph_role(graph)) is not None:
            yield role


def _reason(status: ModelStatus) -> str:
    return "unloaded" if status.state is ModelState.UNLOADED else status.error


def _tensor_metadata(tensor: TensorSpec) -> messages.ModelMetadataResponse.TensorMetadata:
    return messages.ModelMetadataResponse.TensorMetadata(
        name=tensor.name, datatype=DATATYPES[tensor.dtype], shape=wire_shape(tensor.shape)
    )


def _row(tensor: TensorSpec) -> dict[str, Any]:
    """Describe one row of a tensor as ModelInput and ModelOutput do."""
    dims = wire_shape(tensor.shape)[1:]
    return {
        "name": tensor.name,
        "data_type": config.DataType.Value(f"TYPE_{DATATYPES[tensor.dtype]}"),
        "dims": dims,
        "reshape": None if dims == tensor.shape[1:] else config.ModelTensorReshape(shape=tensor.shape[1:]),
    }


def _duration(count: int, seconds: float) -> messages.StatisticDuration:
    return messages.StatisticDuration(count=count, ns=round(seconds * 1e9))
