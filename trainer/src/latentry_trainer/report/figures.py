"""What the figures of an evaluation mean, and whether they reach their targets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from latentry_trainer.report.tables import IN_OWN_TABLE

_Better = Literal["lower", "higher"]

# By name: which way is better, and what it means. In the order in which figures are shown.
_MEANINGS: dict[str, tuple[_Better, str]] = {
    "loss":                 ("lower",  "what is minimised, per pixel: bce and a penalty, such as a VAE's kl"),
    "bce":                  ("lower",  "binary cross-entropy, mean over pixels, nats"),
    "kl":                   ("lower",  "KL divergence of the codings from N(0, I), per pixel"),
    "rounded_accuracy":     ("higher", "part of pixels that agree when rounded to black or white"),
    "cross_entropy":        ("lower",  "cross-entropy of the labels, nats"),
    "accuracy":             ("higher", "part of the images whose likeliest class is their label"),
    "mean_activation":      ("lower",  "mean of the codings, which lie in [0, 1]"),
    "active_share":         ("lower",  "part of the codings above 0.1"),
    "mse":                  ("lower",  "mean squared error of the reconstruction"),
    "pca_mse":              ("lower",  "what exact principal components leave, not clipped to [0, 1]"),
    "mse_over_pca":         ("lower",  "mean squared error before clipping, as a multiple of pca_mse"),
    "psnr_db":              ("higher", "peak signal-to-noise ratio of the reconstruction, dB"),
    "noisy_psnr_db":        ("higher", "peak signal-to-noise ratio of the corrupted inputs, dB"),
    "denoised_psnr_db":     ("higher", "peak signal-to-noise ratio of the denoised inputs, dB"),
    "log_likelihood_nats":  ("higher", "log-likelihood of an image, from 100 importance-weighted codings"),
    "elbo_nats":            ("higher", "evidence lower bound of an image, from the same codings"),
    "probe_accuracy":       ("higher", "accuracy of a linear classifier on the codings"),
    "fcd":                  ("lower",  "Fréchet distance of samples from images, in our own classifier's features"),
    "kid":                  ("lower",  "kernel distance of samples from images, in the same features"),
    "precision":            ("higher", "part of the samples that lie among the images"),
    "recall":               ("higher", "part of the images that lie among the samples"),
    "density":              ("higher", "how densely images lie around the samples; can be above 1"),
    "coverage":             ("higher", "part of the images that have a sample near them"),
    "smallest_class_share": ("higher", "part of the samples in the rarest class"),
    "class_entropy_nats":   ("higher", "entropy of the samples' mean class prediction"),
    "label_accuracy":       ("higher", "part of the samples whose likeliest class is the one that was asked for"),
    "critic_accuracy":      ("lower",  "part of pairs in which the critic gives an image a higher score than a sample"),
    "codings_mse":          ("lower",  "mean squared error of the codings of generated images; 1 if nothing is known"),
    "styles_mse":           ("lower",  "mean squared error of the styles of generated images"),
    "encoder_mse":          ("lower",  "mean squared error of images that are encoded and generated again"),
    "encoder_psnr_db":      ("higher", "peak signal-to-noise ratio of images that are encoded and generated again, dB"),
    "score_threshold":      ("lower",  "anomaly score that 99 % of the images stay under"),
    "false_alarm_rate":     ("lower",  "part of usual images with a score above the threshold"),
    "anomaly_recall":       ("higher", "part of the held-out class with a score above the threshold"),
    "auroc":                ("higher", "chance that an image of the held-out class has a higher score than another"),
    "sample_mean_rmse":     ("lower",  "how far the samples' mean image is from the images'"),
    "sample_std_rmse":      ("lower",  "how far the samples' pixel deviations are from the images'"),
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
    floors: Mapping[str, float]
    """By split: what real images get in the samples' place; empty where there is none."""
    ceilings: Mapping[str, float]
    """By split: what noise gets."""
    target: str
    """`≤ 0.2845`; empty where there is none."""
    reached: bool | None
    """Whether the validation split's value reaches the target; None where either is missing."""


def describe(evaluation: Mapping[str, Mapping[str, float]], targets: Mapping[str, float]) -> list[Figure]:
    """Returns the figures of {split: {name: value}} in their usual order, with targets by name.

    `<name>_floor` and `<name>_ceiling` are no figures of their own, but stand beside the one that they belong to.
    Figures that have a table of their own are left out.
    """
    all_names = {name: None for values in evaluation.values() for name in values if name not in IN_OWN_TABLE}
    names = [name for name in all_names if not name.endswith(("_floor", "_ceiling"))]
    usual = [name for name in _MEANINGS if name in names]
    others = [name for name in names if name not in _MEANINGS]
    return [_figure(name, evaluation, targets.get(name)) for name in usual + others]


def is_higher_better(name: str) -> bool:
    """Whether of two values of a figure the higher one is better."""
    better, _ = _MEANINGS.get(name, ("lower", ""))
    return better == "higher"


def _figure(name: str, evaluation: Mapping[str, Mapping[str, float]], target: float | None) -> Figure:
    def by_split(name: str) -> Mapping[str, float]:
        return {split: figures[name] for split, figures in evaluation.items() if name in figures}

    better, meaning = _MEANINGS.get(name, ("lower", ""))
    values = by_split(name)
    reached = None
    if target is not None and "validation" in values:
        reached = values["validation"] <= target if better == "lower" else values["validation"] >= target
    return Figure(
        name=name,
        meaning=meaning,
        values=values,
        floors=by_split(f"{name}_floor"),
        ceilings=by_split(f"{name}_ceiling"),
        target="" if target is None else f"{'≤' if better == 'lower' else '≥'} {target:g}",
        reached=reached,
    )
