"""The pretrained repository that is committed: small, whole, and all of it is served."""

import hashlib
import subprocess
from pathlib import Path

import pytest
from google.protobuf import json_format
from latentry.v1.manifest_pb2 import Manifest
from latentry_client import Client
from PIL import Image

from tests.processes import serve

ROOT = Path(__file__).parents[2]
MAX_REPOSITORY_BYTES = 30_000_000
MAX_PICTURE_BYTES = 60_000


def tracked_files() -> list[Path]:
    """What git has of `models/`: users' own bundles lie beside, and are none of our business."""
    listed = subprocess.run(["git", "ls-files", "-z", "models"], cwd=ROOT, capture_output=True, text=True, check=False)
    return [ROOT / name for name in listed.stdout.split("\0") if name]


FILES = tracked_files()
VERSIONS = [path.parent for path in FILES if path.name == "manifest.json"]


def test_the_repository_is_small_and_not_empty() -> None:
    assert VERSIONS
    assert sum(path.stat().st_size for path in FILES) <= MAX_REPOSITORY_BYTES


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.parent.name)
def test_a_bundle_is_whole(version: Path) -> None:
    manifest = json_format.Parse((version / "manifest.json").read_bytes(), Manifest())
    assert (manifest.name, str(manifest.version)) == (version.parent.name, version.name)
    for graph in manifest.graphs:
        assert hashlib.sha256((version / graph.file).read_bytes()).hexdigest() == graph.sha256
    assert {metric.split for metric in manifest.metrics} == {"validation", "test"}
    card = (version / "README.md").read_text()
    assert card.startswith(f"# {manifest.name}\n")
    assert manifest.provenance.dataset_sha256 in card
    assert (version / "picture.png").stat().st_size <= MAX_PICTURE_BYTES
    with Image.open(version / "picture.png") as picture:
        picture.load()
    expected = {"manifest.json", "README.md", "picture.png", *(graph.file for graph in manifest.graphs)}
    assert {path.name for path in FILES if path.parent == version} == expected


def test_the_table_has_every_model_and_the_server_serves_them_all(tmp_path: Path) -> None:
    table = (ROOT / "models" / "README.md").read_text()
    for path in FILES:
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    with serve(tmp_path / "models") as address, Client(address, wait_for_ready=True) as client:
        models = client.list_models()
    assert {(model.name, model.state, model.error) for model in models} == {
        (version.parent.name, "ready", "") for version in VERSIONS
    }
    for version in VERSIONS:
        assert f"({version.parent.name}/{version.name}/README.md)" in table
