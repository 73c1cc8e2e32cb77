"""The games' objectives against the papers' equations, written out in numpy on scores with a known answer."""

import numpy as np
import pytest
import torch
from latentry_trainer.variants.adversarial_losses import (
    ADVERSARIAL_LOSSES,
    AdversarialLossName,
    gradient_deviations,
    squared_gradients,
)
from torch import nn

from tests.trainer.adversaries import images

REALS, FAKES = np.array([0.5, -1.0, 2.0]), np.array([-0.3, 1.2])


def sigmoid(values: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-values)))


# name -> the critic's and the generator's objective
EXPECTED: dict[AdversarialLossName, tuple[float, float]] = {
    "non-saturating": (
        -np.log(sigmoid(REALS)).mean() - np.log(1 - sigmoid(FAKES)).mean(),
        -np.log(sigmoid(FAKES)).mean(),
    ),
    "minimax": (
        -np.log(sigmoid(REALS)).mean() - np.log(1 - sigmoid(FAKES)).mean(),
        np.log(1 - sigmoid(FAKES)).mean(),
    ),
    "least-squares": (((REALS - 1) ** 2).mean() / 2 + (FAKES**2).mean() / 2, ((FAKES - 1) ** 2).mean() / 2),
    "hinge": (np.maximum(0, 1 - REALS).mean() + np.maximum(0, 1 + FAKES).mean(), -FAKES.mean()),
    "wasserstein": (FAKES.mean() - REALS.mean(), -FAKES.mean()),
}


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_each_game_is_the_papers(name: AdversarialLossName) -> None:
    loss = ADVERSARIAL_LOSSES[name]
    reals, fakes = torch.from_numpy(REALS), torch.from_numpy(FAKES)
    assert loss.critic(reals, fakes, 1.0).item() == pytest.approx(EXPECTED[name][0], abs=1e-9)
    assert loss.generator(fakes).item() == pytest.approx(EXPECTED[name][1], abs=1e-9)


@pytest.mark.parametrize("name", [name for name, loss in ADVERSARIAL_LOSSES.items() if loss.has_targets])
def test_a_smoothed_target_moves_the_best_score_of_an_image(name: AdversarialLossName) -> None:
    scores = torch.linspace(-4, 4, 8001, dtype=torch.float64)
    fakes = torch.zeros(1, dtype=torch.float64)
    best = min(scores, key=lambda score: ADVERSARIAL_LOSSES[name].critic(score[None], fakes, 0.9).item()).item()
    assert best == pytest.approx(0.9 if name == "least-squares" else np.log(0.9 / 0.1), abs=1e-3)


def linear_critic() -> tuple[nn.Module, nn.Linear]:
    layer = nn.Linear(64, 1)
    return nn.Sequential(nn.Flatten(), layer, nn.Flatten(0)), layer


def test_the_slope_of_a_linear_critic_is_its_weight_everywhere() -> None:
    critic, layer = linear_critic()
    penalties = squared_gradients(critic, images(5))
    torch.testing.assert_close(penalties, layer.weight.square().sum().expand(5))
    penalties.mean().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(layer.weight.grad, 2 * layer.weight)


def test_the_deviation_of_a_linear_critic_is_that_of_its_norm_from_one() -> None:
    critic, layer = linear_critic()
    deviations = gradient_deviations(critic, images(5), images(5, seed=2), torch.rand(5, 1, 1, 1))
    torch.testing.assert_close(deviations, (layer.weight.norm() - 1).square().expand(5))


def test_the_slope_is_taken_between_each_image_and_its_own_sample() -> None:
    seen = []

    def critic(inputs: torch.Tensor) -> torch.Tensor:
        seen.append(inputs)
        return inputs.flatten(1).sum(dim=1)

    epsilon = torch.tensor([0.0, 0.25, 1.0]).view(3, 1, 1, 1)
    reals, fakes = images(3), images(3, seed=2)
    gradient_deviations(critic, reals, fakes, epsilon)
    torch.testing.assert_close(seen[0], epsilon * reals + (1 - epsilon) * fakes)
