"""How well an autoencoder gives back what it was given."""

from collections.abc import Mapping

from torch import Tensor

from latentry_trainer.evaluation.metrics import mean_squared_error, psnr_db
from latentry_trainer.variants import Autoencoder, Batch, Denoising, Variant


def reconstruction_figures(variant: Variant, batch: Batch) -> Mapping[str, Tensor]:
    """Figures of a batch, each a scalar: mse and psnr_db; trained on corrupted inputs, those of denoising too."""
    if not isinstance(variant, Autoencoder):
        return {}
    outputs = variant.reconstruct(batch.inputs)
    figures = {
        "mse": mean_squared_error(outputs, batch.inputs).mean(),
        "psnr_db": psnr_db(outputs, batch.inputs).mean(),
    }
    if isinstance(variant, Denoising):
        noisy = variant.corrupt(batch)
        figures["noisy_psnr_db"] = psnr_db(noisy, batch.inputs).mean()
        figures["denoised_psnr_db"] = psnr_db(variant.reconstruct(noisy), batch.inputs).mean()
    return figures
