"""What the figures of an evaluation mean, and whether they reach their targets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

_Better = Literal["lower", "higher"]

# By name: which way is better, and what it means. In the order in which figures are shown.
_MEANINGS: dict[str, tuple[_Better, str]] = {
    "loss":             ("lower",  "negative evidence lower bound per pixel: bce + kl"),
    "bce":              ("lower",  "binary cross-entropy, mean over pixels"),
    "kl":               ("lower",  "KL divergence of the codings from N(0, I), per pixel"),
    "rounded_accuracy": ("higher", "part of pixels that agree when rounded to black or white"),
    "mse":              ("lower",  "mean squared error of the reconstruction"),
    "psnr_db":          ("higher", "peak signal-to-noise ratio of the reconstruction, dB"),
    "noisy_psnr_db":    ("higher", "peak signal-to-noise ratio of the corrupted inputs, dB"),
    "denoised_psnr_db": ("higher", "peak signal-to-noise ratio of the denoised inputs, dB"),
    "sample_mean_rmse": ("lower",  "how far the samples' mean image is from the images'"),
    "sample_std_rmse":  ("lower",  "how far the samples' pixel deviations are from the images'"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of an evaluation."""

    name: str
    """`bce` …"""
    meaning: str
    """In words; empty for a figure that this module does not know."""
    values: Mapping[str, float]
    """By split."""
    target: str
    """`≤ 0.2845`; empty where there is none."""
    reached: bool | None
    """Whether the validation split's value reaches the target; None where either is missing."""


def describe(evaluation: Mapping[str, Mapping[str, float]], targets: Mapping[str, float]) -> list[Figure]:
    """Returns the figures of {split: {name: value}} in their usual order, with targets by name."""
    names = {name: None for values in evaluation.values() for name in values}
    usual = [name for name in _MEANINGS if name in names]
    others = [name for name in names if name not in _MEANINGS]
    return [_figure(name, evaluation, targets.get(name)) for name in usual + others]


def _figure(name: str, evaluation: Mapping[str, Mapping[str, float]], target: float | None) -> Figure:
    better, meaning = _MEANINGS.get(name, ("lower", ""))
    values = {split: figures[name] for split, figures in evaluation.items() if name in figures}
    if target is None:
        return Figure(name=name, meaning=meaning, values=values, target="", reached=None)
    value = values.get("validation")
    if better == "lower":
        sign, reached = "≤", None if value is None else value <= target
    else:
        sign, reached = "≥", None if value is None else value >= target
    return Figure(name=name, meaning=meaning, values=values, target=f"{sign} {target:g}", reached=reached)
