from dataclasses import replace
from math import log

import pytest
import torch
from latentry_trainer.evaluation import Subject, validate
from latentry_trainer.evaluation.information import measure_information, pixel_entropy_nats
from latentry_trainer.variants import Batch
from latentry_trainer.variants.gan import GAN
from latentry_trainer.variants.stacked import Stacked
from latentry_trainer.variants.vae import VAE
from torch import Tensor

from tests.trainer.classifiers import named

CPU = torch.device("cpu")
SHAPE = (1, 2, 2)


def greys(num_rows: int) -> Tensor:
    return torch.randint(0, 256, (num_rows, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def subject_of(variant: Stacked | VAE | GAN, images: Tensor) -> Subject:
    return Subject(variant=variant.eval(), dataset=named("own", images), split="validation", device=CPU)


@pytest.mark.parametrize(
    ("values", "entropy_nats"),
    [
        ([0.0, 1.0, 1.0, 0.0], 0.0),
        ([0.5, 0.5, 0.5, 0.5], log(2)),
        ([0.5, 0.0, 0.5, 1.0], log(2) / 2),
        ([0.1, 0.1, 0.9, 0.9], -0.1 * log(0.1) - 0.9 * log(0.9)),
    ],
)
def test_entropy_of_known_images(values: list[float], entropy_nats: float) -> None:
    assert pixel_entropy_nats(torch.tensor(values).reshape(1, *SHAPE)).item() == pytest.approx(entropy_nats, abs=1e-7)


class Exact(Stacked):
    """Gives back exactly what it was given: its logits have the images' values as probabilities."""

    def validation_metrics(self, batch: Batch) -> dict[str, Tensor]:
        return self.reconstruction_metrics(batch.inputs.logit(), batch.inputs)


@torch.no_grad()
def test_an_exact_reconstruction_is_no_bit_from_the_data() -> None:
    figures = measure_information(subject_of(Exact(Exact.Config(), SHAPE), greys(4000).clamp(1, 254)))
    assert figures["kl_from_data_nats"] == pytest.approx(0, abs=1e-6)
    assert figures["bce_bits"] == pytest.approx(figures["entropy_bits"], abs=1e-6)


@torch.no_grad()
def test_a_grey_reconstruction_of_black_and_white_is_one_bit_from_the_data() -> None:
    class Grey(Exact):
        def validation_metrics(self, batch: Batch) -> dict[str, Tensor]:
            return self.reconstruction_metrics(torch.zeros_like(batch.inputs), batch.inputs)

    images = (greys(100) > 127).to(torch.uint8) * 255
    assert measure_information(subject_of(Grey(Grey.Config(), SHAPE), images)) == pytest.approx(
        {
            "entropy_nats": 0,
            "kl_from_data_nats": log(2),
            "bce_bits": 1,
            "entropy_bits": 0,
            "kl_from_data_bits": 1,
        }
    )


@torch.no_grad()
@pytest.mark.parametrize("variant", [Stacked(Stacked.Config(), SHAPE), VAE(VAE.Config(), SHAPE)])
def test_entropy_and_divergence_add_up_to_the_validations_cross_entropy(variant: Stacked | VAE) -> None:
    subject = subject_of(variant, greys(3000))  # the last batch is smaller
    figures = measure_information(subject)
    bce = validate(variant, subject.dataset, "validation", CPU)["bce"]
    assert figures["entropy_nats"] + figures["kl_from_data_nats"] == pytest.approx(bce, rel=1e-6)
    assert figures["bce_bits"] == pytest.approx(bce / log(2), rel=1e-6)
    assert figures["kl_from_data_nats"] > 0


@torch.no_grad()
def test_vectors_have_an_entropy_too() -> None:
    vectors = torch.tensor([[0.5, 0.0, 1.0, 0.5]]).repeat(10, 1)
    subject = subject_of(Stacked(Stacked.Config(), (4,)), vectors)
    assert measure_information(subject)["entropy_bits"] == pytest.approx(0.5)


@torch.no_grad()
def test_only_where_cross_entropy_is_measured() -> None:
    linear = Stacked(replace(Stacked.Config(), output="linear"), SHAPE)
    assert measure_information(subject_of(linear, greys(20))) == {}
    assert measure_information(subject_of(GAN(GAN.Config(), SHAPE), greys(20))) == {}
