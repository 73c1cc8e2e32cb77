"""What calls return: frozen, typed, numpy inside."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from latentry.v1.manifest_pb2 import Manifest

from latentry_client.tensors import Array

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What ran, and how long it took."""

    model: str
    """The model's name."""
    version: int
    """The version that ran."""
    queue_us: int
    """Time that the rows waited for a session, in microseconds; summed over the chunks of a large request."""
    compute_us: int
    """Time that the graphs ran, in microseconds, summed likewise."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Encoding:
    """The codings of inputs."""

    codings: Floats
    """[N, *codings]; a VAE: the mean."""
    log_variance: Floats | None
    """[N, *codings]: a VAE's; None for others."""
    styles: Floats | None
    """[N, W]: a style-based generator's, where its encoder gives them; None for others."""
    run: RunInfo


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outputs:
    """Decoded, denoised, reconstructed or interpolated rows."""

    outputs: Array
    """[N, *input], float32 in [0, 1] or uint8; of interpolate [N, steps, *input]."""
    run: RunInfo


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Samples:
    """New rows, drawn from a seed."""

    outputs: Array
    """[N, *input], float32 in [0, 1] or uint8."""
    seed: int
    """The seed that was used: it gives the same rows again."""
    codings: Floats | None
    """[N, *codings], where include_codings asked for them."""
    labels: npt.NDArray[np.int64] | None
    """[N]: conditional models' only."""
    run: RunInfo


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """How unusual each row is."""

    scores: Floats
    """[N]: the mean squared error of a row's reconstruction, over its values in [0, 1]; of models that do not
    reconstruct, minus the critic's score, of either sign."""
    threshold: float | None
    """The bundle's: scores above it are unusual; None where it has none."""
    run: RunInfo

    @property
    def is_anomaly(self) -> npt.NDArray[np.bool_] | None:
        """[N]: whether each score is above the threshold; None without one."""
        return None if self.threshold is None else self.scores > self.threshold


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StyleMixes:
    """Mixes of the styles of two sources."""

    outputs: Array
    """Layout grid: [R, C, *input]; pairs: [R, *input]. float32 in [0, 1] or uint8."""
    noise_seed: int
    """The seed of the noise maps that was used."""
    run: RunInfo


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classification:
    """How probable each label is."""

    labels: npt.NDArray[np.int64]
    """[N]: each row's most probable label."""
    probabilities: Floats
    """[N, K], 0 to 1: the probability of each label; the sum of a row is 1."""
    label_names: tuple[str, ...]
    """The names of the K labels, by label number."""
    run: RunInfo

    @property
    def names(self) -> list[str]:
        """The name of each row's most probable label."""
        return [self.label_names[label] for label in self.labels]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hashes:
    """The binary codes of inputs, for `hashing`."""

    codes: npt.NDArray[np.uint8]
    """[N, ceil(K / 8)]: K bits a row, packed into bytes."""
    num_bits: int
    """K: the length of a code."""
    run: RunInfo


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure measured after training."""

    name: str
    value: float
    split: str
    """The data it was measured on: train, validation or test."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """One version of a model. What only a readable bundle knows is empty where `manifest` is None."""

    name: str
    version: int
    state: str
    """loading, ready, unloading, unloaded or failed."""
    error: str
    """State failed: what was wrong; empty otherwise."""
    variant: str
    """The kind of model: stacked, vae, gan ..."""
    preset: str
    """The training configuration's name."""
    capabilities: frozenset[str]
    """The operations it allows: encode, decode, denoise ..."""
    input_shape: tuple[int, ...]
    """Shape of one row of inputs and outputs: (C, H, W) for images."""
    codings_shape: tuple[int, ...]
    """Shape of one row of codings."""
    label_names: tuple[str, ...]
    """By label number: the labels that a conditional model takes or a classifier gives; empty: there are none."""
    num_style_layers: int
    """0: not a style-based generator."""
    metrics: tuple[Metric, ...] = field(repr=False)
    manifest: Manifest | None = field(repr=False)
    """All that the bundle says of itself, graphs and provenance included."""


@dataclass(frozen=True, slots=True)
class ModelPage:
    """Some of the server's models."""

    models: tuple[Model, ...]
    next_page_token: str
    """Empty on the last page."""


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the server, or one model of it, answers requests."""

    status: str
    """serving, not_serving or unknown."""

    @property
    def serving(self) -> bool:
        """Whether requests are answered."""
        return self.status == "serving"
