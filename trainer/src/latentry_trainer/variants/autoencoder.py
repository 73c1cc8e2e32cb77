"""What all autoencoders share: an encoder, a decoder that gives logits, and the graphs made of them."""

from abc import abstractmethod
from collections.abc import Mapping

from torch import Generator, Tensor, nn
from torch.nn import functional

from latentry_trainer.config import TrainingConfig, VariantConfig
from latentry_trainer.variants.base import ExportGraph, GraphTensor, Phase, Stage, Variant
from latentry_trainer.variants.layers import ToImages


class Autoencoder(Variant):
    """An encoder and a decoder, trained in one stage by one optimiser."""

    capabilities = frozenset({"ENCODE", "DECODE", "RECONSTRUCT", "INTERPOLATE", "SCORE"})
    encoder: nn.Module
    """Images [N, *input] -> codings [N, *codings]; a VAE's also gives log_variance."""
    decoder: nn.Module
    """Codings [N, *codings] -> logits [N, product(input)]."""

    def __init__(self, config: VariantConfig, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        self.to_images = ToImages(input_shape)

    @abstractmethod
    def encode(self, inputs: Tensor) -> Tensor:
        """Images [N, *input] -> codings [N, *codings]."""

    def decode(self, codings: Tensor) -> Tensor:
        """Codings [N, *codings] -> images [N, *input]."""
        images: Tensor = self.to_images(self.decoder(codings))
        return images

    def reconstruct(self, inputs: Tensor) -> Tensor:
        """Images [N, *input] -> images [N, *input], by way of their codings."""
        return self.decode(self.encode(inputs))

    @abstractmethod
    def loss(self, inputs: Tensor, generator: Generator) -> Tensor:
        """The objective of a batch [N, *input], a scalar."""

    def stages(self, training: TrainingConfig) -> tuple[Stage, ...]:
        """One stage of one phase."""
        phase = Phase(name="autoencoder", module=self, objective=self.loss)
        return (Stage(name="joint", num_epochs=training.num_epochs, phases=(phase,)),)

    def validation_metrics(self, inputs: Tensor, generator: Generator) -> Mapping[str, Tensor]:  # noqa: ARG002 (VAE's)
        """BCE, and the part of pixels that are right when both sides are rounded to black or white."""
        logits = self.decoder(self.encode(inputs))
        return {"bce": cross_entropy(logits, inputs), "rounded_accuracy": rounded_accuracy(logits, inputs)}

    def graph_modules(self) -> tuple[ExportGraph, ...]:
        """Encoder, decoder, and both fused into one denoiser."""
        images = GraphTensor(name="inputs", shape=self.input_shape)
        codings = GraphTensor(name="codings", shape=self.codings_shape)
        outputs = GraphTensor(name="outputs", shape=self.input_shape)
        decoder = nn.Sequential(self.decoder, self.to_images).eval()
        return (
            ExportGraph(role="encoder", module=self.encoder.eval(), inputs=(images,), outputs=(codings,)),
            ExportGraph(role="decoder", module=decoder, inputs=(codings,), outputs=(outputs,)),
            ExportGraph(role="denoiser", module=_Reconstruct(self).eval(), inputs=(images,), outputs=(outputs,)),
        )


class _Reconstruct(nn.Module):
    """An autoencoder's reconstruction as a network of its own."""

    def __init__(self, variant: Autoencoder) -> None:
        super().__init__()
        self.variant = variant

    def forward(self, inputs: Tensor) -> Tensor:
        return self.variant.reconstruct(inputs)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of logits [N, D] against images [N, *input] in [0, 1], the mean over rows and values."""
    return functional.binary_cross_entropy_with_logits(logits, targets.flatten(1))


def rounded_accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """Part of the values that agree when reconstructions and targets are rounded to 0 or 1."""
    return ((logits > 0) == (targets.flatten(1) > 0.5)).float().mean()
