"""GRPCInferenceService: every RPC of it."""
# ruff: noqa: N802, ARG002 - methods have the RPCs' names and arguments

import importlib.metadata
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Never

import grpc
import grpc.aio
from latentry.open_inference import grpc_service_pb2 as messages
from latentry.open_inference.grpc_service_pb2_grpc import GRPCInferenceServiceServicer

from latentry_server.errors import InvalidInputError, LatentryError, ModelNotFoundError
from latentry_server.operations.call import Call, Limits
from latentry_server.operations.infer import infer
from latentry_server.repository.loaded_model import LoadedModel
from latentry_server.repository.models import ModelRepository
from latentry_server.repository.version import ModelState
from latentry_server.spec import GraphRole
from latentry_server.transport.client import client_of
from latentry_server.transport.drain import Drain
from latentry_server.transport.inference_service import read_deadline_s
from latentry_server.transport.model_service import Loading
from latentry_server.transport.open_inference import descriptions
from latentry_server.transport.open_inference.names import graph_name, read_version, split_name
from latentry_server.transport.open_inference.tensors import read_inputs, read_outputs, read_timeout_s, to_response
from latentry_server.transport.statuses import to_status
from latentry_server.transport.stream import BoundedStream

EXTENSIONS = ("model_repository", "model_configuration", "statistics")

Context = grpc.aio.ServicerContext[Any, Any]


class OpenInferenceService(GRPCInferenceServiceServicer):
    """Every graph of the repository's models, as a model of its own."""

    def __init__(
        self,
        repository: ModelRepository,
        loading: Loading,
        *,
        limits: Limits,
        drain: Drain,
        max_stream_requests: int,
    ) -> None:
        self._repository = repository
        self._loading = loading
        self._limits = limits
        self._drain = drain
        self._max_stream_requests = max_stream_requests

    async def ServerLive(self, request: messages.ServerLiveRequest, context: Context) -> messages.ServerLiveResponse:
        """Tell that the server answers."""
        return messages.ServerLiveResponse(live=True)

    async def ServerReady(self, request: messages.ServerReadyRequest, context: Context) -> messages.ServerReadyResponse:
        """Tell whether new requests are taken."""
        return messages.ServerReadyResponse(ready=not self._drain.started.is_set())

    async def ModelReady(self, request: messages.ModelReadyRequest, context: Context) -> messages.ModelReadyResponse:
        """Tell whether a graph takes requests; one that is not known does not."""
        version = read_version(request.version, "version")
        try:
            with self._lease(request.name, version):
                return messages.ModelReadyResponse(ready=not self._drain.started.is_set())
        except LatentryError:
            return messages.ModelReadyResponse(ready=False)

    async def ServerMetadata(
        self, request: messages.ServerMetadataRequest, context: Context
    ) -> messages.ServerMetadataResponse:
        """Name the server and what it offers beyond inference."""
        version = importlib.metadata.version("latentry-server")
        return messages.ServerMetadataResponse(name="latentry", version=version, extensions=EXTENSIONS)

    async def ModelMetadata(
        self, request: messages.ModelMetadataRequest, context: Context
    ) -> messages.ModelMetadataResponse:
        """Describe a graph's tensors."""
        with self._lease(request.name, read_version(request.version, "version")) as (model, role):
            versions = self._ready_versions(model.spec.name, role)
            return descriptions.to_metadata(request.name, versions, model.spec.graphs[role])

    async def ModelConfig(self, request: messages.ModelConfigRequest, context: Context) -> messages.ModelConfigResponse:
        """Describe how a graph is served."""
        with self._lease(request.name, read_version(request.version, "version")) as (model, role):
            graph = model.spec.graphs[role]
            return descriptions.to_config(request.name, graph, limits=self._limits, batching=model.limits)

    async def ModelInfer(self, request: messages.ModelInferRequest, context: Context) -> messages.ModelInferResponse:
        """Run a graph."""
        return await self._infer(request, context)

    async def ModelStreamInfer(  # type: ignore[override]  # the stub knows generators only, not methods that write
        self, request_iterator: AsyncIterator[messages.ModelInferRequest], context: Context
    ) -> None:
        """Run graphs, many requests at a time, answered in order."""

        async def answer(request: messages.ModelInferRequest) -> messages.ModelStreamInferResponse:
            return await self._answer(request, context)

        await BoundedStream(
            answer, context.write, drain=self._drain, max_in_flight=self._max_stream_requests, in_order=True
        ).run(request_iterator)

    async def ModelStatistics(
        self, request: messages.ModelStatisticsRequest, context: Context
    ) -> messages.ModelStatisticsResponse:
        """Say what a graph has done, or without a name all that are ready."""
        version = read_version(request.version, "version")
        graphs = [(request.name, version)] if request.name else list(self._ready_graphs())
        return messages.ModelStatisticsResponse(model_stats=[self._statistics(*graph) for graph in graphs])

    async def RepositoryIndex(
        self, request: messages.RepositoryIndexRequest, context: Context
    ) -> messages.RepositoryIndexResponse:
        """List the graphs and their states."""
        _check_repository(request.repository_name)
        return descriptions.to_index(self._repository.statuses(), only_ready=request.ready)

    async def RepositoryModelLoad(
        self, request: messages.RepositoryModelLoadRequest, context: Context
    ) -> messages.RepositoryModelLoadResponse:
        """Load the newest version of a model, by its own name or one of its graphs'."""
        _check_repository(request.repository_name)
        if request.parameters:
            expected = "no parameters: a model's configuration and files are those of its bundle"
            raise InvalidInputError("parameters", expected=expected, got=", ".join(sorted(request.parameters)))
        await self._loading.load(self._model_name(request.model_name))
        return messages.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(
        self, request: messages.RepositoryModelUnloadRequest, context: Context
    ) -> messages.RepositoryModelUnloadResponse:
        """Unload a model, by its own name or one of its graphs'."""
        _check_repository(request.repository_name)
        await self._loading.unload(self._model_name(request.model_name))
        return messages.RepositoryModelUnloadResponse()

    async def _refuse(self, request: object, context: Context) -> Never:
        """Refuse an extension that is not offered."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"not offered; the extensions are {', '.join(EXTENSIONS)}")

    SystemSharedMemoryStatus = SystemSharedMemoryRegister = SystemSharedMemoryUnregister = _refuse
    CudaSharedMemoryStatus = CudaSharedMemoryRegister = CudaSharedMemoryUnregister = _refuse
    TraceSetting = LogSettings = _refuse

    async def _infer(self, request: messages.ModelInferRequest, context: Context) -> messages.ModelInferResponse:
        deadline_s = read_deadline_s(context)
        if timeout_s := read_timeout_s(request):
            deadline_s = min(deadline_s or math.inf, time.monotonic() + timeout_s)
        with self._lease(request.model_name, read_version(request.model_version, "model_version")) as (model, role):
            call = Call(model=model, limits=self._limits, client=client_of(context), deadline_s=deadline_s)
            inputs = read_inputs(request, model.spec.graphs[role])
            outputs = await infer(call, role, inputs, outputs=read_outputs(request))
            return to_response(request, model.spec.version, outputs)

    async def _answer(self, request: messages.ModelInferRequest, context: Context) -> messages.ModelStreamInferResponse:
        """Answer one request of a stream, its error included."""
        try:
            response = await self._infer(request, context)
            response.parameters["triton_final_response"].bool_param = True  # some clients wait for it
            return messages.ModelStreamInferResponse(infer_response=response)
        except Exception as error:  # noqa: BLE001 (statuses logs what nobody expected)
            return messages.ModelStreamInferResponse(
                error_message=to_status(error).message,
                infer_response=messages.ModelInferResponse(model_name=request.model_name, id=request.id),
            )

    @contextmanager
    def _lease(self, name: str, version: int) -> Iterator[tuple[LoadedModel, GraphRole]]:
        """Hold the model that has a graph; see `ModelRepository.lease`."""
        model_name, role = split_name(name)
        with self._repository.lease(model_name, version) as model:
            if role not in model.spec.graphs:
                raise ModelNotFoundError(name)
            yield model, role

    def _statistics(self, name: str, version: int) -> messages.ModelStatistics:
        with self._lease(name, version) as (model, role):
            return descriptions.to_statistics(name, model.spec.version, model.statistics(role))

    def _ready_versions(self, model: str, role: GraphRole) -> list[int]:
        name = graph_name(model, role)
        return sorted(version for graph, version in self._ready_graphs() if graph == name)

    def _ready_graphs(self) -> Iterator[tuple[str, int]]:
        for status in self._repository.statuses():
            if status.state is ModelState.READY:
                for role in descriptions.roles(status):
                    yield graph_name(status.name, role), status.version

    def _model_name(self, name: str) -> str:
        """Find the model that a caller means: its own name, which may be new, goes before a graph's."""
        if any(status.name == name for status in self._repository.statuses()):
            return name
        try:
            return split_name(name)[0]
        except ModelNotFoundError:
            return name


def _check_repository(name: str) -> None:
    if name:
        raise InvalidInputError("repository_name", expected="nothing, as there is one repository", got=repr(name))
