from math import log, pi

import pytest
import torch
from latentry_trainer.evaluation import Subject
from latentry_trainer.evaluation.likelihood import importance_weighted, log_weights, measure_likelihood
from latentry_trainer.variants.stacked import Stacked
from latentry_trainer.variants.vae import VAE, kl_divergence
from torch import Generator, Tensor
from torch.nn import functional

from tests.trainer.classifiers import named

CPU = torch.device("cpu")
SHAPE = (1, 2, 2)

# Images of two pixels, a coding of one value, and Gaussians that are not far from the posteriors.
INPUTS = torch.tensor([[1.0, 0.0], [0.2, 0.7], [0.0, 0.0]]).double()
MEAN = torch.tensor([[0.8], [-0.2], [-0.5]]).double()
LOG_VARIANCE = torch.tensor([[-0.3], [-0.1], [-0.4]]).double()


def decode(codings: Tensor) -> Tensor:
    """A coding [M, 1] -> logits of two pixels [M, 2]."""
    return codings * torch.tensor([1.5, -1.0], dtype=codings.dtype) - 0.3


def log_conditional(codings: Tensor) -> Tensor:
    """log p(x | z) of each image at each coding [G, 1]: [3, G]."""
    logits = decode(codings)
    return (INPUTS[:, None] * logits - functional.softplus(logits)).sum(dim=2)


def by_quadrature() -> tuple[Tensor, Tensor]:
    """log p(x) and the ELBO of each image, integrated over the coding on a fine grid: [3], [3]."""
    grid = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    log_prior = -0.5 * grid.square() - 0.5 * log(2 * pi)
    log_posterior = -0.5 * ((grid - MEAN).square() / LOG_VARIANCE.exp() + LOG_VARIANCE + log(2 * pi))
    conditional = log_conditional(grid[:, None])
    log_evidence = torch.trapezoid((conditional + log_prior).exp(), grid).log()
    elbo = torch.trapezoid(log_posterior.exp() * conditional, grid) - kl_divergence(MEAN, LOG_VARIANCE)
    return log_evidence, elbo


def weights_of(num_samples: int, seed: int = 0) -> Tensor:
    return log_weights(INPUTS, MEAN, LOG_VARIANCE, decode, num_samples, Generator().manual_seed(seed))


def test_log_likelihood_and_elbo_are_those_of_the_integrals() -> None:
    log_evidence, elbo = by_quadrature()
    weights = weights_of(20_000)
    # Weights deviate by a few tenths of their mean: by some thousandths over 20 000 samples.
    torch.testing.assert_close(importance_weighted(weights), log_evidence, atol=0.02, rtol=0)
    torch.testing.assert_close(weights.mean(dim=1), elbo, atol=0.05, rtol=0)
    assert (log_evidence > elbo).all()


def test_more_samples_tighten_the_bound() -> None:
    log_evidence, elbo = by_quadrature()
    bounds = [
        torch.stack([importance_weighted(weights_of(num_samples, seed)) for seed in range(3000)]).mean()
        for num_samples in (1, 2, 8)
    ]
    assert bounds[0].item() == pytest.approx(elbo.mean().item(), abs=0.03)
    assert bounds[0] < bounds[1] < bounds[2] < log_evidence.mean()


def test_a_posterior_that_is_exact_needs_one_sample() -> None:
    """The coding says nothing of the image: the posterior is the prior, and every weight is p(x)."""
    zeros = torch.zeros(3, 1).double()
    weights = log_weights(INPUTS, zeros, zeros, lambda codings: decode(0 * codings), 5, Generator().manual_seed(0))
    expected = log_conditional(torch.zeros(1, 1).double())
    torch.testing.assert_close(weights, expected.expand(3, 5))
    torch.testing.assert_close(importance_weighted(weights), expected[:, 0])


def test_the_estimate_is_the_log_of_the_mean_weight() -> None:
    weights = torch.tensor([[1.0, 3.0], [5.0, 5.0]]).log()
    torch.testing.assert_close(importance_weighted(weights), torch.tensor([2.0, 5.0]).log())
    huge = torch.tensor([[-3000.0, -3000.0]])
    assert importance_weighted(huge).item() == -3000


def likelihood_of(variant: Stacked | VAE, images: Tensor) -> dict[str, float]:
    with torch.no_grad():
        subject = Subject(variant=variant.eval(), dataset=named("own", images), split="validation", device=CPU)
        return measure_likelihood(subject)


def test_of_a_variational_autoencoder() -> None:
    images = torch.randint(0, 256, (2400, *SHAPE), dtype=torch.uint8, generator=Generator().manual_seed(0))
    vae = VAE(VAE.Config(), SHAPE)
    figures = likelihood_of(vae, images)
    assert set(figures) == {"log_likelihood_nats", "elbo_nats"}
    assert figures["log_likelihood_nats"] > figures["elbo_nats"]
    assert figures == likelihood_of(vae, images)
    images[2200:] = 0  # beyond the thousand images that are measured
    assert figures == likelihood_of(vae, images)


def test_the_elbo_is_the_loss_of_training() -> None:
    images = torch.randint(0, 256, (2000, *SHAPE), dtype=torch.uint8, generator=Generator().manual_seed(0))
    vae = VAE(VAE.Config(), SHAPE)
    figures = likelihood_of(vae, images)
    subject = Subject(variant=vae, dataset=named("own", images), split="validation", device=CPU)
    with torch.no_grad():
        losses = [vae.validation_metrics(batch)["loss"].item() for _ in range(20) for batch in subject.batches()]
    assert figures["elbo_nats"] == pytest.approx(-4 * sum(losses) / len(losses), rel=0.01)


def test_only_where_pixels_are_bernoulli_variables() -> None:
    images = torch.zeros(20, *SHAPE, dtype=torch.uint8)
    assert likelihood_of(Stacked(Stacked.Config(), SHAPE), images) == {}
    assert likelihood_of(VAE(VAE.Config(output="linear"), SHAPE), images) == {}
