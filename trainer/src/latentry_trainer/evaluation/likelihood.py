"""How likely images are under a variational autoencoder: the log-likelihood that the ELBO bounds from below."""

from collections.abc import Callable
from math import log

import torch
from torch import Generator, Tensor
from torch.nn import functional

from latentry_trainer.data import to_floats
from latentry_trainer.evaluation.subject import Subject
from latentry_trainer.variants.vae import Variational, sample_codings

_NUM_IMAGES = 1_000
_NUM_SAMPLES = 100
_BATCH_ROWS = 10


def measure_likelihood(subject: Subject) -> dict[str, float]:
    """log_likelihood_nats and elbo_nats per image, the mean over at most 1 000 images, from 100 codings an image.

    Of variational autoencoders whose pixels are Bernoulli variables. Both come from the same codings.
    """
    variant = subject.variant
    if not isinstance(variant, Variational) or variant.output != "sigmoid":
        return {}
    images = to_floats(subject.images[:_NUM_IMAGES].to(subject.device))
    generator = subject.generator()
    batches = []
    for inputs in torch.split(images, _BATCH_ROWS):
        mean, log_variance = variant.encoder(inputs)
        batches.append(log_weights(inputs, mean, log_variance, variant.decoder, _NUM_SAMPLES, generator))
    weights = torch.cat(batches).double()
    return {
        "log_likelihood_nats": importance_weighted(weights).mean().item(),
        "elbo_nats": weights.mean().item(),
    }


# log w_k = log p(x | z_k) + log p(z_k) - log q(z_k | x), z_k ~ q(z | x): Burda et al. 2016, section 3
def log_weights(
    inputs: Tensor,
    mean: Tensor,
    log_variance: Tensor,
    decoder: Callable[[Tensor], Tensor],
    num_samples: int,
    generator: Generator,
) -> Tensor:
    """Log importance weights [N, num_samples] of codings drawn for images; each row's mean estimates its ELBO.

    Args:
        inputs: Images [N, *input] in [0, 1].
        mean: Of q(z | x), a Gaussian: [N, K].
        log_variance: Of q(z | x): [N, K].
        decoder: Codings [M, K] -> logits of the pixels of p(x | z), M times as many as an image has values.
        num_samples: Codings drawn for each image.
        generator: On the images' device.
    """
    mean, log_variance, targets = (
        rows.repeat_interleave(num_samples, dim=0) for rows in (mean, log_variance, inputs.flatten(1))
    )
    epsilon = torch.randn(mean.shape, generator=generator, device=mean.device)
    codings = sample_codings(mean, log_variance, epsilon)
    logits = decoder(codings).flatten(1)
    log_conditional = -functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=1)
    # Both Gaussians have the factor (2π)^(-K/2), which cancels.
    log_ratio = 0.5 * (epsilon.square() + log_variance - codings.square()).sum(dim=1)
    return (log_conditional + log_ratio).reshape(len(inputs), num_samples)


# L_k = log (1/K sum over k of w_k): Burda et al. 2016, equation 8
def importance_weighted(weights: Tensor) -> Tensor:
    """Estimates log p(x) of each image from log weights [N, K]: [N], nowhere below the mean of the log weights."""
    return weights.logsumexp(dim=1) - log(weights.shape[1])
