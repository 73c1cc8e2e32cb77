from math import log10, sqrt

import pytest
import torch
from latentry_trainer.data import Dataset
from latentry_trainer.evaluation import evaluate
from latentry_trainer.evaluation.metrics import mean_squared_error, psnr_db, root_mean_squared_error
from latentry_trainer.evaluation.moments import Moments
from latentry_trainer.variants.base import Variant
from latentry_trainer.variants.denoising import DenoiseGaussian
from latentry_trainer.variants.gan import GAN
from latentry_trainer.variants.stacked import Stacked
from latentry_trainer.variants.vae import VAE
from torch import Tensor

CPU = torch.device("cpu")
SHAPE = (1, 2, 2)


@pytest.fixture
def dataset() -> Dataset:
    """2 500 images: more than two batches, the last one smaller."""
    images = torch.randint(0, 256, (2510, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    splits = {"train": slice(0, 5), "validation": slice(5, 10), "test": slice(10, 2510)}
    return Dataset(name="random", images=images, labels=None, label_names=(), splits=splits)  # type: ignore[arg-type]


def images_of(*rows: list[float]) -> Tensor:
    return torch.tensor(rows).reshape(len(rows), *SHAPE)


def test_mean_squared_error_of_each_row() -> None:
    outputs, targets = images_of([0.0, 0.5, 1.0, 0.0], [0.2] * 4), images_of([0.0, 0.0, 0.0, 0.0], [0.2] * 4)
    assert mean_squared_error(outputs, targets).tolist() == [(0.25 + 1) / 4, 0.0]


def test_psnr_of_each_row() -> None:
    outputs, targets = images_of([0.1] * 4, [0.5] * 4, [1.0] * 4), images_of([0.0] * 4, [0.5] * 4, [0.0] * 4)
    assert psnr_db(outputs, targets).tolist() == pytest.approx([20.0, 100.0, 0.0], abs=1e-4)


def test_root_mean_squared_error() -> None:
    assert root_mean_squared_error(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 5.0])).item() == pytest.approx(
        sqrt(4.5)
    )


def test_moments_are_those_of_all_rows_whatever_the_batches() -> None:
    moments = Moments()
    moments.add(images_of([0.0, 1.0, 0.25, 0.5], [0.5, 1.0, 0.75, 0.5]))
    moments.add(images_of([1.0, 1.0, 0.5, 0.5]))
    assert moments.mean().flatten().tolist() == pytest.approx([0.5, 1.0, 0.5, 0.5])
    assert moments.std().flatten().tolist() == pytest.approx([sqrt(1 / 6), 0.0, sqrt(1 / 24), 0.0])


class Constant(Stacked):
    """Reconstructs every image as grey: logits of 0."""

    def reconstruct(self, inputs: Tensor) -> Tensor:
        return torch.full_like(inputs, 0.5)


def test_means_are_over_images_not_over_batches(dataset: Dataset) -> None:
    figures = evaluate(Constant(Constant.Config(), SHAPE), dataset, "test", CPU)
    inputs = dataset.images[10:].double() / 255
    errors = (inputs - 0.5).square().mean(dim=(1, 2, 3))
    assert figures["mse"] == pytest.approx(errors.mean().item(), rel=1e-6)
    assert figures["psnr_db"] == pytest.approx((-10 * errors.log10()).mean().item(), rel=1e-6)


def test_only_the_split_is_measured(dataset: Dataset) -> None:
    dataset.images[:] = 0
    dataset.images[dataset.splits["validation"]] = 255
    constant = Constant(Constant.Config(), SHAPE)
    assert evaluate(constant, dataset, "validation", CPU)["mse"] == pytest.approx(0.25)
    dataset.images[dataset.splits["validation"]] = 128
    assert evaluate(constant, dataset, "validation", CPU)["mse"] == pytest.approx((128 / 255 - 0.5) ** 2, rel=1e-4)


def test_noise_of_a_fifth_is_14_decibels(dataset: Dataset) -> None:
    figures = evaluate(DenoiseGaussian(DenoiseGaussian.Config(noise_std=0.2), (1, 2, 2)), dataset, "test", CPU)
    errors_db = -20 * log10(0.2)
    # The mean over images of few pixels lies above: E[-10 log10 of a chi-squared / 4] adds 1.17 dB.
    assert figures["noisy_psnr_db"] == pytest.approx(errors_db + 1.17, abs=0.2)
    assert figures["denoised_psnr_db"] != figures["psnr_db"]


def test_a_generator_of_black_images_is_as_far_off_as_the_images_moments(dataset: Dataset) -> None:
    gan = GAN(GAN.Config(), SHAPE)
    gan.sample = lambda num_rows, *_: torch.zeros(num_rows, *SHAPE)  # type: ignore[method-assign]
    inputs = dataset.images[10:].double() / 255
    figures = evaluate(gan, dataset, "test", CPU)
    assert {name: figures[name] for name in MOMENTS} == pytest.approx(
        {
            "sample_mean_rmse": inputs.mean(dim=0).square().mean().sqrt().item(),
            "sample_std_rmse": inputs.var(dim=0, unbiased=False).mean().sqrt().item(),
        }
    )


RECONSTRUCTION = {"bce", "rounded_accuracy", "mse", "psnr_db", "false_alarm_rate"}
INFORMATION = {"entropy_nats", "kl_from_data_nats", "bce_bits", "entropy_bits", "kl_from_data_bits"}
MOMENTS = {"sample_mean_rmse", "sample_std_rmse"}


@pytest.mark.parametrize(
    ("variant", "names"),
    [
        (Stacked(Stacked.Config(), SHAPE), RECONSTRUCTION | INFORMATION),
        (
            DenoiseGaussian(DenoiseGaussian.Config(), SHAPE),
            RECONSTRUCTION | INFORMATION | {"noisy_psnr_db", "denoised_psnr_db"},
        ),
        (
            VAE(VAE.Config(), SHAPE),
            RECONSTRUCTION | INFORMATION | MOMENTS | {"loss", "kl", "log_likelihood_nats", "elbo_nats"},
        ),
        (GAN(GAN.Config(), SHAPE), MOMENTS | {"critic_accuracy", "false_alarm_rate"}),
    ],
)
def test_what_is_measured_and_that_figures_are_the_same_again(
    variant: Variant, names: set[str], dataset: Dataset
) -> None:
    figures = evaluate(variant, dataset, "test", CPU)
    assert set(figures) == names
    assert figures == evaluate(variant, dataset, "test", CPU)
