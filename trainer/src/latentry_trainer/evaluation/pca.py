"""How close a linear autoencoder comes to principal component analysis."""

from math import prod

import torch
from torch import Tensor

from latentry_trainer.data import to_floats
from latentry_trainer.evaluation.metrics import mean_squared_error
from latentry_trainer.evaluation.subject import Subject
from latentry_trainer.variants import PCA

_MAX_VALUES = 5_000  # of an image: the time of exact PCA grows with their third power, a minute here
_SMALLEST_MSE = 1e-12  # below it, single precision decides


def measure_pca(subject: Subject) -> dict[str, float]:
    """pca_mse, the error that as many exact principal components leave, and mse_over_pca; of linear autoencoders.

    The components are those of the training images, the error is that on the split. Neither is clipped to [0, 1]. Of
    inputs of at most 5 000 values.
    """
    variant = subject.variant
    if not isinstance(variant, PCA) or prod(variant.input_shape) > _MAX_VALUES:
        return {}
    mean, components = principal_components(
        to_floats(subject.dataset.images_of("train")).flatten(1), variant.codings_size
    )
    mean, components = mean.to(subject.device), components.to(subject.device)
    pca_error, own_error, num_rows = 0.0, 0.0, 0
    for batch in subject.batches():
        rows = batch.inputs.flatten(1)
        projected = mean + (rows - mean) @ components @ components.T
        pca_error += mean_squared_error(projected, rows).sum().item()
        own_error += mean_squared_error(variant.decoder(variant.encoder(batch.inputs)), rows).sum().item()
        num_rows += len(rows)
    return {"pca_mse": pca_error / num_rows, "mse_over_pca": own_error / max(pca_error, num_rows * _SMALLEST_MSE)}


# C = 1/N (X - μ)ᵀ (X - μ) = V Λ Vᵀ; the components are the columns of V of the largest eigenvalues
def principal_components(rows: Tensor, num_components: int) -> tuple[Tensor, Tensor]:
    """Mean [D] and first principal components [D, num_components] of rows [N, D], by way of double precision."""
    exact = rows.double()
    mean = exact.mean(dim=0)
    centred = exact - mean
    _, vectors = torch.linalg.eigh(centred.T @ centred / len(rows))
    return mean.float(), vectors[:, -num_components:].float()
