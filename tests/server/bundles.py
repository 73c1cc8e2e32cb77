"""Small real bundles, written without torch: formulas short enough for numpy to compute what a server should answer.

Images are [1, 4, 4] (of Flat, [16]), codings [3]. Every family has the numpy methods that its graphs compute, and
`write`.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
from google.protobuf import json_format
from latentry.v1 import manifest_pb2, tensor_pb2
from numpy.typing import NDArray
from onnx import numpy_helper, parser

Floats = NDArray[np.float32]

INPUT_SHAPE = (1, 4, 4)
PIXELS = 16
CODINGS = 3
NOISE = 4
LABELS = ("boot", "shirt", "bag")
NUM_STYLES = 2
STYLE_DIM = 5

IMAGES_IN = ("inputs", INPUT_SHAPE)
CODINGS_OUT = ("codings", (CODINGS,))
IMAGES_OUT = ("outputs", INPUT_SHAPE)
VECTORS_IN = ("inputs", (PIXELS,))
VECTORS_OUT = ("outputs", (PIXELS,))
TensorShape = tuple[str, tuple[int, ...]]
# Role -> (inputs, outputs, the nodes in ONNX's text form).
Graphs = dict[str, tuple[tuple[TensorShape, ...], tuple[TensorShape, ...], str]]


def sigmoid(values: Floats) -> Floats:
    """Compute the logistic function."""
    return np.asarray(1 / (1 + np.exp(-values)), dtype=np.float32)


def images(count: int, seed: int = 0) -> Floats:
    """Draw images in [0, 1]."""
    return np.random.default_rng(seed).random((count, *INPUT_SHAPE), dtype=np.float32)


class Bundle:
    """What every family shares: seeded weights, graphs in ONNX's text form, and writing them beside a manifest."""

    variant: ClassVar[str]
    capabilities: ClassVar[tuple[str, ...]]
    input_shape: ClassVar[tuple[int, ...]] = INPUT_SHAPE
    label_names: ClassVar[tuple[str, ...]] = ()
    graphs: ClassVar[Graphs]

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self.weights: dict[str, NDArray[np.generic]] = {}

    def weight(self, name: str, *shape: int) -> Floats:
        """Draw a weight ~ N(0, 1/4), used by the graphs under its name."""
        values = (self._rng.standard_normal(shape) / 2).astype(np.float32)
        self.weights[name] = values
        return values

    def style(self) -> manifest_pb2.StyleSpec | None:
        """Describe the style layers."""
        return None

    def score(self) -> manifest_pb2.ScoreCalibration | None:
        """Say which scores are unusual."""
        return None

    def onnx_files(self) -> dict[str, bytes]:
        """Build each role's ONNX file."""
        return {role: self._onnx(role) for role in self.graphs}

    def manifest(self, name: str, version: int, files: Mapping[str, bytes]) -> manifest_pb2.Manifest:
        """Describe the bundle."""
        return manifest_pb2.Manifest(
            name=name,
            version=version,
            variant=self.variant,
            preset=f"{self.variant}-test",
            capabilities=[manifest_pb2.Capability.Value(f"CAPABILITY_{word}") for word in self.capabilities],
            input_shape=self.input_shape,
            value_range=manifest_pb2.ValueRange(min=0, max=1),
            codings_shape=[CODINGS],
            label_names=self.label_names,
            style=self.style(),
            graphs=[
                manifest_pb2.Graph(
                    role=manifest_pb2.GraphRole.Value(f"GRAPH_ROLE_{role.upper()}"),
                    file=f"{role}.onnx",
                    sha256=hashlib.sha256(files[role]).hexdigest(),
                    inputs=[_tensor_spec(*tensor) for tensor in self.graphs[role][0]],
                    outputs=[_tensor_spec(*tensor) for tensor in self.graphs[role][1]],
                )
                for role in self.graphs
            ],
            score=self.score(),
            metrics=[manifest_pb2.Metric(name="mse", value=0.25, split="validation")],
        )

    def write(self, repository: Path, name: str | None = None, version: int = 1) -> Path:
        """Write the bundle into the repository, at once as a trainer does, and return its folder."""
        name = name or self.variant
        files = self.onnx_files()
        hidden = repository / name / f".publish-{version}"
        hidden.mkdir(parents=True)
        for role, content in files.items():
            (hidden / f"{role}.onnx").write_bytes(content)
        text = json_format.MessageToJson(self.manifest(name, version, files), preserving_proto_field_name=True)
        (hidden / "manifest.json").write_text(text, encoding="utf-8")
        return hidden.rename(repository / name / str(version))

    def _onnx(self, role: str) -> bytes:
        inputs, outputs, nodes = self.graphs[role]
        signature = f"({_declare(inputs)}) => ({_declare(outputs)})"
        model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {role} {signature} {{ {nodes} }}')
        used = {name for node in model.graph.node for name in node.input}
        model.graph.initializer.extend(
            numpy_helper.from_array(array, name) for name, array in self.weights.items() if name in used
        )
        onnx.checker.check_model(model)
        return model.SerializeToString()


class Autoencoder(Bundle):
    """A linear encoder, a logistic decoder, the two fused, and a prior fitted to the codings."""

    variant = "stacked"
    capabilities: ClassVar[tuple[str, ...]] = (
        "ENCODE",
        "DECODE",
        "RECONSTRUCT",
        "DENOISE",
        "SAMPLE",
        "INTERPOLATE",
        "SCORE",
    )
    encode_nodes = "flat = Flatten(inputs) codings = Gemm(flat, encode, encode_bias)"
    decode_nodes = (
        "logits = Gemm(codings, decode, decode_bias) flat_out = Sigmoid(logits) outputs = Reshape(flat_out, image)"
    )
    graphs: ClassVar = {
        "encoder": ((IMAGES_IN,), (CODINGS_OUT,), encode_nodes),
        "decoder": ((CODINGS_OUT,), (IMAGES_OUT,), decode_nodes),
        "denoiser": ((IMAGES_IN,), (IMAGES_OUT,), f"{encode_nodes} {decode_nodes}"),
        "prior": ((("noise", (NOISE,)),), (CODINGS_OUT,), "codings = Gemm(noise, prior, prior_bias)"),
    }

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._encode, self._encode_bias = self.weight("encode", PIXELS, CODINGS), self.weight("encode_bias", CODINGS)
        self._decode, self._decode_bias = self.weight("decode", CODINGS, PIXELS), self.weight("decode_bias", PIXELS)
        self._prior, self._prior_bias = self.weight("prior", NOISE, CODINGS), self.weight("prior_bias", CODINGS)
        self.weights["image"] = np.array([-1, *INPUT_SHAPE], dtype=np.int64)

    def encode(self, inputs: Floats) -> Floats:
        """Compute the codings [N, 3] of inputs [N, *input]."""
        return inputs.reshape(-1, PIXELS) @ self._encode + self._encode_bias

    def decode(self, codings: Floats) -> Floats:
        """Compute the outputs [N, *input] of codings [N, 3]."""
        return sigmoid(codings @ self._decode + self._decode_bias).reshape(-1, *self.input_shape)

    def reconstruct(self, inputs: Floats) -> Floats:
        """Compute the reconstructions of inputs."""
        return self.decode(self.encode(inputs))

    def prior(self, noise: Floats) -> Floats:
        """Compute codings [N, 3] from noise [N, 4] ~ N(0, 1)."""
        return noise @ self._prior + self._prior_bias


def turning_encoder(times: str) -> Graphs:
    """Make an encoder for an Autoencoder that turns its codings around `times` times, which the nodes compute."""
    nodes = (
        f"flat = Flatten(inputs) start = Gemm(flat, encode, encode_bias) {times}"
        " codings = Loop<body = turn (int64 i, bool go, float[N, 3] old) => (bool on, float[N, 3] new)"
        " { on = Identity(go) new = Neg(old) }>(times, , start)"
    )
    return {"encoder": ((IMAGES_IN,), (CODINGS_OUT,), nodes)}


class Flat(Autoencoder):
    """The autoencoder of vectors [16], with the median of a hundred scores as what scores are compared with."""

    variant = "flat"
    input_shape = (PIXELS,)
    encode_nodes = "codings = Gemm(inputs, encode, encode_bias)"
    decode_nodes = "logits = Gemm(codings, decode, decode_bias) outputs = Sigmoid(logits)"
    graphs: ClassVar = {
        "encoder": ((VECTORS_IN,), (CODINGS_OUT,), encode_nodes),
        "decoder": ((CODINGS_OUT,), (VECTORS_OUT,), decode_nodes),
        "denoiser": ((VECTORS_IN,), (VECTORS_OUT,), f"{encode_nodes} {decode_nodes}"),
        "prior": Autoencoder.graphs["prior"],
    }

    def score(self) -> manifest_pb2.ScoreCalibration:
        """Say which scores are unusual."""
        vectors = images(100).reshape(-1, PIXELS)
        scores = np.square(self.reconstruct(vectors) - vectors).mean(axis=1)
        return manifest_pb2.ScoreCalibration(quantile=0.5, threshold=float(np.quantile(scores, 0.5)))


class Hashing(Autoencoder):
    """The autoencoder with logistic codings."""

    variant = "hashing"
    capabilities: ClassVar[tuple[str, ...]] = ("ENCODE", "DECODE")
    graphs: ClassVar = {
        "encoder": (
            (IMAGES_IN,),
            (CODINGS_OUT,),
            "flat = Flatten(inputs) coding_logits = Gemm(flat, encode, encode_bias) codings = Sigmoid(coding_logits)",
        ),
        "decoder": Autoencoder.graphs["decoder"],
    }

    def encode(self, inputs: Floats) -> Floats:
        """Compute the codings [N, 3], in [0, 1], of inputs [N, 1, 4, 4]."""
        return sigmoid(super().encode(inputs))


class Classifier(Autoencoder):
    """The autoencoder with a classifier on its codings, which are the classifier's features: nothing takes labels."""

    variant = "classifier"
    capabilities: ClassVar[tuple[str, ...]] = ("ENCODE", "DECODE", "SAMPLE", "CLASSIFY")
    label_names: ClassVar[tuple[str, ...]] = LABELS
    graphs: ClassVar = {
        "encoder": Autoencoder.graphs["encoder"],
        "decoder": Autoencoder.graphs["decoder"],
        "classifier": (
            (IMAGES_IN,),
            (("probabilities", (len(LABELS),)), ("features", (CODINGS,))),
            (
                "flat = Flatten(inputs) features = Gemm(flat, encode, encode_bias)"
                " logits = Gemm(features, classify, classify_bias) probabilities = Softmax<axis = 1>(logits)"
            ),
        ),
    }

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._classify = self.weight("classify", CODINGS, len(LABELS))
        self._classify_bias = self.weight("classify_bias", len(LABELS))

    def probabilities(self, inputs: Floats) -> Floats:
        """Compute the labels' probabilities [N, 3] of inputs [N, 1, 4, 4]."""
        powers = np.exp(self.encode(inputs) @ self._classify + self._classify_bias)
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


class Vae(Autoencoder):
    """The autoencoder with a log-variance beside its codings, and N(0, I) as the prior."""

    variant = "vae"
    capabilities: ClassVar[tuple[str, ...]] = ("ENCODE", "DECODE", "RECONSTRUCT", "SAMPLE", "INTERPOLATE", "SCORE")
    graphs: ClassVar = {
        "encoder": (
            (IMAGES_IN,),
            (CODINGS_OUT, ("log_variance", (CODINGS,))),
            f"{Autoencoder.encode_nodes} log_variance = Gemm(flat, spread, spread_bias)",
        ),
        "decoder": Autoencoder.graphs["decoder"],
        "denoiser": Autoencoder.graphs["denoiser"],
    }

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._spread, self._spread_bias = self.weight("spread", PIXELS, CODINGS), self.weight("spread_bias", CODINGS)

    def log_variance(self, inputs: Floats) -> Floats:
        """Compute the log-variances [N, 3] of inputs."""
        return inputs.reshape(-1, PIXELS) @ self._spread + self._spread_bias


class Gan(Autoencoder):
    """The decoder alone."""

    variant = "gan"
    capabilities: ClassVar[tuple[str, ...]] = ("DECODE", "SAMPLE", "INTERPOLATE")
    graphs: ClassVar = {"decoder": Autoencoder.graphs["decoder"]}


class ConditionalGan(Bundle):
    """A logistic decoder whose bias is the label's."""

    variant = "cgan"
    capabilities: ClassVar[tuple[str, ...]] = ("DECODE", "SAMPLE", "INTERPOLATE")
    label_names = LABELS
    graphs: ClassVar = {
        "decoder": (
            (CODINGS_OUT, ("labels", ())),
            (IMAGES_OUT,),
            (
                "bias = Gather(label_bias, labels) product = MatMul(codings, decode) logits = Add(product, bias)"
                " flat_out = Sigmoid(logits) outputs = Reshape(flat_out, image)"
            ),
        )
    }

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._decode, self._label_bias = self.weight("decode", CODINGS, PIXELS), self.weight("label_bias", 3, PIXELS)
        self.weights["image"] = np.array([-1, *INPUT_SHAPE], dtype=np.int64)

    def decode(self, codings: Floats, labels: NDArray[np.int64]) -> Floats:
        """Compute the outputs [N, 1, 4, 4] of codings [N, 3] and labels [N]."""
        return sigmoid(codings @ self._decode + self._label_bias[labels]).reshape(-1, *INPUT_SHAPE)


class ScoredGan(Autoencoder):
    """A generator, an encoder trained on what it makes, and a linear critic, with a threshold of its own scores."""

    variant = "dcgan"
    capabilities: ClassVar[tuple[str, ...]] = ("ENCODE", "DECODE", "SAMPLE", "INTERPOLATE", "SCORE")
    graphs: ClassVar = {
        "encoder": Autoencoder.graphs["encoder"],
        "decoder": Autoencoder.graphs["decoder"],
        "critic": (
            (IMAGES_IN,),
            (("scores", ()),),
            "flat = Flatten(inputs) scores = MatMul(flat, judge)",
        ),
    }

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._judge = np.abs(self.weight("judge", PIXELS))  # positive, so that what is unusual has a score below zero
        self.weights["judge"] = self._judge

    def judge(self, inputs: Floats) -> Floats:
        """Compute the critic's scores [N] of inputs [N, 1, 4, 4]."""
        return inputs.reshape(-1, PIXELS) @ self._judge

    def score(self) -> manifest_pb2.ScoreCalibration:
        """Say which scores are unusual: half of a hundred images'."""
        return manifest_pb2.ScoreCalibration(quantile=0.5, threshold=float(np.median(-self.judge(images(100)))))


class StyleGan(Bundle):
    """A mapping, and a synthesis of two style layers with a noise map each: [1, 2, 2] and [1, 4, 4]."""

    variant = "stylegan"
    capabilities: ClassVar[tuple[str, ...]] = ("DECODE", "SAMPLE", "INTERPOLATE", "STYLE_MIX")
    graphs: ClassVar = {
        "mapping": (
            (CODINGS_OUT,),
            (("styles", (STYLE_DIM,)),),
            "product = MatMul(codings, map) styles = Tanh(product)",
        ),
        "synthesis": (
            (("styles", (NUM_STYLES, STYLE_DIM)), ("noise_0", (1, 2, 2)), ("noise_1", (1, 4, 4))),
            (IMAGES_OUT,),
            (
                "flat = Flatten(styles) styled = MatMul(flat, synthesize)"
                " flat_0 = Flatten(noise_0) coarse = MatMul(flat_0, spread_noise) fine = Flatten(noise_1)"
                " with_coarse = Add(styled, coarse) logits = Add(with_coarse, fine)"
                " flat_out = Sigmoid(logits) outputs = Reshape(flat_out, image)"
            ),
        ),
    }

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._map = self.weight("map", CODINGS, STYLE_DIM)
        self._synthesize = self.weight("synthesize", NUM_STYLES * STYLE_DIM, PIXELS)
        self._spread_noise = self.weight("spread_noise", 4, PIXELS)
        self.mean_style = self._rng.standard_normal(STYLE_DIM).astype(np.float32)
        self.weights["image"] = np.array([-1, *INPUT_SHAPE], dtype=np.int64)

    def style(self) -> manifest_pb2.StyleSpec:
        """Describe the style layers."""
        return manifest_pb2.StyleSpec(
            num_layers=NUM_STYLES, style_dim=STYLE_DIM, mean_style=[float(value) for value in self.mean_style]
        )

    def map_styles(self, codings: Floats) -> Floats:
        """Compute the styles [N, 5] of codings [N, 3]."""
        return np.asarray(np.tanh(codings @ self._map), dtype=np.float32)

    def synthesize(self, styles: Floats, noise_0: Floats, noise_1: Floats) -> Floats:
        """Compute the outputs [N, 1, 4, 4] of styles [N, 2, 5] and noise maps [N, 1, 2, 2] and [N, 1, 4, 4]."""
        rows = len(styles)
        styled = styles.reshape(rows, -1) @ self._synthesize
        noisy = noise_0.reshape(rows, -1) @ self._spread_noise + noise_1.reshape(rows, -1)
        return sigmoid(styled + noisy).reshape(-1, *INPUT_SHAPE)


class EncodedStyleGan(StyleGan):
    """The style-based generator with an encoder that gives codings, and styles that no coding has."""

    capabilities: ClassVar[tuple[str, ...]] = (*StyleGan.capabilities, "ENCODE")
    graphs: ClassVar = StyleGan.graphs | {
        "encoder": (
            (IMAGES_IN,),
            (CODINGS_OUT, ("styles", (STYLE_DIM,))),
            "flat = Flatten(inputs) codings = MatMul(flat, encode) styles = MatMul(flat, encode_styles)",
        ),
    }

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._encode = self.weight("encode", PIXELS, CODINGS)
        self._encode_styles = self.weight("encode_styles", PIXELS, STYLE_DIM)

    def encode(self, inputs: Floats) -> Floats:
        """Compute the codings [N, 3] of inputs [N, 1, 4, 4]."""
        return inputs.reshape(-1, PIXELS) @ self._encode

    def encode_styles(self, inputs: Floats) -> Floats:
        """Compute the styles [N, 5] of inputs [N, 1, 4, 4]."""
        return inputs.reshape(-1, PIXELS) @ self._encode_styles


class ConditionalStyleGan(EncodedStyleGan):
    """The same with labels in the mapping, and in a critic."""

    variant = "cstylegan"
    capabilities: ClassVar[tuple[str, ...]] = (*EncodedStyleGan.capabilities, "SCORE")
    label_names = LABELS
    graphs: ClassVar = EncodedStyleGan.graphs | {
        "mapping": (
            (CODINGS_OUT, ("labels", ())),
            (("styles", (STYLE_DIM,)),),
            (
                "of_label = Gather(label_styles, labels) product = MatMul(codings, map)"
                " sum = Add(product, of_label) styles = Tanh(sum)"
            ),
        ),
        "critic": (
            (IMAGES_IN, ("labels", ())),
            (("scores", ()),),
            (
                "flat = Flatten(inputs) judge = Gather(label_judges, labels) products = Mul(flat, judge)"
                " axis = Constant<value_ints = [1]>() scores = ReduceSum<keepdims = 0>(products, axis)"
            ),
        ),
    }

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._label_styles = self.weight("label_styles", len(LABELS), STYLE_DIM)
        self._label_judges = self.weight("label_judges", len(LABELS), PIXELS)

    def map_labelled(self, codings: Floats, labels: NDArray[np.int64]) -> Floats:
        """Compute the styles [N, 5] of codings [N, 3] and labels [N]."""
        return np.asarray(np.tanh(codings @ self._map + self._label_styles[labels]), dtype=np.float32)

    def judge(self, inputs: Floats, labels: NDArray[np.int64]) -> Floats:
        """Compute the critic's scores [N] of inputs [N, 1, 4, 4] and labels [N]."""
        return np.asarray((inputs.reshape(-1, PIXELS) * self._label_judges[labels]).sum(axis=1), dtype=np.float32)


def _tensor_spec(name: str, row_shape: tuple[int, ...]) -> manifest_pb2.TensorSpec:
    dtype = tensor_pb2.DATA_TYPE_INT64 if name == "labels" else tensor_pb2.DATA_TYPE_FLOAT32
    return manifest_pb2.TensorSpec(name=name, dtype=dtype, shape=[-1, *row_shape])


def _declare(tensors: tuple[TensorShape, ...]) -> str:
    return ", ".join(
        f"{'int64' if name == 'labels' else 'float'}[{', '.join(['N', *map(str, shape)])}] {name}"
        for name, shape in tensors
    )
