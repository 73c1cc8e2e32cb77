"""From a variant to a bundle: what is published, and what is refused."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from google.protobuf import json_format
from latentry.v1 import manifest_pb2, tensor_pb2
from latentry_trainer.export.bundle import publish
from latentry_trainer.export.graphs import ExportError
from latentry_trainer.export.manifest import describe_provenance, to_json
from latentry_trainer.variants import Autoencoder, Generative
from latentry_trainer.variants.base import ExportGraph, GraphTensor, Variant
from latentry_trainer.variants.conv import Conv
from latentry_trainer.variants.conv_vae import ConvVAE
from latentry_trainer.variants.denoising import DenoiseGaussian
from latentry_trainer.variants.gan import GAN
from latentry_trainer.variants.recurrent import Recurrent
from latentry_trainer.variants.stacked import Stacked
from latentry_trainer.variants.vae import VAE
from torch import Tensor, nn

SHAPE = (1, 8, 8)
AUTOENCODER_ROLES = ["encoder", "decoder", "denoiser"]


def provenance() -> manifest_pb2.Provenance:
    return describe_provenance(
        dataset="digits",
        dataset_sha256="ab" * 32,
        seed=2**63,
        images_seen=1_000,
        device="cpu",
        wall_time_s=1.5,
        configuration={"preset": "stacked", "training": {"batch_size": 32, "optimizer": {"name": "sgd"}}},
    )


def publish_variant(variant: Variant, repository: Path, model_name: str = "model") -> Path:
    return publish(
        variant,
        repository=repository,
        model_name=model_name,
        variant_name="stacked",
        preset="stacked-quick",
        metrics={"validation": {"bce": 0.28, "mse": 0.01}, "test": {"bce": 0.29}},
        provenance=provenance(),
        label_names=("a", "b"),
    )


def read_manifest(folder: Path) -> manifest_pb2.Manifest:
    """Reads it as the server does: a field that the message lacks is an error."""
    return json_format.Parse((folder / "manifest.json").read_bytes(), manifest_pb2.Manifest())


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(5)


def test_the_manifest_says_what_the_bundle_is(tmp_path: Path) -> None:
    folder = publish_variant(VAE(VAE.Config(codings_size=4), SHAPE), tmp_path, "my-vae")
    assert folder == tmp_path / "my-vae" / "1"
    manifest = read_manifest(folder)
    assert (manifest.name, manifest.version, manifest.variant, manifest.preset) == (
        "my-vae",
        1,
        "stacked",
        "stacked-quick",
    )
    assert list(manifest.input_shape) == [1, 8, 8]
    assert list(manifest.codings_shape) == [4]
    assert (manifest.value_range.min, manifest.value_range.max) == (0, 1)
    assert [manifest_pb2.Capability.Name(value).removeprefix("CAPABILITY_") for value in manifest.capabilities] == [
        "ENCODE",
        "DECODE",
        "RECONSTRUCT",
        "SAMPLE",
        "INTERPOLATE",
        "SCORE",
    ]
    assert list(manifest.label_names) == []  # no graph takes labels
    assert [(metric.name, metric.value, metric.split) for metric in manifest.metrics] == [
        ("bce", 0.28, "validation"),
        ("mse", 0.01, "validation"),
        ("bce", 0.29, "test"),
    ]
    encoder = manifest.graphs[0]
    assert (encoder.role, encoder.file) == (manifest_pb2.GRAPH_ROLE_ENCODER, "encoder.onnx")
    assert [(spec.name, spec.dtype, list(spec.shape)) for spec in [*encoder.inputs, *encoder.outputs]] == [
        ("inputs", tensor_pb2.DATA_TYPE_FLOAT32, [-1, 1, 8, 8]),
        ("codings", tensor_pb2.DATA_TYPE_FLOAT32, [-1, 4]),
        ("log_variance", tensor_pb2.DATA_TYPE_FLOAT32, [-1, 4]),
    ]


def test_only_with_its_prior_an_autoencoder_samples(tmp_path: Path) -> None:
    variant = Stacked(Stacked.Config(), SHAPE)
    without = read_manifest(publish_variant(variant, tmp_path))
    variant.prior.fit(torch.randn(50, 30), seed=0)
    fitted = read_manifest(publish_variant(variant, tmp_path))
    assert {*fitted.capabilities} - {*without.capabilities} == {manifest_pb2.CAPABILITY_SAMPLE}


def test_the_manifest_says_how_the_bundle_came_to_be(tmp_path: Path) -> None:
    made = read_manifest(publish_variant(Stacked(Stacked.Config(), SHAPE), tmp_path)).provenance
    assert (made.dataset, made.dataset_sha256, made.seed) == ("digits", "ab" * 32, 2**63)
    assert (made.images_seen, made.device, made.wall_time_s) == (1_000, "cpu", 1.5)
    assert made.library_versions["torch"] == torch.__version__
    assert {"python", "onnx", "latentry-trainer"} <= set(made.library_versions)
    assert made.create_time.seconds > 1_700_000_000
    configuration = json_format.MessageToDict(made.configuration)
    assert configuration == {"preset": "stacked", "training": {"batch_size": 32, "optimizer": {"name": "sgd"}}}


def test_the_json_has_the_protos_field_names_and_reads_back(tmp_path: Path) -> None:
    folder = publish_variant(GAN(GAN.Config(), SHAPE), tmp_path)
    content = (folder / "manifest.json").read_bytes()
    assert {"input_shape", "value_range", "codings_shape"} <= set(json.loads(content))
    assert json.loads(to_json(read_manifest(folder))) == json.loads(content)


@pytest.mark.parametrize(
    ("make", "roles"),
    [
        pytest.param(lambda: Stacked(Stacked.Config(), SHAPE), AUTOENCODER_ROLES, id="stacked"),
        pytest.param(lambda: DenoiseGaussian(DenoiseGaussian.Config(), SHAPE), AUTOENCODER_ROLES, id="denoise"),
        pytest.param(lambda: Conv(Conv.Config(), SHAPE), AUTOENCODER_ROLES, id="conv"),
        pytest.param(lambda: Conv(Conv.Config(codings_size=5), SHAPE), AUTOENCODER_ROLES, id="conv-flat"),
        pytest.param(lambda: Recurrent(Recurrent.Config(), SHAPE), AUTOENCODER_ROLES, id="recurrent"),
        pytest.param(lambda: VAE(VAE.Config(), SHAPE), AUTOENCODER_ROLES, id="vae"),
        pytest.param(lambda: ConvVAE(ConvVAE.Config(), SHAPE), AUTOENCODER_ROLES, id="conv-vae"),
        pytest.param(lambda: GAN(GAN.Config(), SHAPE), ["decoder", "critic"], id="gan"),
    ],
)
def test_the_files_are_those_of_the_manifest_and_compute_what_the_variant_does(
    make: Callable[[], Variant], roles: list[str], tmp_path: Path
) -> None:
    variant = make().eval()
    folder = publish_variant(variant, tmp_path)
    manifest = read_manifest(folder)
    assert [graph.file for graph in manifest.graphs] == [f"{role}.onnx" for role in roles]
    assert {path.name for path in folder.iterdir()} == {"manifest.json", *(graph.file for graph in manifest.graphs)}
    for graph in manifest.graphs:
        assert hashlib.sha256((folder / graph.file).read_bytes()).hexdigest() == graph.sha256

    assert isinstance(variant, Generative)
    codings = torch.randn(5, *variant.codings_shape)
    (outputs,) = run(folder / "decoder.onnx", codings=codings)
    with torch.no_grad():
        np.testing.assert_allclose(outputs, variant.decode(codings), rtol=1e-5, atol=1e-5)
        if isinstance(variant, Autoencoder):
            inputs = torch.rand(5, *SHAPE)
            (outputs,) = run(folder / "denoiser.onnx", inputs=inputs)
            np.testing.assert_allclose(outputs, variant.reconstruct(inputs), rtol=1e-5, atol=1e-5)


def run(path: Path, **inputs: Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs: list[np.ndarray] = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    return outputs


class TooCoarse(nn.Module):
    """Computes otherwise in ONNX than in float64: near 100 000, float32 tells hundredths apart."""

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs + 1e5) - 1e5


class Unfaithful(Stacked):
    def graph_modules(self) -> tuple[ExportGraph, ...]:
        encoder, *others = super().graph_modules()
        outputs = (GraphTensor(name="codings", shape=SHAPE),)
        return (ExportGraph(role="encoder", module=TooCoarse(), inputs=encoder.inputs, outputs=outputs), *others)


def test_a_graph_that_is_off_stops_the_publishing(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"graph encoder, output codings, batch size 1: .* off by up to .* 1e-05"):
        publish_variant(Unfaithful(Stacked.Config(), SHAPE), tmp_path / "repository")
    assert not (tmp_path / "repository").exists()


class Conditional(Stacked):
    def graph_modules(self) -> tuple[ExportGraph, ...]:
        labels = GraphTensor(name="labels", shape=(), dtype=torch.int64)
        encoder, decoder, denoiser = super().graph_modules()
        conditional = ExportGraph(
            role="decoder",
            module=_AddLabel(decoder.module),
            inputs=(*decoder.inputs, labels),
            outputs=decoder.outputs,
        )
        return encoder, conditional, denoiser


class _AddLabel(nn.Module):
    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, codings: Tensor, labels: Tensor) -> Tensor:
        images: Tensor = self.decoder(codings + labels[:, None])
        return images


def test_a_conditional_bundle_names_its_labels(tmp_path: Path) -> None:
    manifest = read_manifest(publish_variant(Conditional(Stacked.Config(), SHAPE), tmp_path))
    assert list(manifest.label_names) == ["a", "b"]
    labels = manifest.graphs[1].inputs[1]
    assert (labels.name, labels.dtype, list(labels.shape)) == ("labels", tensor_pb2.DATA_TYPE_INT64, [-1])


def test_a_wrong_name_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape("model name '../x': expected")):
        publish_variant(Stacked(Stacked.Config(), SHAPE), tmp_path / "repository", "../x")
    assert not (tmp_path / "repository").exists()
