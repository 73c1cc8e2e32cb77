"""How well unusual images are noticed by the score that a bundle's Score gives."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from latentry_trainer.evaluation.subject import Subject

SCORE_QUANTILE = 0.99
"""Of the validation images' scores: the threshold above which a score is unusual."""


def measure_anomalies(subject: Subject) -> dict[str, float]:
    """Figures of the anomaly score, of variants that have one.

    - score_threshold, of the validation split only: the .99 quantile of its scores;
    - false_alarm_rate: part of the images with scores above the threshold, the held-out class apart;
    - anomaly_recall, where images of a held-out class are in the split: part of them with scores above the threshold;
    - auroc, where they are: chance that one of them has a higher score than one of the others.
    """
    scores = _scores(subject)
    if scores is None:
        return {}
    if subject.split == "validation":
        threshold = _threshold(scores)
        return {"score_threshold": threshold} | anomaly_figures(scores, _is_held_out(subject), threshold)
    usual = _scores(replace(subject, split="validation"))
    assert usual is not None, "the same variant has scores of every split"
    threshold = _threshold(usual)
    return anomaly_figures(scores, _is_held_out(subject), threshold)


def anomaly_figures(scores: NDArray[np.floating], is_anomaly: NDArray[np.bool_], threshold: float) -> dict[str, float]:
    """`measure_anomalies`' figures of scores [N], some of them anomalies' [N]; but for the threshold.

    Args:
        scores: Not all of them anomalies'.
        is_anomaly: Whose scores they are.
        threshold: Scores above it are taken for anomalies'.
    """
    is_above = scores > threshold
    figures = {"false_alarm_rate": float(is_above[~is_anomaly].mean())}
    if is_anomaly.any():
        figures["anomaly_recall"] = float(is_above[is_anomaly].mean())
        figures["auroc"] = float(roc_auc_score(is_anomaly, scores))
    return figures


def _threshold(scores: NDArray[np.floating]) -> float:
    return float(np.quantile(scores, SCORE_QUANTILE))


def _scores(subject: Subject) -> NDArray[np.float32] | None:
    """The score of each image, [N]; None where the variant has none."""
    batches = []
    for batch in subject.batches():
        scores = subject.variant.anomaly_scores(batch)
        if scores is None:
            return None
        batches.append(scores.cpu())
    joined: NDArray[np.float32] = torch.cat(batches).numpy()
    return joined


def _is_held_out(subject: Subject) -> NDArray[np.bool_]:
    """Which images are of the held-out class, [N]."""
    labels, held_out = subject.dataset.labels_of(subject.split), subject.dataset.held_out_label
    if labels is None or held_out is None:
        return np.zeros(len(subject.images), bool)
    is_held_out: NDArray[np.bool_] = (labels == held_out).numpy()
    return is_held_out
