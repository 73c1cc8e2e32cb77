"""The server: wires the layers, starts, drains, stops."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2_grpc import add_ServerReflectionServicer_to_server
from latentry.open_inference import grpc_service_pb2
from latentry.open_inference.grpc_service_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from latentry.v1 import inference_service_pb2, model_service_pb2
from latentry.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from latentry.v1.model_service_pb2_grpc import add_ModelServiceServicer_to_server
from prometheus_client import CollectorRegistry, ProcessCollector

from latentry_server.batching.limits import BatchingLimits
from latentry_server.batching.room import Room
from latentry_server.errors import StartError
from latentry_server.listening import channel_options, listen
from latentry_server.metrics import Metrics
from latentry_server.metrics_server import MetricsServer
from latentry_server.operations.call import Limits
from latentry_server.ports import address
from latentry_server.repository.models import ModelRepository
from latentry_server.repository.store import Store
from latentry_server.repository.stores import open_store
from latentry_server.repository.version import ModelState
from latentry_server.sessions.devices import Device, resolve_device
from latentry_server.sessions.onnx import OnnxRuntime
from latentry_server.sessions.threads import available_cpus
from latentry_server.settings import MIB, Settings
from latentry_server.signals import stop_signal
from latentry_server.transport.calls import CallHandlers
from latentry_server.transport.drain import Drain
from latentry_server.transport.health import Health
from latentry_server.transport.inference_service import InferenceService
from latentry_server.transport.model_service import Loading, ModelService
from latentry_server.transport.open_inference.service import OpenInferenceService
from latentry_server.transport.tokens import Tokens

if TYPE_CHECKING:
    from latentry_server.telemetry import Telemetry

logger = logging.getLogger(__name__)

# What is left once every call is answered: health watchers that are told, reflection, idle connections.
_CLOSE_TIMEOUT_S = 1.0


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain; StartError where the server cannot start."""
    server = Server(settings)
    await serve(server, server.start(), until=stop_signal())


async def serve(server: "Server", start: Coroutine[Any, Any, None], *, until: asyncio.Event) -> None:
    """Start a server, let it serve, and drain it; what keeps it from starting is raised."""
    starting, stopping = asyncio.create_task(start), asyncio.create_task(until.wait())
    try:
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        starting.cancel()  # once started, this does nothing; before, the other models need not be loaded
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        await stopping
    finally:
        stopping.cancel()
    await server.stop()


class Server:
    """One server in this process; made, started and stopped on its event loop."""

    def __init__(self, settings: Settings, *, share: Callable[[ModelRepository], Loading] | None = None) -> None:
        """Wire the layers; StartError where the device or a file of the settings is not there.

        Args:
            settings: how to serve.
            share: what makes requests to load and unload reach every worker; None where this process is the only one.
        """
        self._settings = settings
        self.registry = CollectorRegistry()
        """The metrics."""
        ProcessCollector(registry=self.registry)
        self._metrics = Metrics(self.registry)
        self._metrics_server: MetricsServer | None = None
        self._device = _resolve_device(settings.device)
        self._store = _open_store(settings)
        self.repository = ModelRepository(
            self._store,
            selection=settings.selection,
            runtime=OnnxRuntime(
                device=self._device, num_threads=settings.threads or max(1, available_cpus() // settings.workers)
            ),
            limits=BatchingLimits(
                max_batch_rows=settings.max_batch_rows,
                max_queue_rows=settings.max_queue_rows,
                bytes_room=Room(settings.max_queue_mib * MIB),
                max_delay_ms=settings.max_delay_ms,
                max_run_s=settings.max_run_s,
            ),
            metrics=self._metrics,
            poll_interval_s=settings.poll_interval_s or None,
            load_timeout_s=settings.load_timeout_s or None,
        )
        self._loading = self.repository if share is None else share(self.repository)
        self._drain = Drain(max_calls=settings.max_calls, max_streams=settings.max_streams)
        self._health = Health(self.repository, self._drain, max_watches=settings.max_streams)
        self._telemetry = _open_telemetry(settings.otlp_endpoint)
        self._grpc = self._make_grpc_server()
        self.port = 0
        """The port that the server listens on, once started."""

    async def start(self) -> None:
        """Take the ports, load the models, then take calls; StartError where one of these cannot be."""
        settings = self._settings
        self.listen()
        if settings.metrics_port:
            self._metrics_server = MetricsServer(settings.host, settings.metrics_port, self.registry)
        await self.load()
        await self.serve()
        logger.info("latentry-server listening on %s", address(settings.host, self.port))

    def listen(self) -> None:
        """Take the port; StartError where it is taken."""
        self.port = listen(self._grpc, self._settings)

    async def load(self) -> None:
        """Load the models; StartError where the repository cannot be read."""
        try:
            await self.repository.start()
        except ValueError as error:
            raise StartError(str(error)) from error
        ready = [status for status in self.repository.statuses() if status.state is ModelState.READY]
        models = ", ".join(f"{status.name}/{status.version}" for status in ready)
        logger.info("models on %s: %s", self._device, models or f"none in {self._store} yet")

    async def serve(self) -> None:
        """Take calls."""
        await self._grpc.start()

    async def stop(self) -> None:
        """Refuse new calls, answer those in flight, then stop."""
        timeout_s = self._settings.drain_timeout_s
        logger.info("shutting down: calls in flight are answered, for at most %g s", timeout_s)
        self._drain.start()
        await self._health.notify()
        if unanswered := await self._drain.wait(timeout_s=timeout_s):
            logger.warning("%d calls were not answered in %g s", unanswered, timeout_s)
        # gRPC drops calls that arrive while it stops; for those on their way, UNAVAILABLE says where they stand.
        await asyncio.sleep(self._settings.drain_refuse_s)
        await self._grpc.stop(_CLOSE_TIMEOUT_S)
        await self.repository.close()
        if self._metrics_server is not None:
            await asyncio.to_thread(self._metrics_server.close)
        if self._telemetry is not None:
            await asyncio.to_thread(self._telemetry.close)
        logger.info("stopped")

    def _make_grpc_server(self) -> grpc.aio.Server:
        settings = self._settings
        server = grpc.aio.server(options=channel_options(settings))
        limits = Limits(max_request_rows=settings.max_request_rows, max_message_bytes=settings.max_message_bytes)
        max_stream_requests = settings.max_stream_requests
        inference = InferenceService(
            self.repository, limits=limits, drain=self._drain, max_stream_requests=max_stream_requests
        )
        open_inference = OpenInferenceService(
            self.repository,
            self._loading,
            limits=limits,
            drain=self._drain,
            max_stream_requests=max_stream_requests,
        )
        registry = HandlerRegistry()
        generic: Any = registry
        add_InferenceServiceServicer_to_server(inference, generic)
        add_GRPCInferenceServiceServicer_to_server(open_inference, generic)
        add_ModelServiceServicer_to_server(ModelService(self.repository, self._loading), generic)
        add_HealthServicer_to_server(self._health, generic)
        services = [
            file.services_by_name[name].full_name
            for file, name in (
                (inference_service_pb2.DESCRIPTOR, "InferenceService"),
                (model_service_pb2.DESCRIPTOR, "ModelService"),
                (grpc_service_pb2.DESCRIPTOR, "GRPCInferenceService"),
                (health_pb2.DESCRIPTOR, "Health"),
            )
        ]
        reflected = reflection.aio.ReflectionServicer([*services, reflection.SERVICE_NAME])
        add_ServerReflectionServicer_to_server(reflected, generic)
        tokens = None if settings.token_file is None else Tokens(settings.token_file)
        calls = CallHandlers(registry.handlers, self._metrics, self._drain, tokens=tokens, tracer=self._telemetry)
        server.add_generic_rpc_handlers((calls,))
        return server


class HandlerRegistry:
    """What services are added to, in the place of a server: keeps their handlers.

    Those of the older of gRPC's two ways: in the newer one asyncio servers wait for the next call of each method apart,
    and with every call for all of them anew: with our forty methods, tens of microseconds a call.
    """

    def __init__(self) -> None:
        self.handlers: list[grpc.GenericRpcHandler] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Keep handlers that are asked for each call."""
        self.handlers += handlers

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """Keep nothing: the generic handlers answer these methods, too."""


def _open_telemetry(endpoint: str) -> "Telemetry | None":
    if not endpoint:
        return None
    try:
        from latentry_server.telemetry import Telemetry  # noqa: PLC0415 - costs nothing where it is off
    except ImportError as error:
        missing = "OpenTelemetry, which pip install 'latentry-server[tracing]' brings"
        raise StartError(f"otlp_endpoint: expected {missing}, got: {error}") from error
    return Telemetry(endpoint)


def _open_store(settings: Settings) -> Store:
    try:
        return open_store(settings.repository, cache=settings.cache_dir, max_cache_bytes=settings.cache_mib * MIB)
    except ValueError as error:
        raise StartError(str(error)) from error


def _resolve_device(requested: str) -> Device:
    try:
        return resolve_device(requested)
    except ValueError as error:
        raise StartError(str(error)) from error
