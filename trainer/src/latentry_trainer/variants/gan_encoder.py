"""An encoder for a GAN that is trained: the way back from its images to codings."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor, nn
from torch.nn import functional

from latentry_trainer.config import STRICT, Count, NonNegative, RunConfig, TrainingConfig, VariantConfig, from_dict
from latentry_trainer.variants.adversarial import Adversarial
from latentry_trainer.variants.base import Batch, ExportGraph, Generative, GraphTensor, Phase, Stage, Style
from latentry_trainer.variants.conv import Filters, image_features
from latentry_trainer.variants.gan import GAN
from latentry_trainer.variants.gans import GANS
from latentry_trainer.variants.layers import linear
from latentry_trainer.variants.stylegan import StyleGAN, to_layers


def _read(config: RunConfig | Mapping[str, Any]) -> RunConfig:
    return config if isinstance(config, RunConfig) else from_dict(config, GANS[config["variant"]].Config)


class GANEncoder(Generative):
    """A GAN with an encoder, which is trained on images that the GAN makes, as their codings are known.

    The GAN stays as it is. Its weights are fresh: who has a GAN that is trained loads them.
    """

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(VariantConfig):
        """Options of the encoder."""

        gan: Annotated[RunConfig, BeforeValidator(_read)] = field(
            default_factory=lambda: RunConfig(preset="gan", variant="gan", model=GAN.Config())
        )
        """The run of the GAN."""
        filters: Filters = (16, 32, 64)
        """Feature maps of the encoder's convolutions; each is followed by pooling."""
        hidden_size: Count = 256
        """Length of the dense layer between feature maps and codings."""
        pixel_weight: NonNegative = 10.0
        """Weight of the squared error of real images that are encoded and generated again; 0: learn of pairs alone."""

    def __init__(self, config: Config, input_shape: tuple[int, ...], num_labels: int = 0) -> None:
        super().__init__(config, input_shape)
        model = config.gan.model
        assert isinstance(model, Adversarial.Config), "other variants are not in the table"
        self.gan = GANS[config.gan.variant](model, input_shape, num_labels).requires_grad_(requires_grad=False)
        self.num_labels = num_labels
        self.pixel_weight = config.pixel_weight
        self.style_dim = self.gan.generator.mapping.style_dim if isinstance(self.gan, StyleGAN) else None
        self.encoder = _Encoder(config, input_shape, self.gan.codings_shape[0], self.style_dim)

    @classmethod
    def needs_labels(cls, config: VariantConfig) -> bool:
        """Where the GAN does."""
        assert isinstance(config, GANEncoder.Config), "the encoder's options"
        return GANS[config.gan.variant].needs_labels(config.gan.model)

    @property
    def capabilities(self) -> frozenset[str]:
        """The GAN's, and it encodes."""
        return self.gan.capabilities | {"ENCODE"}

    @property
    def codings_shape(self) -> tuple[int, ...]:
        """The GAN's."""
        return self.gan.codings_shape

    @property
    def style(self) -> Style | None:
        """The GAN's."""
        return self.gan.style

    def train(self, mode: bool = True) -> "GANEncoder":  # noqa: FBT001, FBT002 (PyTorch's signature)
        """Puts the encoder into training mode; the GAN stays in the mode in which it is served."""
        super().train(mode)
        self.gan.eval()
        return self

    def encode(self, inputs: Tensor) -> Tensor:
        """Images [N, *input] -> codings [N, codings_size]."""
        codings: Tensor = self.encoder(inputs)[0]
        return codings

    def decode(self, codings: Tensor, labels: Tensor | None = None) -> Tensor:
        """The GAN's."""
        return self.gan.decode(codings, labels)

    def sample(self, num_rows: int, generator: Generator, labels: Tensor | None = None) -> Tensor:
        """The GAN's."""
        return self.gan.sample(num_rows, generator, labels)

    def reconstruct(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images [N, *input], and their labels [N] where the GAN takes some -> images generated of their codings.

        Those of a style-based GAN are generated of their styles, without noise.
        """
        return self._generate(self.encoder(inputs), labels)

    # ‖z - E(G(z))‖²: the latent regressor of Donahue et al. 2017, section 4; λ ‖x - G(E(x))‖² of real images x: the
    # projection network of Zhu et al. 2016, section 3.1. Norms are means over the values.
    def loss(self, batch: Batch) -> Tensor:
        """The objective of a batch of real images, and of as many generated ones."""
        loss = torch.stack([*self.regression_errors(batch).values()]).sum()
        if self.pixel_weight:
            outputs = self.reconstruct(batch.inputs, self.gan.labels_of(batch))
            loss = loss + self.pixel_weight * functional.mse_loss(outputs, batch.inputs)
        return loss

    def regression_errors(self, batch: Batch) -> dict[str, Tensor]:
        """Of as many generated images as the batch has rows: codings_mse, and styles_mse where there are styles."""
        targets = self._draw(batch)
        with torch.no_grad():
            images = self._generate(targets, self.gan.labels_of(batch))
        pairs = zip(("codings_mse", "styles_mse"), self.encoder(images), targets, strict=False)
        return {name: functional.mse_loss(guess, target) for name, guess, target in pairs}

    def stages(self, training: TrainingConfig) -> tuple[Stage, ...]:
        """One stage of one phase."""
        phase = Phase(name="encoder", module=self.encoder, objective=self.loss, optimizer=training.optimizer)
        return (Stage(name="encoder", num_epochs=training.num_epochs, phases=(phase,)),)

    def validation_metrics(self, batch: Batch) -> Mapping[str, Tensor]:
        """See `regression_errors`."""
        return self.regression_errors(batch)

    def anomaly_scores(self, batch: Batch) -> Tensor | None:
        """The GAN's."""
        return self.gan.anomaly_scores(batch)

    def graph_modules(self) -> tuple[ExportGraph, ...]:
        """The encoder, and the GAN's."""
        inputs = GraphTensor(name="inputs", shape=self.input_shape)
        outputs = [GraphTensor(name="codings", shape=self.codings_shape)]
        if self.style_dim:
            outputs.append(GraphTensor(name="styles", shape=(self.style_dim,)))
        encoder = ExportGraph(role="encoder", module=self.encoder.eval(), inputs=(inputs,), outputs=tuple(outputs))
        return (encoder, *self.gan.graph_modules())

    def _draw(self, batch: Batch) -> tuple[Tensor, ...]:
        """Codings [N, codings_size] ~ N(0, I), and their styles [N, W] where there are some."""
        codings = batch.normals(*self.codings_shape)
        if not isinstance(self.gan, StyleGAN):
            return (codings,)
        return codings, self.gan.generator.mapping(codings, self.gan.labels_of(batch)).detach()

    def _generate(self, latents: tuple[Tensor, ...], labels: Tensor | None) -> Tensor:
        """Images [N, *input] of codings, or, where there are some, of styles: those without noise."""
        latent = latents[-1]
        if not isinstance(self.gan, StyleGAN):
            return self.gan.decode(latent, labels)
        images: Tensor = self.gan.grown(self.gan.generator.synthesis)(to_layers(latent, self.gan.style.num_layers))
        return images


class _Encoder(nn.Module):
    """Images [N, *input] -> codings [N, codings_size], and styles [N, style_dim] where there are some."""

    def __init__(
        self, config: GANEncoder.Config, input_shape: tuple[int, ...], codings_size: int, style_dim: int | None
    ) -> None:
        super().__init__()
        self.hidden = image_features(input_shape, config.filters, config.hidden_size, "leaky_relu")
        self.codings = linear(config.hidden_size, codings_size)
        self.styles = linear(config.hidden_size, style_dim) if style_dim else None

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        features = self.hidden(inputs)
        codings = self.codings(features)
        return (codings,) if self.styles is None else (codings, self.styles(features))
