"""Manifests with anything in them: each is read, or refused with a text that a message can carry."""

import copy
import json
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from latentry.v1 import model_service_pb2
from latentry_server.errors import BundleInvalidError
from latentry_server.repository.manifest import model_spec, parse_manifest

from tests.server.bundles import Classifier, ConditionalStyleGan, ScoredGan

GOOD = [
    json_format.MessageToDict(family().manifest("any", 1, family().onnx_files()), preserving_proto_field_name=True)
    for family in (Classifier, ScoredGan, ConditionalStyleGan)
]
ODD: list[Any] = [
    *(None, True, 0, 1, -1, 2**31, 2**63, 10**400, 0.5, 1e39, "NaN", "Infinity", "", "x", "\ud800", "é" * 2000),
    *([], [None], [[]], ["\ud800"], {}, {"\ud800": 1}, {"role": "GRAPH_ROLE_PRIOR"}),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the paths to everything inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in items for place in ((*path, key), *places(inner, (*path, key)))]


@st.composite
def manifests(draw: st.DrawFn) -> str:
    manifest = json.loads(json.dumps(draw(st.sampled_from(GOOD))))
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from(places(manifest)))
        holder = manifest
        for key in parents:
            holder = holder[key]
        match draw(st.sampled_from(["replace", "replace", "remove", "repeat"])):
            case "replace":
                holder[last] = copy.deepcopy(draw(st.sampled_from(ODD)))
            case "remove":
                del holder[last]
            case "repeat" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[last]))
            case _:
                holder["odd"] = copy.deepcopy(holder[last])
    return json.dumps(manifest)


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(manifests())
def test_it_is_read_or_refused(text: str) -> None:
    try:
        model_spec(parse_manifest(text.encode()), Path("any/1"))
    except BundleInvalidError as error:
        model_service_pb2.Model(error=str(error))
