"""What critic and generator of a GAN minimise: pure functions of scores, the paper's equation above each.

Scores are logits: what a critic gives an image before any sigmoid, higher for images that it takes for real.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

AdversarialLossName = Literal["non-saturating", "minimax", "least-squares", "hinge", "wasserstein"]


@dataclass(frozen=True, kw_only=True)
class AdversarialLoss:
    """The two objectives of one game, each the mean over the rows."""

    critic: Callable[[Tensor, Tensor, float], Tensor]
    """Scores of images [N] and of generated images [M], and what the target of a real image is -> a scalar."""
    generator: Callable[[Tensor], Tensor]
    """Scores of generated images [M] -> a scalar."""
    has_targets: bool = False
    """Whether the critic has a target for real images, which can be smoothed."""


# -E[log D(x)] - E[log(1 - D(G(z)))]: Goodfellow et al. 2014, equation 1; smoothed: Salimans et al. 2016, section 3.4
def _critic_cross_entropy(reals: Tensor, fakes: Tensor, target: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(
        reals, torch.full_like(reals, target)
    ) + functional.binary_cross_entropy_with_logits(fakes, torch.zeros_like(fakes))


# -E[log D(G(z))]: Goodfellow et al. 2014, section 3
def _generator_non_saturating(fakes: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(fakes, torch.ones_like(fakes))


# E[log(1 - D(G(z)))]: Goodfellow et al. 2014, equation 1
def _generator_minimax(fakes: Tensor) -> Tensor:
    return functional.logsigmoid(-fakes).mean()


# 1/2 E[(D(x) - 1)²] + 1/2 E[D(G(z))²]: Mao et al. 2017, equation 9
def _critic_least_squares(reals: Tensor, fakes: Tensor, target: float) -> Tensor:
    return (reals - target).square().mean() / 2 + fakes.square().mean() / 2


# 1/2 E[(D(G(z)) - 1)²]: Mao et al. 2017, equation 9
def _generator_least_squares(fakes: Tensor) -> Tensor:
    return (fakes - 1).square().mean() / 2


# E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]: Lim & Ye 2017; Miyato et al. 2018, equation 16
def _critic_hinge(reals: Tensor, fakes: Tensor, _target: float) -> Tensor:
    return functional.relu(1 - reals).mean() + functional.relu(1 + fakes).mean()


# E[D(G(z))] - E[D(x)]: Arjovsky et al. 2017, equation 3
def _critic_wasserstein(reals: Tensor, fakes: Tensor, _target: float) -> Tensor:
    return fakes.mean() - reals.mean()


# -E[D(G(z))]: Arjovsky et al. 2017, section 3; Miyato et al. 2018, equation 17
def _generator_mean_score(fakes: Tensor) -> Tensor:
    return -fakes.mean()


ADVERSARIAL_LOSSES: dict[AdversarialLossName, AdversarialLoss] = {
    "non-saturating": AdversarialLoss(
        critic=_critic_cross_entropy, generator=_generator_non_saturating, has_targets=True
    ),
    "minimax": AdversarialLoss(critic=_critic_cross_entropy, generator=_generator_minimax, has_targets=True),
    "least-squares": AdversarialLoss(
        critic=_critic_least_squares, generator=_generator_least_squares, has_targets=True
    ),
    "hinge": AdversarialLoss(critic=_critic_hinge, generator=_generator_mean_score),
    "wasserstein": AdversarialLoss(critic=_critic_wasserstein, generator=_generator_mean_score),
}

Critic = Callable[[Tensor], Tensor]
"""Images [N, *shape] -> scores [N], each of its own image alone."""


# ‖∇D(x)‖², whose mean over real x is R1: Mescheder et al. 2018, equation 9, its factor left to the caller
def squared_gradients(critic: Critic, inputs: Tensor) -> Tensor:
    """Squared norms of the gradients of the critic's scores by its inputs: [N, *shape] -> [N]."""
    inputs = inputs.detach().requires_grad_()
    (gradients,) = torch.autograd.grad(critic(inputs).sum(), inputs, create_graph=True)
    return gradients.square().flatten(1).sum(dim=1)


# (‖∇D(x̂)‖ - 1)², x̂ = ε x + (1 - ε) G(z), ε ~ U(0, 1) a row: Gulrajani et al. 2017, algorithm 1
def gradient_deviations(critic: Critic, reals: Tensor, fakes: Tensor, epsilon: Tensor) -> Tensor:
    """How far the critic's slope is from 1 between images: [N, *shape] twice and epsilon [N, 1, …] -> [N]."""
    between = torch.lerp(fakes, reals, epsilon)
    return ((squared_gradients(critic, between) + 1e-12).sqrt() - 1).square()  # the root has no slope at 0
