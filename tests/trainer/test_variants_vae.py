"""The variational autoencoders: the terms of their loss, and the weight of the KL divergence."""

import pytest
import torch
from latentry_trainer.config import TrainingConfig
from latentry_trainer.variants import Batch, Variational
from latentry_trainer.variants.conv_vae import ConvVAE
from latentry_trainer.variants.vae import VAE, BetaVAE, kl_divergence, sample_codings
from torch import Generator, Tensor
from torch.distributions import Normal
from torch.distributions.kl import kl_divergence as reference_kl

SHAPE = (1, 8, 8)


def images() -> Tensor:
    return torch.rand(5, *SHAPE, generator=Generator().manual_seed(1))


def batch(images_seen: int = 0) -> Batch:
    """The same rows and noise each time."""
    return Batch(inputs=images(), generator=Generator().manual_seed(3), images_seen=images_seen)


def beta_vae(kl_weight: float = 4.0, warm_up_images: int = 0) -> BetaVAE:
    torch.manual_seed(0)
    return BetaVAE(BetaVAE.Config(kl_weight=kl_weight, warm_up_images=warm_up_images), SHAPE)


def test_kl_divergence_is_that_of_two_gaussians() -> None:
    mean, log_variance = torch.randn(6, 4), torch.randn(6, 4)
    expected = reference_kl(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(kl_divergence(mean, log_variance), expected)


def test_codings_are_drawn_with_their_mean_and_variance() -> None:
    mean, log_variance = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, -2.0]])
    epsilon = torch.randn(20_000, 2, generator=Generator().manual_seed(0))
    codings = sample_codings(mean, log_variance, epsilon)
    torch.testing.assert_close(codings.mean(0), mean[0], atol=0.03, rtol=0)
    torch.testing.assert_close(codings.var(0), log_variance[0].exp(), atol=0.03, rtol=0)


VARIATIONAL = [VAE(VAE.Config(codings_size=6), SHAPE), ConvVAE(ConvVAE.Config(codings_size=6), SHAPE)]


@pytest.mark.parametrize("variant", VARIATIONAL)
def test_the_loss_is_cross_entropy_and_kl_a_value(variant: Variational) -> None:
    figures = variant.validation_metrics(batch())
    mean, log_variance = variant.encode_distribution(images())
    assert figures["kl"].item() == pytest.approx(kl_divergence(mean, log_variance).mean().item() / 64, rel=1e-5)
    assert figures["loss"].item() == pytest.approx(figures["bce"].item() + figures["kl"].item(), rel=1e-6)
    assert torch.equal(variant.loss(batch()), figures["loss"])


@pytest.mark.parametrize("variant", VARIATIONAL)
def test_the_mean_is_the_coding(variant: Variational) -> None:
    mean, log_variance = variant.encode_distribution(images())
    assert torch.equal(variant.encode(images()), mean)
    assert mean.shape == log_variance.shape == (5, 6)
    assert not torch.equal(mean, log_variance)


def test_a_beta_of_one_is_the_vae() -> None:
    torch.manual_seed(0)
    plain = VAE(VAE.Config(), SHAPE)
    assert torch.equal(beta_vae(kl_weight=1.0).loss(batch()), plain.loss(batch()))


@pytest.mark.parametrize(("images_seen", "weight"), [(0, 0.0), (250, 1.0), (500, 2.0), (1_000, 4.0), (5_000, 4.0)])
def test_the_weight_of_kl_grows_linearly_with_the_images_seen(images_seen: int, weight: float) -> None:
    variant = beta_vae(kl_weight=4.0, warm_up_images=1_000)
    figures = variant.validation_metrics(batch(images_seen))
    expected = figures["bce"].item() + weight * figures["kl"].item()
    assert variant.loss(batch(images_seen)).item() == pytest.approx(expected, rel=1e-6)


def test_without_warm_up_the_weight_is_whole_from_the_beginning() -> None:
    figures = beta_vae().validation_metrics(batch())
    assert beta_vae().loss(batch()).item() == pytest.approx((figures["bce"] + 4 * figures["kl"]).item(), rel=1e-6)


def test_validation_has_the_whole_weight_however_many_images_were_seen() -> None:
    variant = beta_vae(kl_weight=3.0, warm_up_images=1_000)
    for images_seen in (0, 2_000):
        figures = variant.validation_metrics(batch(images_seen))
        assert figures["loss"].item() == pytest.approx((figures["bce"] + 3 * figures["kl"]).item(), rel=1e-6)


def test_a_warm_up_that_would_outlast_the_training_is_refused() -> None:
    training = TrainingConfig(num_epochs=3)
    beta_vae(warm_up_images=300).check_training(training, 100)
    with pytest.raises(ValueError, match=r"--model\.warm_up_images: .* at most the 300 images .* 3 epochs .* got 301"):
        beta_vae(warm_up_images=301).check_training(training, 100)


def test_no_hidden_layer_is_a_network_too() -> None:
    variant = VAE(VAE.Config(hidden_sizes=()), SHAPE)
    assert variant.reconstruct(images()).shape == (5, *SHAPE)
