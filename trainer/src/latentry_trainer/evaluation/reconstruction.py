"""How well an autoencoder, or a GAN with an encoder, gives back what it was given."""

from collections.abc import Mapping

from torch import Tensor

from latentry_trainer.evaluation.metrics import mean_squared_error, psnr_db
from latentry_trainer.variants import Autoencoder, Batch, Denoising, GANEncoder, Variant


def reconstruction_figures(variant: Variant, batch: Batch) -> Mapping[str, Tensor]:
    """Figures of a batch, each a scalar: mse and psnr_db; trained on corrupted inputs, those of denoising too.

    Of a GAN with an encoder: encoder_mse and encoder_psnr_db.
    """
    if isinstance(variant, GANEncoder):
        outputs = variant.reconstruct(batch.inputs, variant.gan.labels_of(batch))
        return {f"encoder_{name}": value for name, value in _figures(outputs, batch.inputs).items()}
    if not isinstance(variant, Autoencoder):
        return {}
    figures = _figures(variant.reconstruct(batch.inputs), batch.inputs)
    if isinstance(variant, Denoising):
        noisy = variant.corrupt(batch)
        figures["noisy_psnr_db"] = psnr_db(noisy, batch.inputs).mean()
        figures["denoised_psnr_db"] = psnr_db(variant.reconstruct(noisy), batch.inputs).mean()
    return figures


def _figures(outputs: Tensor, inputs: Tensor) -> dict[str, Tensor]:
    return {"mse": mean_squared_error(outputs, inputs).mean(), "psnr_db": psnr_db(outputs, inputs).mean()}
