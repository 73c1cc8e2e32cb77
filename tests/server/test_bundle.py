"""Every way in which a bundle is refused: in one clear line, and nobody else suffers."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from latentry.v1 import manifest_pb2
from latentry_server.errors import BundleInvalidError
from latentry_server.repository.bundle import MAX_GRAPH_BYTES, MAX_MANIFEST_BYTES, read_bundle, read_manifest
from latentry_server.repository.external_data import check_self_contained
from latentry_server.repository.version import ModelState
from latentry_server.spec import Capability, GraphRole
from onnx import TensorProto, helper, parser

from tests.server.bundles import (
    Autoencoder,
    Bundle,
    Classifier,
    ConditionalGan,
    ConditionalStyleGan,
    EncodedStyleGan,
    Flat,
    Gan,
    Hashing,
    ScoredGan,
    StyleGan,
    Vae,
    images,
)
from tests.server.repositories import open_repository

Break = Callable[[Path], object]


def manifest_of(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return manifest


def edit(change: Callable[[dict[str, Any]], object]) -> Break:
    def break_it(folder: Path) -> None:
        manifest = manifest_of(folder)
        change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")

    return break_it


def manifest_text(content: bytes) -> Break:
    return lambda folder: (folder / "manifest.json").write_bytes(content)


def graph_content(role: str, make: Callable[[bytes], bytes]) -> Break:
    """Change a graph's file, and its hash with it."""

    def break_it(folder: Path) -> None:
        path = folder / f"{role}.onnx"
        path.write_bytes(make(path.read_bytes()))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        edit(lambda manifest: graph(manifest, role).update(sha256=digest))(folder)

    return break_it


def graph(manifest: dict[str, Any], role: str) -> dict[str, Any]:
    return next(graph for graph in manifest["graphs"] if graph["role"] == f"GRAPH_ROLE_{role.upper()}")


def replace(make: Callable[[Path], object]) -> Break:
    """Put something else in the place of the encoder's file."""

    def break_it(folder: Path) -> None:
        path = folder / "encoder.onnx"
        path.rename(folder.parent.parent / "outside.onnx")
        make(path)

    return break_it


def compile_onnx(text: str) -> bytes:
    content: bytes = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}').SerializeToString()
    return content


def with_external_data(content: bytes) -> bytes:
    model = onnx.load_from_string(content)
    weight = model.graph.initializer[0]
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights.bin")
    weight.ClearField("raw_data")
    return bytes(model.SerializeToString())


def grow(path: Path, size: int) -> None:
    os.truncate(path, size)


REFUSALS: list[tuple[str, Break, str]] = [
    # Files.
    ("missing graph", lambda folder: (folder / "encoder.onnx").unlink(), r"encoder\.onnx: the file is missing"),
    ("missing manifest", lambda folder: (folder / "manifest.json").unlink(), r"manifest\.json: the file is missing"),
    (
        "wrong hash",
        lambda folder: (folder / "encoder.onnx").write_bytes(b"other"),
        r"encoder\.onnx: expected SHA-256 [0-9a-f]{64}, got [0-9a-f]{64}",
    ),
    (
        "link that leaves the folder",
        replace(lambda path: path.symlink_to("../../outside.onnx")),
        r"encoder\.onnx: .* link that leaves its folder",
    ),
    ("link to itself", replace(lambda path: path.symlink_to(path.name)), r"encoder\.onnx: cannot be read"),
    ("pipe", replace(os.mkfifo), r"encoder\.onnx: expected a regular file"),
    ("folder", replace(Path.mkdir), r"encoder\.onnx: (expected a regular file|cannot be read: .*directory)"),
    (
        "manifest too large",
        lambda folder: grow(folder / "manifest.json", MAX_MANIFEST_BYTES + 1),
        rf"manifest\.json: expected at most {MAX_MANIFEST_BYTES} bytes",
    ),
    (
        "graph too large",
        lambda folder: grow(folder / "encoder.onnx", MAX_GRAPH_BYTES + 1),
        rf"encoder\.onnx: expected at most {MAX_GRAPH_BYTES} bytes",
    ),
    # The manifest's form.
    ("not JSON", manifest_text(b"{"), r"manifest\.json: "),
    ("not UTF-8", manifest_text(b"\xff\xfe"), r"manifest\.json: .*utf-8"),
    ("endless nesting", manifest_text(b"[" * 100_000), r"manifest\.json: "),
    ("a list", manifest_text(b"[]"), r"manifest\.json: "),
    ("unknown field", edit(lambda manifest: manifest.update(colour="red")), r"manifest\.json: .*colour"),
    ("wrong type", edit(lambda manifest: manifest.update(version="one")), r"manifest\.json: .*version"),
    # What it says.
    ("no text", manifest_text(b'{"a\\ud800": 1, "a\\ud800": 2}'), r"duplicate key a\?"),
    ("other name", edit(lambda manifest: manifest.update(name="other")), r"name: expected the folder's, 'broken'"),
    ("no name", edit(lambda manifest: manifest.pop("name")), r"name: expected 1 to 63 of"),
    ("other version", edit(lambda manifest: manifest.update(version=2)), r"version: expected the folder's, 1, got 2"),
    (
        "range of -1 to 1",
        edit(lambda manifest: manifest.update(value_range={"min": -1, "max": 1})),
        r"value_range: expected 0 to 1, got -1.0 to 1.0",
    ),
    (
        "negative shape",
        edit(lambda manifest: manifest.update(input_shape=[1, -4, 4])),
        r"input_shape: expected lengths of at least 1, .* got \[1, -4, 4\]",
    ),
    (
        "huge shape",
        edit(lambda manifest: manifest.update(codings_shape=[1 << 30, 1 << 30])),
        r"codings_shape: expected .* at most",
    ),
    (
        "long names of many lines",
        edit(lambda manifest: graph(manifest, "encoder")["inputs"][0].update(name="long\n" * 10_000)),
        r"encoder\.inputs: expected inputs float32 .*; got long long",
    ),
    ("no graphs", edit(lambda manifest: manifest.update(graphs=[])), r"graphs: expected at least one, got none"),
    (
        "two of a role",
        edit(lambda manifest: manifest["graphs"].append(manifest["graphs"][0])),
        r"graphs: expected one graph a role, got two of encoder",
    ),
    (
        "unknown role",
        edit(lambda manifest: manifest["graphs"][0].update(role=99)),
        r"graphs\.role: expected a known role, got 99",
    ),
    (
        "capability without its graph",
        edit(lambda manifest: manifest["graphs"].remove(graph(manifest, "denoiser"))),
        r"graphs: expected denoiser for (RECONSTRUCT|DENOISE), got decoder, encoder, prior",
    ),
    (
        "unknown capability",
        edit(lambda manifest: manifest["capabilities"].append(99)),
        r"capabilities: expected known capabilities, got 99",
    ),
    (
        "path that leaves the folder",
        edit(lambda manifest: graph(manifest, "encoder").update(file="../outside.onnx")),
        r"encoder\.file: expected 'encoder\.onnx', got '\.\./outside\.onnx'",
    ),
    (
        "absolute path",
        edit(lambda manifest: graph(manifest, "encoder").update(file="/etc/passwd")),
        r"encoder\.file: expected 'encoder\.onnx', got '/etc/passwd'",
    ),
    (
        "no hash",
        edit(lambda manifest: graph(manifest, "encoder").pop("sha256")),
        r"encoder\.sha256: expected 64 lower-case hexadecimal digits, got ''",
    ),
    (
        "wrong tensor name",
        edit(lambda manifest: graph(manifest, "encoder")["outputs"][0].update(name="latents")),
        r"encoder\.outputs: expected codings float32 \[N, 3\], .*; got latents float32 \[N, 3\]",
    ),
    (
        "missing tensor",
        edit(lambda manifest: graph(manifest, "decoder").update(inputs=[])),
        r"decoder\.inputs: expected codings float32 \[N, 3\]; got none",
    ),
    (
        "labels that nothing names",
        edit(
            lambda manifest: graph(manifest, "decoder")["inputs"].append(
                {"name": "labels", "dtype": "DATA_TYPE_INT64", "shape": ["-1"]}
            )
        ),
        r"decoder\.inputs: expected codings .*; got codings .*, labels int64 \[N\]",
    ),
    (
        "wrong tensor type",
        edit(lambda manifest: graph(manifest, "encoder")["inputs"][0].update(dtype="DATA_TYPE_UINT8")),
        r"encoder\.inputs: expected inputs float32 .*; got inputs uint8",
    ),
    (
        "wrong tensor shape",
        edit(lambda manifest: graph(manifest, "denoiser")["outputs"][0].update(shape=[-1, 16])),
        r"denoiser\.outputs: expected outputs float32 \[N, 1, 4, 4\]; got outputs float32 \[N, 16\]",
    ),
    (
        "no batch axis",
        edit(lambda manifest: graph(manifest, "encoder")["inputs"][0].update(shape=[1, 1, 4, 4])),
        r"encoder\.inputs\.shape: expected -1 for the batch axis, first, got \[1, 1, 4, 4\]",
    ),
    # What the graphs really are.
    (
        "truncated ONNX",
        graph_content("encoder", lambda content: content[: len(content) // 2]),
        r"encoder\.onnx: (not an ONNX file, or a truncated one|the runtime refused it)",
    ),
    ("no ONNX", graph_content("encoder", lambda _: b"no graph at all"), r"encoder\.onnx: not an ONNX file"),
    ("empty", graph_content("encoder", lambda _: b""), r"encoder\.onnx: the runtime refused it"),
    ("external data", graph_content("encoder", with_external_data), r"encoder\.onnx: .* points at external data"),
    (
        "operator of nobody",
        graph_content("encoder", lambda content: content.replace(b"Flatten", b"Fl4tten")),
        r"encoder\.onnx: the runtime refused it: .*Fl4tten",
    ),
    (
        "another role's file",
        lambda folder: graph_content("encoder", lambda _: (folder / "decoder.onnx").read_bytes())(folder),
        r"encoder\.onnx: the manifest's inputs are inputs, the file's codings",
    ),
    (
        "fixed batch",
        graph_content(
            "prior",
            lambda _: compile_onnx("g (float[1, 4] noise) => (float[1, 4] codings) { codings = Neg(noise) }"),
        ),
        r"prior\.onnx: the manifest's input noise is float32 \[-1, 4\], the file's float32 \[1, 4\]",
    ),
    (
        "other outputs",
        graph_content(
            "prior",
            lambda _: compile_onnx("g (float[N, 4] noise) => (float[N, 4] codings) { codings = Neg(noise) }"),
        ),
        r"prior\.onnx: of 1 rows, .* codings float32 \[1, 3\], the file's codings float32 \[1, 4\]",
    ),
    (
        "fails when run",
        graph_content(
            "prior",
            lambda _: compile_onnx(
                "g (float[N, 4] noise) => (float[N, 3] codings)"
                " { shape = Constant<value_ints = [7, 3]>() codings = Reshape(noise, shape) }"
            ),
        ),
        r"prior\.onnx: failed on 1 rows of zeros: ",
    ),
]


@pytest.mark.parametrize(("break_it", "message"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
async def test_a_broken_bundle_is_refused_in_one_line_and_the_others_are_served(
    break_it: Break, message: str, tmp_path: Path
) -> None:
    good = Gan()
    good.write(tmp_path, "good")
    break_it(Autoencoder().write(tmp_path, "broken"))
    async with open_repository(tmp_path) as repository:
        status = repository.status("broken")
        assert status.state is ModelState.FAILED
        assert "\n" not in status.error
        assert len(status.error.encode()) <= 1000
        with pytest.raises(BundleInvalidError, match=message), repository.lease("broken"):
            pass
        with repository.lease("good") as model:
            codings = np.ones((2, 3), dtype=np.float32)
            answer = await model.run(GraphRole.DECODER, {"codings": codings})
            np.testing.assert_allclose(answer.outputs["outputs"], good.decode(codings), atol=1e-6)


@pytest.mark.parametrize(
    "family",
    [
        *(Autoencoder, Flat, Hashing, Classifier, Vae, Gan, ConditionalGan, ScoredGan),
        *(StyleGan, EncodedStyleGan, ConditionalStyleGan),
    ],
)
def test_a_good_bundle_is_read_as_it_was_written(family: type[Bundle], tmp_path: Path) -> None:
    bundle = family()
    folder = bundle.write(tmp_path, "good", version=12)
    read = read_bundle(folder, read_manifest(folder))
    assert (read.spec.name, read.spec.version, read.spec.variant) == ("good", 12, family.variant)
    assert read.spec.capabilities == {Capability(word) for word in family.capabilities}
    assert read.spec.label_names == family.label_names
    assert (read.spec.input_shape, read.spec.codings_shape) == (family.input_shape, (3,))
    assert read.spec.is_conditional == (family in (ConditionalGan, ConditionalStyleGan))
    assert read.spec.takes_labels(GraphRole.CRITIC) == (family is ConditionalStyleGan)
    assert read.spec.encodes_styles == issubclass(family, EncodedStyleGan)
    score = bundle.score()
    assert read.spec.score_threshold == (score.threshold if score else None)
    assert {str(role): content for role, content in read.graphs.items()} == bundle.onnx_files()
    assert all(graph.inputs[0].shape[0] == -1 for graph in read.spec.graphs.values())
    if isinstance(bundle, StyleGan):
        assert read.spec.style is not None
        assert (read.spec.style.num_layers, read.spec.style.style_dim) == (2, 5)
        np.testing.assert_array_equal(read.spec.style.mean_style, bundle.mean_style)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda manifest: manifest.pop("style"), "style: expected with a mapping graph"),
        (lambda manifest: manifest["style"].update(num_layers=0), "style.num_layers: expected 1 to 64, got 0"),
        (lambda manifest: manifest["style"]["mean_style"].pop(), "style.mean_style: expected 5 finite values, got 4"),
        (lambda manifest: manifest["style"]["mean_style"].__setitem__(0, "NaN"), "expected 5 finite values"),
        (
            lambda manifest: graph(manifest, "synthesis")["inputs"][1].update(name="noise_7"),
            "synthesis.inputs: expected",
        ),
        (
            lambda manifest: manifest["graphs"].remove(graph(manifest, "mapping")),
            "graphs: expected mapping and synthesis, as there is a style, got synthesis",
        ),
        (lambda manifest: manifest.update(label_names=["bag"]), "label_names: expected none, .* got 1 names"),
    ],
)
def test_a_style_based_bundle_needs_its_style(
    change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    folder = StyleGan().write(tmp_path)
    edit(change)(folder)
    with pytest.raises(BundleInvalidError, match=message):
        read_bundle(folder, read_manifest(folder))


def test_there_is_one_way_from_codings_to_outputs(tmp_path: Path) -> None:
    class Both(StyleGan):
        graphs: ClassVar = StyleGan.graphs | {"decoder": Autoencoder.graphs["decoder"]}

        def onnx_files(self) -> dict[str, bytes]:
            return StyleGan().onnx_files() | {"decoder": Autoencoder().onnx_files()["decoder"]}

    class DecoderWithStyle(Gan):
        def style(self) -> manifest_pb2.StyleSpec:
            return StyleGan().style()

    for bundle, message in (
        (Both(), "graphs: expected no decoder beside mapping and synthesis, got decoder, mapping, synthesis"),
        (DecoderWithStyle(), "graphs: expected mapping and synthesis, as there is a style, got decoder"),
    ):
        folder = bundle.write(tmp_path)
        with pytest.raises(BundleInvalidError, match=message):
            read_bundle(folder, read_manifest(folder))


def feature(manifest: dict[str, Any]) -> dict[str, Any]:
    """The second output of the classifier."""
    found: dict[str, Any] = graph(manifest, "classifier")["outputs"][1]
    return found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda manifest: manifest.pop("label_names"),
            "label_names: expected a name for each label that the classifier gives, got 0 names",
        ),
        (
            lambda manifest: manifest["label_names"].pop(),
            r"classifier\.outputs: expected probabilities float32 \[N, 2\], .*; got probabilities float32 \[N, 3\]",
        ),
        (
            lambda manifest: feature(manifest).update(shape=[-1, 3, 1]),
            r"classifier\.outputs: expected .* features float32 \[N, \*\] \(optional\)",
        ),
        (lambda manifest: feature(manifest).update(name="logits"), r"classifier\.outputs: .* logits float32"),
        (
            lambda manifest: manifest["graphs"].remove(graph(manifest, "classifier")),
            "label_names: expected none, as no graph takes or gives labels, got 3 names",
        ),
        (
            lambda manifest: manifest.update(
                graphs=[graph(manifest, "encoder"), graph(manifest, "decoder")], label_names=[]
            ),
            "graphs: expected classifier for CLASSIFY, got decoder, encoder",
        ),
        (
            lambda manifest: graph(manifest, "classifier")["inputs"].append(
                {"name": "labels", "dtype": "DATA_TYPE_INT64", "shape": ["-1"]}
            ),
            r"classifier\.inputs: expected inputs float32 .*labels int64",
        ),
    ],
)
def test_a_classifier_needs_its_label_names(
    change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    folder = Classifier().write(tmp_path)
    edit(change)(folder)
    with pytest.raises(BundleInvalidError, match=message):
        read_bundle(folder, read_manifest(folder))


def only_classifier(manifest: dict[str, Any]) -> None:
    """Keep nothing but the classifier and its probabilities: no codings, no features."""
    graphs = [graph(manifest, "classifier")]
    graphs[0]["outputs"].pop()
    manifest.update(capabilities=["CAPABILITY_CLASSIFY"], graphs=graphs)
    manifest.pop("codings_shape")


def test_a_bundle_may_be_a_classifier_alone(tmp_path: Path) -> None:
    folder = Classifier().write(tmp_path)
    edit(only_classifier)(folder)
    spec = read_bundle(folder, read_manifest(folder)).spec
    assert spec.capabilities == {Capability.CLASSIFY}
    assert spec.codings_shape == ()
    assert not spec.is_conditional


@pytest.mark.parametrize(
    ("score", "message"),
    [
        ({"quantile": 1, "threshold": 0.1}, "score.quantile: expected a number between 0 and 1, got 1.0"),
        ({"threshold": 0.1}, "score.quantile: expected a number between 0 and 1, got 0.0"),
        ({"quantile": "NaN", "threshold": 0.1}, "score.quantile: expected a number between 0 and 1, got nan"),
        ({"quantile": 0.99, "threshold": -0.1}, "score.threshold: expected at least 0, as a denoiser's .* got -0.1"),
        ({"quantile": 0.99, "threshold": "NaN"}, "score.threshold: expected a finite number, got nan"),
        ({"quantile": 0.99, "threshold": 1e39}, "score.threshold: expected a finite number, got 1e"),
        ({"quantile": 0.99, "threshold": "-Infinity"}, "score.threshold: expected a finite number, got -inf"),
    ],
)
def test_a_wrong_calibration_is_refused(score: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = Flat().write(tmp_path)
    edit(lambda manifest: manifest.update(score=score))(folder)
    with pytest.raises(BundleInvalidError, match=message):
        read_bundle(folder, read_manifest(folder))


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        (
            ScoredGan,
            lambda manifest: manifest["graphs"].remove(graph(manifest, "critic")),
            "graphs: expected denoiser or critic for SCORE, got decoder, encoder",
        ),
        (
            ScoredGan,
            lambda manifest: graph(manifest, "encoder")["outputs"].append(
                {"name": "styles", "dtype": "DATA_TYPE_FLOAT32", "shape": ["-1", "5"]}
            ),
            r"encoder\.outputs: expected codings .*; got codings .*, styles float32 \[N, 5\]",
        ),
        (
            EncodedStyleGan,
            lambda manifest: graph(manifest, "encoder")["outputs"][1].update(shape=[-1, 4]),
            r"encoder\.outputs: expected .* styles float32 \[N, 5\] \(optional\); got .* styles float32 \[N, 4\]",
        ),
    ],
)
def test_the_critic_and_the_encoder_of_a_gan_are_checked(
    family: type[Bundle], change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    folder = family().write(tmp_path)
    edit(change)(folder)
    with pytest.raises(BundleInvalidError, match=message):
        read_bundle(folder, read_manifest(folder))


def test_links_inside_the_folder_are_followed(tmp_path: Path) -> None:
    bundle = Gan()
    folder = bundle.write(tmp_path)
    (folder / "decoder.onnx").rename(folder / "data")
    (folder / "decoder.onnx").symlink_to("data")
    assert read_bundle(folder, read_manifest(folder)).graphs[GraphRole.DECODER] == bundle.onnx_files()["decoder"]


def external_tensor() -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def model_with(node: onnx.NodeProto) -> bytes:
    return bytes(helper.make_model(helper.make_graph([node], "g", [], [])).SerializeToString())


def test_external_data_is_found_wherever_it_hides() -> None:
    constant = helper.make_node("Constant", [], ["y"], value=external_tensor())
    branch = helper.make_graph([constant], "branch", [], [])
    function = helper.make_function("own", "f", [], ["y"], [constant], [helper.make_opsetid("", 17)])
    model = helper.make_model(helper.make_graph([], "g", [], []), functions=[function])
    sparse = onnx.SparseTensorProto(values=external_tensor(), dims=[1])
    holders = [
        model_with(constant),
        model_with(helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)),
        model_with(helper.make_node("Constant", [], ["y"], sparse_value=sparse)),
        bytes(model.SerializeToString()),
    ]
    for content in holders:
        with pytest.raises(BundleInvalidError, match="external data"):
            check_self_contained("encoder.onnx", content)


def test_weights_inside_are_no_external_data() -> None:
    for content in Autoencoder().onnx_files().values():
        check_self_contained("encoder.onnx", content)


async def test_the_bytes_that_were_checked_are_those_that_run(tmp_path: Path) -> None:
    """A file that is replaced after loading changes nothing."""
    bundle = Autoencoder(seed=1)
    folder = bundle.write(tmp_path)
    async with open_repository(tmp_path) as repository:
        (folder / "encoder.onnx").write_bytes(Autoencoder(seed=2).onnx_files()["encoder"])
        with repository.lease("stacked") as model:
            answer = await model.run(GraphRole.ENCODER, {"inputs": images(2)})
        np.testing.assert_allclose(answer.outputs["codings"], bundle.encode(images(2)), atol=1e-6)
