"""The API's own consistency: what buf's rules cannot see."""

import re
import tomllib
from pathlib import Path

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from latentry.v1 import inference_service_pb2, manifest_pb2

ROOT = Path(__file__).parents[2]
SERVICE = inference_service_pb2.DESCRIPTOR.services_by_name["InferenceService"]
UNARY = [method for method in SERVICE.methods if method.name != "Stream"]


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


@pytest.mark.parametrize("method", UNARY, ids=lambda method: method.name)
def test_stream_carries_every_unary_call(method: MethodDescriptor) -> None:
    request = inference_service_pb2.StreamRequest.DESCRIPTOR.fields_by_name[snake(method.name)]
    response = inference_service_pb2.StreamResponse.DESCRIPTOR.fields_by_name[snake(method.name)]
    assert request.message_type is method.input_type
    assert response.message_type is method.output_type
    assert request.number == response.number


@pytest.mark.parametrize("method", UNARY, ids=lambda method: method.name)
def test_every_unary_call_names_a_model_and_reports_its_run(method: MethodDescriptor) -> None:
    fields = method.input_type.fields_by_name
    assert (fields["model"].number, fields["version"].number) == (1, 2)
    assert method.output_type.fields_by_name["run"].number == 1


def test_every_unary_call_has_its_capability() -> None:
    capabilities = {name.removeprefix("CAPABILITY_") for name in manifest_pb2.Capability.keys()}  # noqa: SIM118
    assert {snake(method.name).upper() for method in UNARY} == capabilities - {"UNSPECIFIED"}


def test_manifest_refuses_unknown_fields() -> None:
    with pytest.raises(json_format.ParseError, match="epochs"):
        json_format.Parse('{"name": "stacked", "epochs": 3}', manifest_pb2.Manifest())


def test_all_distributions_have_one_version() -> None:
    projects = [
        tomllib.loads((ROOT / part / "pyproject.toml").read_text())["project"]
        for part in ("proto", "client", "server", "trainer")
    ]
    (version,) = {project["version"] for project in projects}
    for project in projects[1:]:
        assert f"latentry-proto=={version}" in project["dependencies"]
