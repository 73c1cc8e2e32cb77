"""Unsupervised pretraining (Hinton et al. 2006): a classifier that begins as an autoencoder's encoder."""

from collections.abc import Mapping
from dataclasses import field
from math import prod
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from latentry_trainer.config import STRICT, Count, RunConfig, TrainingConfig, VariantConfig, from_dict
from latentry_trainer.variants.autoencoder import Autoencoder
from latentry_trainer.variants.autoencoders import AUTOENCODERS
from latentry_trainer.variants.base import Phase, Stage
from latentry_trainer.variants.classifier import Classifier
from latentry_trainer.variants.layers import dense, linear
from latentry_trainer.variants.stacked import Stacked


def _read(config: RunConfig | Mapping[str, Any]) -> RunConfig:
    return config if isinstance(config, RunConfig) else from_dict(config, AUTOENCODERS[config["variant"]].Config)


class EncoderClassifier(Classifier):
    """The encoder of an autoencoder, a dense layer, and the classes.

    The encoder's weights are fresh, like all others: who has an autoencoder that is trained loads them.
    """

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(VariantConfig):
        """Options of the classifier on an encoder."""

        autoencoder: Annotated[RunConfig, BeforeValidator(_read)] = field(
            default_factory=lambda: RunConfig(preset="stacked", variant="stacked", model=Stacked.Config())
        )
        """The run whose encoder it has."""
        hidden_size: Count = 20
        """Length of the dense layer between codings and classes."""
        num_frozen_epochs: Annotated[int, Field(ge=0)] = 0
        """The first so many epochs leave the encoder as it is."""

    def __init__(self, config: Config, input_shape: tuple[int, ...], num_labels: int) -> None:
        super().__init__(config, input_shape, num_labels)
        self.num_frozen_epochs = config.num_frozen_epochs
        model = config.autoencoder.model
        assert isinstance(model, Autoencoder.Config), "other variants are not in the table"
        self.autoencoder = AUTOENCODERS[config.autoencoder.variant](model, input_shape)
        self.hidden = dense((prod(self.autoencoder.codings_shape), config.hidden_size))
        self.features = nn.Sequential(_Encode(self.autoencoder), nn.Flatten(), self.hidden)
        self.classes = linear(config.hidden_size, num_labels)

    def stages(self, training: TrainingConfig) -> tuple[Stage, ...]:
        """The dense layers alone, then all layers; a stage without epochs is left out."""
        num_frozen_epochs = min(self.num_frozen_epochs, training.num_epochs)
        new = nn.ModuleList((self.hidden, self.classes))
        everything = nn.ModuleList((self.autoencoder.encoder, self.hidden, self.classes))
        table = (
            ("frozen", num_frozen_epochs, new),
            ("fine-tuning", training.num_epochs - num_frozen_epochs, everything),
        )
        return tuple(
            Stage(
                name=name,
                num_epochs=num_epochs,
                phases=(Phase(name="classifier", module=module, objective=self.loss, optimizer=training.optimizer),),
            )
            for name, num_epochs, module in table
            if num_epochs
        )


class _Encode(nn.Module):
    """An autoencoder's encoding as a network of its own."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, inputs: Tensor) -> Tensor:
        return self.autoencoder.encode(inputs)
