"""How far mean and standard deviation of every pixel of samples are from the images'."""

import torch
from torch import Tensor

from latentry_trainer.evaluation.metrics import root_mean_squared_error
from latentry_trainer.evaluation.subject import Subject
from latentry_trainer.variants import Generative


def measure_moments(subject: Subject) -> dict[str, float]:
    """sample_mean_rmse and sample_std_rmse, over as many samples as there are images; of models that sample."""
    variant = subject.variant
    if not isinstance(variant, Generative) or not variant.can_sample:
        return {}
    generator = subject.generator()
    reals, samples = Moments(), Moments()
    for batch in subject.batches():
        reals.add(batch.inputs)
        samples.add(variant.sample(len(batch.inputs), generator))
    return {
        "sample_mean_rmse": root_mean_squared_error(samples.mean(), reals.mean()).item(),
        "sample_std_rmse": root_mean_squared_error(samples.std(), reals.std()).item(),
    }


class Moments:
    """Mean and standard deviation of every pixel over the rows of many batches."""

    def __init__(self) -> None:
        self._num_rows = 0
        self._sum: Tensor | float = 0.0
        self._sum_of_squares: Tensor | float = 0.0

    def add(self, images: Tensor) -> None:
        """Takes in a batch [N, *shape]."""
        rows = images.double()
        self._num_rows += len(rows)
        self._sum = self._sum + rows.sum(dim=0)
        self._sum_of_squares = self._sum_of_squares + rows.square().sum(dim=0)

    def mean(self) -> Tensor:
        """The mean image, [*shape]."""
        return torch.as_tensor(self._sum / self._num_rows)

    def std(self) -> Tensor:
        """The standard deviation of each pixel, [*shape]: the square root of mean(x²) - mean(x)²."""
        return torch.as_tensor(self._sum_of_squares / self._num_rows - self.mean().square()).clamp_min(0).sqrt()
