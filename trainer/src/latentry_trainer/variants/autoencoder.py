"""What all autoencoders share: an encoder, a decoder that gives logits, and the graphs made of them."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor, nn
from torch.nn import functional

from latentry_trainer.config import STRICT, TrainingConfig, VariantConfig
from latentry_trainer.variants.base import Batch, ExportGraph, Generative, GraphTensor, Phase, Stage
from latentry_trainer.variants.layers import Output, ToImages
from latentry_trainer.variants.mixture import MixturePrior


class Autoencoder(Generative):
    """An encoder and a decoder, trained in one stage by one optimiser."""

    fits_prior: ClassVar[bool] = True
    """Whether its prior is fitted to the codings after training; otherwise training has made them N(0, I)."""
    encoder: nn.Module
    """Images [N, *input] -> codings [N, *codings]; a VAE's also gives log_variance."""
    decoder: nn.Module
    """Codings [N, *codings] -> logits, one a value of the image."""

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(VariantConfig):
        """Options of all autoencoders."""

        output: Output = "sigmoid"
        """`sigmoid`: trained on binary cross-entropy; `linear`: on squared errors, clipped to [0, 1] when used."""

    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        self.output = config.output
        self.to_images = ToImages(input_shape, config.output)
        self.prior = MixturePrior()

    @property
    def capabilities(self) -> frozenset[str]:
        """It cannot sample before its prior is fitted, which is when training is done."""
        others = {"ENCODE", "DECODE", "RECONSTRUCT", "INTERPOLATE", "SCORE"}
        return frozenset(others | {"SAMPLE"} if self.can_sample else others)

    def encode(self, inputs: Tensor) -> Tensor:
        """Images [N, *input] -> codings [N, *codings]."""
        codings: Tensor = self.encoder(inputs)
        return codings

    def decode(self, codings: Tensor, labels: Tensor | None = None) -> Tensor:  # noqa: ARG002 (autoencoders take none)
        """Codings [N, *codings] -> images [N, *input]."""
        images: Tensor = self.to_images(self.decoder(codings))
        return images

    def reconstruct(self, inputs: Tensor) -> Tensor:
        """Images [N, *input] -> images [N, *input], by way of their codings."""
        return self.decode(self.encode(inputs))

    @property
    def can_sample(self) -> bool:
        """Where a prior is to be fitted, once it is."""
        return self.prior.is_fitted or not self.fits_prior

    def anomaly_scores(self, batch: Batch) -> Tensor:
        """The mean squared error of each row's reconstruction, [N]."""
        return (self.reconstruct(batch.inputs) - batch.inputs).square().flatten(1).mean(dim=1)

    def sample(self, num_rows: int, generator: Generator, labels: Tensor | None = None) -> Tensor:
        """Draws images [num_rows, *input]: decodes codings of the fitted prior, of N(0, I) where there is none."""
        if not self.prior.is_fitted:
            return super().sample(num_rows, generator, labels)
        return self.decode(
            self.prior(torch.randn(num_rows, self.prior.noise_size, generator=generator, device=generator.device))
        )

    def loss(self, batch: Batch) -> Tensor:
        """The objective of a batch, a scalar: here the reconstruction's error."""
        return self.reconstruction_loss(self.decoder(self.encode(batch.inputs)), batch.inputs)

    # sigmoid: mean of -x log x̂ - (1 - x) log(1 - x̂); linear: mean of (x̂ - x)²
    def reconstruction_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The error of logits against images [N, *input], the mean over rows and values."""
        if self.output == "sigmoid":
            return cross_entropy(logits, targets)
        return functional.mse_loss(logits.flatten(1), targets.flatten(1))

    def stages(self, training: TrainingConfig) -> tuple[Stage, ...]:
        """One stage of one phase."""
        phase = Phase(name="autoencoder", module=self, objective=self.loss, optimizer=training.optimizer)
        return (Stage(name="joint", num_epochs=training.num_epochs, phases=(phase,)),)

    def validation_metrics(self, batch: Batch) -> Mapping[str, Tensor]:
        """The figures of the reconstruction."""
        return self.reconstruction_metrics(self.decoder(self.encode(batch.inputs)), batch.inputs)

    def reconstruction_metrics(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Rounded accuracy of logits against images [N, *input]; where trained on it, the binary cross-entropy too."""
        accuracy = rounded_accuracy(self.to_images(logits), targets)
        if self.output == "sigmoid":
            return {"bce": cross_entropy(logits, targets), "rounded_accuracy": accuracy}
        return {"rounded_accuracy": accuracy}

    def graph_modules(self) -> tuple[ExportGraph, ...]:
        """Encoder, decoder, both fused into one denoiser, and the prior where it is fitted."""
        images = GraphTensor(name="inputs", shape=self.input_shape)
        codings = GraphTensor(name="codings", shape=self.codings_shape)
        outputs = GraphTensor(name="outputs", shape=self.input_shape)
        decoder = nn.Sequential(self.decoder, self.to_images).eval()
        graphs = (
            ExportGraph(role="encoder", module=self.encoder.eval(), inputs=(images,), outputs=(codings,)),
            ExportGraph(role="decoder", module=decoder, inputs=(codings,), outputs=(outputs,)),
            ExportGraph(role="denoiser", module=_Reconstruct(self).eval(), inputs=(images,), outputs=(outputs,)),
        )
        if not self.prior.is_fitted:
            return graphs
        noise = GraphTensor(name="noise", shape=(self.prior.noise_size,))
        return (*graphs, ExportGraph(role="prior", module=self.prior.eval(), inputs=(noise,), outputs=(codings,)))


class _Reconstruct(nn.Module):
    """An autoencoder's reconstruction as a network of its own."""

    def __init__(self, variant: Autoencoder) -> None:
        super().__init__()
        self.variant = variant

    def forward(self, inputs: Tensor) -> Tensor:
        return self.variant.reconstruct(inputs)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of logits against as many values in [0, 1] [N, *input], the mean over rows and values."""
    return functional.binary_cross_entropy_with_logits(logits.flatten(1), targets.flatten(1))


def rounded_accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Part of the values that agree when images and targets [N, *input] are rounded to 0 or 1."""
    return ((outputs > 0.5) == (targets > 0.5)).float().mean()
