"""The anomaly score's figures, and its threshold's way into the bundle."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from latentry_trainer.data import Dataset, to_floats
from latentry_trainer.evaluation import Subject
from latentry_trainer.evaluation.anomaly import SCORE_QUANTILE, anomaly_figures, measure_anomalies
from latentry_trainer.export.manifest import describe_score
from latentry_trainer.variants.gan import GAN
from latentry_trainer.variants.stacked import Stacked
from torch import Tensor

SHAPE = (5,)
NUM_ROWS = 200


def test_figures_of_scores() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.35, 0.9])
    is_anomaly = np.array([False, False, False, False, True, True])
    figures = anomaly_figures(scores, is_anomaly, threshold=0.35)
    assert figures == {"false_alarm_rate": 0.25, "anomaly_recall": 0.5, "auroc": pytest.approx(7 / 8)}


def test_without_anomalies_only_false_alarms_are_counted() -> None:
    assert anomaly_figures(np.arange(4.0), np.zeros(4, bool), threshold=2.5) == {"false_alarm_rate": 0.25}


class Grey(Stacked):
    """Reconstructs every image as 0.5: the score is the mean squared distance from it."""

    def __init__(self) -> None:
        super().__init__(Stacked.Config(hidden_sizes=(3,), codings_size=2), SHAPE)

    def reconstruct(self, inputs: Tensor) -> Tensor:
        return torch.full_like(inputs, 0.5)


@pytest.fixture
def dataset() -> Dataset:
    """Class 0 is near 0.5; class 1, which only test images are of, is far from it."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3 * NUM_ROWS) % 2
    labels[: 2 * NUM_ROWS] = 0
    distances = torch.rand(3 * NUM_ROWS, generator=generator) * 0.2 + labels * 0.25
    return Dataset(
        name="own",
        images=(0.5 + distances)[:, None].expand(-1, *SHAPE).contiguous(),
        labels=labels,
        label_names=("near", "far"),
        splits={
            "train": slice(0, NUM_ROWS),
            "validation": slice(NUM_ROWS, 2 * NUM_ROWS),
            "test": slice(2 * NUM_ROWS, 3 * NUM_ROWS),
        },
        held_out_label=1,
    )


def subject(variant: Stacked | GAN, dataset: Dataset, split: str) -> Subject:
    return Subject(variant=variant.eval(), dataset=dataset, split=split, device=torch.device("cpu"))  # type: ignore[arg-type]


def test_the_threshold_is_of_validation_images_and_tells_the_held_out_class(dataset: Dataset) -> None:
    validation = measure_anomalies(subject(Grey(), dataset, "validation"))
    scores = (dataset.images_of("validation") - 0.5).square().mean(dim=1).numpy()
    assert validation["score_threshold"] == pytest.approx(np.quantile(scores, SCORE_QUANTILE))
    assert validation["false_alarm_rate"] == (scores > validation["score_threshold"]).mean() == 0.01
    assert validation.keys() == {"score_threshold", "false_alarm_rate"}
    test = measure_anomalies(subject(Grey(), dataset, "test"))
    assert test["auroc"] == test["anomaly_recall"] == 1
    assert test["false_alarm_rate"] < 0.05


def test_without_a_held_out_class_there_is_a_threshold_and_no_auroc(dataset: Dataset) -> None:
    whole = replace(dataset, held_out_label=None)
    assert "score_threshold" in measure_anomalies(subject(Grey(), whole, "validation"))
    assert measure_anomalies(subject(Grey(), whole, "test")).keys() == {"false_alarm_rate"}


def test_models_that_judge_no_image_alone_have_no_score(dataset: Dataset) -> None:
    config = GAN.Config(generator_sizes=(3,), critic_sizes=(3,), minibatch_discrimination=True)
    assert measure_anomalies(subject(GAN(config, SHAPE), dataset, "test")) == {}


def test_critics_that_judge_alone_have_one(dataset: Dataset) -> None:
    gan = GAN(GAN.Config(generator_sizes=(3,), critic_sizes=(3,)), SHAPE)
    with torch.no_grad():
        scores = -gan.criticise(to_floats(dataset.images_of("validation")), None).numpy()
        figures = measure_anomalies(subject(gan, dataset, "validation"))
    assert figures["score_threshold"] == pytest.approx(np.quantile(scores, 0.99), abs=1e-5)


def test_the_bundle_has_the_threshold_where_one_was_measured() -> None:
    score = describe_score({"validation": {"score_threshold": 0.03}, "test": {"mse": 0.01}})
    assert score is not None
    assert (score.quantile, score.threshold) == (0.99, 0.03)
    assert describe_score({"validation": {"mse": 0.01}}) is None
    assert describe_score({}) is None
