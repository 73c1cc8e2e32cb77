import numpy as np
import pytest
import torch
from latentry_trainer.config import OptimizerConfig
from latentry_trainer.training.optimizers import KerasRMSprop, make_optimizer
from torch import nn


# v = rho v + (1 - rho) g²; w -= lr g / sqrt(v + 1e-7): Keras' formula, by hand for two steps
def test_rmsprop_is_keras() -> None:
    weight = nn.Parameter(torch.tensor([1.0, 1.0]))
    optimizer = make_optimizer(OptimizerConfig(name="rmsprop", learning_rate=0.1, rho=0.9), [weight])
    assert isinstance(optimizer, KerasRMSprop)
    expected, average = [1.0, 1.0], [0.0, 0.0]
    for gradients in ([2.0, 1e-4], [-1.0, 1e-4]):
        weight.grad = torch.tensor(gradients)
        optimizer.step()
        for i, gradient in enumerate(gradients):
            average[i] = 0.9 * average[i] + 0.1 * gradient**2
            expected[i] -= 0.1 * gradient / (average[i] + 1e-7) ** 0.5
    assert weight.tolist() == pytest.approx(expected, rel=1e-5)


# Dozat 2016, algorithm 2, with the schedule of the momentum: mu_t = beta1 (1 - .5 * .96^(.004 t));
# m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g², then
# w -= lr (mu_(t+1) m / (1 - mu_1 … mu_(t+1)) + (1 - mu_t) g / (1 - mu_1 … mu_t)) / (sqrt(v / (1 - beta2^t)) + 1e-7)
def test_nadam_is_dozats() -> None:
    learning_rate, beta1, beta2 = 0.01, 0.9, 0.999
    weight = nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
    optimizer = make_optimizer(OptimizerConfig(name="nadam", learning_rate=learning_rate), [weight])
    expected, m, v, product = np.array([1.0, -2.0, 0.5]), np.zeros(3), np.zeros(3), 1.0
    for t, g in enumerate(np.random.default_rng(0).normal(0, [1.0, 1e-3, 1e-7], (10, 3)), start=1):
        weight.grad = torch.tensor(g)
        optimizer.step()
        mu, next_mu = (beta1 * (1 - 0.5 * 0.96 ** (0.004 * at)) for at in (t, t + 1))
        product *= mu
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        direction = next_mu * m / (1 - product * next_mu) + (1 - mu) * g / (1 - product)
        expected -= learning_rate * direction / (np.sqrt(v / (1 - beta2**t)) + 1e-7)
    assert weight.tolist() == pytest.approx(expected.tolist(), rel=1e-9)
