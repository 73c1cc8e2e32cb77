"""The optimisers by their configured name."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, NAdam, Optimizer

from latentry_trainer.config import OptimizerConfig

_KERAS_EPSILON = 1e-7


def make_optimizer(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The configured optimiser; one fused kernel a step where PyTorch has one."""
    betas = (config.beta1, config.beta2)
    match config.name:
        case "sgd":
            return SGD(parameters, lr=config.learning_rate, fused=True)
        case "adam":
            return Adam(parameters, lr=config.learning_rate, betas=betas, fused=True)
        case "nadam":  # Dozat 2016, with the book's library's epsilon; the decay of the momentum is .004 in both
            return NAdam(parameters, lr=config.learning_rate, betas=betas, eps=_KERAS_EPSILON, foreach=True)
        case "rmsprop":
            return KerasRMSprop(parameters, learning_rate=config.learning_rate, rho=config.rho)


class KerasRMSprop(Optimizer):
    """RMSprop (Tieleman & Hinton 2012) as Keras does it, with ε = 1e-7 under the root; PyTorch's adds it outside.

    Args:
        parameters: What to move.
        learning_rate: Step size.
        rho: Decay of the squared gradients' average.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, learning_rate: float, rho: float) -> None:
        super().__init__(parameters, {"lr": learning_rate, "rho": rho, "epsilon": _KERAS_EPSILON})

    # v <- rho v + (1 - rho) g², w <- w - lr g / sqrt(v + epsilon)
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Moves the weights by their gradients."""
        assert closure is None, "the loop computes the gradients"
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            gradients = [weight.grad for weight in weights]
            averages = [self._average(weight) for weight in weights]
            torch._foreach_mul_(averages, group["rho"])
            torch._foreach_addcmul_(averages, gradients, gradients, value=1 - group["rho"])
            roots = torch._foreach_add(averages, group["epsilon"])  # noqa: SLF001 (as PyTorch's own optimisers do)
            torch._foreach_sqrt_(roots)
            torch._foreach_addcdiv_(weights, gradients, roots, value=-group["lr"])

    def _average(self, weight: Tensor) -> Tensor:
        """The squared gradients' moving average of a weight."""
        state = self.state[weight]
        if not state:
            state["square_average"] = torch.zeros_like(weight)
        average: Tensor = state["square_average"]
        return average
