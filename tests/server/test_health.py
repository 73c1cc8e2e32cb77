import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse, HealthListRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from latentry.v1 import model_service_pb2
from latentry_server.transport.health import Health
from latentry_server.transport.inference_service import InferenceService
from latentry_server.transport.model_service import ModelService
from latentry_server.transport.open_inference.service import OpenInferenceService

from tests.server.bundles import Gan
from tests.server.serving import Served, serve

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = HealthCheckResponse.SERVICE_UNKNOWN


async def check(served: Served, service: str) -> Any:
    return (await HealthStub(served.channel).Check(HealthCheckRequest(service=service))).status


async def test_server_models_and_versions_serve(served: Served) -> None:
    for service in ("", "vae", "vae/1"):
        assert await check(served, service) == SERVING


async def test_all_services_are_listed_with_their_health(tmp_path: Path) -> None:
    Gan().write(tmp_path, version=1)
    broken = Gan().write(tmp_path, version=2)
    (broken / "decoder.onnx").write_bytes(b"broken")
    async with serve(tmp_path) as served:
        listed = (await HealthStub(served.channel).List(HealthListRequest())).statuses
    found = {service: response.status for service, response in listed.items()}
    assert found == {"": SERVING, "gan": SERVING, "gan/1": SERVING, "gan/2": NOT_SERVING}


@pytest.mark.parametrize("service", ["nothing", "vae/2", "vae/", "vae/1/"])
async def test_what_there_is_not_is_not_found(served: Served, service: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await check(served, service)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_an_empty_server_serves(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        assert await check(served, "") == SERVING


async def test_a_model_that_is_unloaded_does_not_serve(served: Served) -> None:
    await served.models.UnloadModel(model_service_pb2.UnloadModelRequest(model="vae"))
    assert (await check(served, "vae"), await check(served, "vae/1")) == (NOT_SERVING, NOT_SERVING)
    assert (await check(served, "gan"), await check(served, "")) == (SERVING, SERVING)


async def test_a_model_serves_while_one_of_its_versions_does(tmp_path: Path) -> None:
    Gan().write(tmp_path, version=1)
    broken = Gan().write(tmp_path, version=2)
    (broken / "decoder.onnx").write_bytes(b"broken")
    async with serve(tmp_path) as served:
        assert (await check(served, "gan"), await check(served, "gan/1")) == (SERVING, SERVING)
        assert await check(served, "gan/2") == NOT_SERVING


async def test_a_watcher_sees_the_models_life(tmp_path: Path) -> None:
    async with serve(tmp_path, poll_interval_s=0.01) as served:
        watching = HealthStub(served.channel).Watch(HealthCheckRequest(service="gan"))
        assert (await watching.read()).status == SERVICE_UNKNOWN
        await asyncio.to_thread(Gan().write, tmp_path)
        while (status := (await watching.read()).status) != SERVING:
            assert status == NOT_SERVING  # while it loads
        await served.models.UnloadModel(model_service_pb2.UnloadModelRequest(model="gan"))
        assert (await watching.read()).status == NOT_SERVING
        watching.cancel()


async def test_a_watcher_is_told_of_the_end(repository: Path) -> None:
    async with serve(repository) as served:
        watching = {service: HealthStub(served.channel).Watch(HealthCheckRequest(service=service))
                    for service in ("", "vae", "nothing")}  # fmt: skip
        for service, watch in watching.items():
            assert (await watch.read()).status == (SERVICE_UNKNOWN if service == "nothing" else SERVING)
        await served.server.stop()
        for service in ("", "vae"):
            assert (await watching[service].read()).status == NOT_SERVING
        for watch in watching.values():
            assert await watch.read() is grpc.aio.EOF
            assert await watch.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("servicer", [Health, InferenceService, ModelService, OpenInferenceService])
def test_every_method_is_there(servicer: type) -> None:
    (base,) = servicer.__bases__
    names = {name for name in vars(base) if name[0].isupper()}
    assert names <= vars(servicer).keys()


async def test_reflection_lists_the_services(served: Served) -> None:
    call = ServerReflectionStub(served.channel).ServerReflectionInfo(
        iter([ServerReflectionRequest(list_services=""), ServerReflectionRequest(file_by_filename="nothing")])
    )
    services = {service.name for service in (await call.read()).list_services_response.service}
    assert services == {
        "latentry.v1.InferenceService",
        "latentry.v1.ModelService",
        "inference.GRPCInferenceService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert (await call.read()).error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
