"""What all GANs share: two networks, the game between them, and what keeps it going."""

from abc import abstractmethod
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from latentry_trainer.config import STRICT, Count, Fraction, NonNegative, Positive, TrainingConfig, VariantConfig
from latentry_trainer.variants.adversarial_losses import (
    ADVERSARIAL_LOSSES,
    AdversarialLossName,
    gradient_deviations,
    squared_gradients,
)
from latentry_trainer.variants.base import Batch, ExportGraph, Generative, GraphTensor, Phase, Stage
from latentry_trainer.variants.replay import Replay

_NUM_PAIRS = 10  # the critic is asked about a tenth of a batch of validation images, and as many samples


class Adversarial(Generative):
    """A generator of images and a critic that tells them from real ones, each trained against the other."""

    best_by: ClassVar[str | None] = "fcd"
    generator: nn.Module
    """Codings [N, codings_size], and labels [N] where it takes some -> images [N, *input] in [0, 1]."""
    critic: nn.Module
    """What is judged [N, …], labels, and the batch or None (see `criticise`) -> scores [N]."""

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(VariantConfig):
        """Options of all GANs."""

        codings_size: Count = 30
        """Length of a coding."""
        conditional: bool = False
        """Give both networks the labels of the images (Mirza & Osindero 2014)."""
        loss: AdversarialLossName = "non-saturating"
        """The game: what critic and generator minimise."""
        num_critic_steps: Count = 1
        """Steps of the critic for each of the generator."""
        critic_learning_rate: Positive | None = None
        """Step size of the critic (Heusel et al. 2017: two time scales); None: the generator's."""
        clip: NonNegative = 0.0
        """Clip the critic's weights to [-clip, clip] after each step (Arjovsky et al. 2017); 0: do not."""
        gradient_penalty: NonNegative = 0.0
        """This times (slope - 1)² between images and samples keeps the critic's slope at 1 (Gulrajani et al. 2017)."""
        r1_penalty: NonNegative = 0.0
        """Half of this times slope² at images, which keeps samples from becoming all alike (Mescheder et al. 2018)."""
        penalty_parts: Count = 1
        """Take the penalties on one of so many equal parts of each batch; 1: on all rows, as in the papers."""
        drift: NonNegative = 0.0
        """ε of ε score² of images, which keeps scores near 0 (Karras et al. 2018, appendix A.1)."""
        label_smoothing: Fraction = 0.0
        """The critic's target for images is 1 less this (Salimans et al. 2016)."""
        instance_noise: NonNegative = 0.0
        """Standard deviation of noise on all that the critic sees (Sønderby et al. 2017), which falls to 0 linearly."""
        spectral_norm: bool = False
        """Divide each of the critic's weights by its largest singular value (Miyato et al. 2018)."""
        replay_size: Annotated[int, Field(ge=0, lt=2**31)] = 0
        """Half of the samples that the critic sees come from the last so many; 0: all are fresh."""

    def __init__(self, config: Config, input_shape: tuple[int, ...], num_labels: int = 0) -> None:
        super().__init__(config, input_shape)
        self.config = config
        self.num_labels = num_labels
        self.replay = Replay(config.replay_size, input_shape) if config.replay_size else None

    @classmethod
    def needs_labels(cls, config: VariantConfig) -> bool:
        """Where both networks take them."""
        assert isinstance(config, Adversarial.Config), "a GAN's options"
        return config.conditional

    @property
    def capabilities(self) -> frozenset[str]:
        """It scores images where its critic looks at each alone."""
        makes = {"DECODE", "SAMPLE", "INTERPOLATE"}
        return frozenset(makes | {"SCORE"} if self.judges_alone else makes)

    @property
    @abstractmethod
    def judges_alone(self) -> bool:
        """Whether the critic's score of an image is of that image alone, whatever else is in the batch."""

    @property
    def codings_shape(self) -> tuple[int, ...]:
        """A vector."""
        return (self.config.codings_size,)

    def decode(self, codings: Tensor, labels: Tensor | None = None) -> Tensor:
        """Codings [N, codings_size], and labels [N] where it takes some -> images [N, *input]."""
        images: Tensor = self.generator(codings, labels)
        return images

    def reals(self, batch: Batch) -> Tensor:
        """What the critic sees of a batch's images: here the images."""
        return batch.inputs

    def fakes(self, batch: Batch, labels: Tensor | None) -> Tensor:
        """As many generated images as the batch has rows, as the critic sees them."""
        images: Tensor = self.generator(batch.normals(*self.codings_shape), labels)
        return images

    def criticise(self, images: Tensor, labels: Tensor | None, batch: Batch | None = None) -> Tensor:
        """Scores [N] of what `reals` or `fakes` gave.

        Args:
            images: [N, …].
            labels: [N], where it takes some.
            batch: In training, where what is random in the critic comes from; as many rows.
        """
        scores: Tensor = self.critic(images, labels, batch)
        return scores

    def critic_loss(self, batch: Batch) -> Tensor:
        """The critic's objective on a batch of images and as many generated ones."""
        config, labels = self.config, self.labels_of(batch)
        with torch.no_grad():
            fakes, fake_labels = self.fakes(batch, labels), labels
            if self.replay:
                fakes, fake_labels = self.replay.exchange(fakes, labels, batch)
        reals, fakes = self.add_noise(self.reals(batch), batch), self.add_noise(fakes, batch)
        real_scores = self.criticise(reals, labels, batch)
        fake_scores = self.criticise(fakes, fake_labels, batch)
        loss = ADVERSARIAL_LOSSES[config.loss].critic(real_scores, fake_scores, 1 - config.label_smoothing)
        if config.drift:
            loss = loss + config.drift * real_scores.square().mean()
        if config.r1_penalty or config.gradient_penalty:
            loss = loss + self._penalties(batch.first_part(config.penalty_parts), reals, fakes, labels)
        return loss

    def generator_loss(self, batch: Batch) -> Tensor:
        """The generator's objective on as many generated images as the batch has rows."""
        labels = self.labels_of(batch)
        fakes = self.add_noise(self.fakes(batch, labels), batch)
        return ADVERSARIAL_LOSSES[self.config.loss].generator(self.criticise(fakes, labels, batch))

    def labels_of(self, batch: Batch) -> Tensor | None:
        """The labels of a batch's rows, for images and generated images alike; None where it takes none."""
        return batch.labels if self.num_labels else None

    def add_noise(self, images: Tensor, batch: Batch) -> Tensor:
        """Images with instance noise, of which there is less and less."""
        std = self.config.instance_noise * (1 - batch.progress)
        return torch.add(images, batch.normals(*images.shape[1:]), alpha=std) if std else images

    def _penalties(self, batch: Batch, reals: Tensor, fakes: Tensor, labels: Tensor | None) -> Tensor:
        """The penalties on the critic's slope, on the first rows of what it has seen: those of the batch."""
        num_rows = len(batch.inputs)
        reals, fakes = reals[:num_rows], fakes[:num_rows]
        critic = partial(self.criticise, labels=None if labels is None else labels[:num_rows], batch=batch)
        penalty = reals.new_zeros(())
        if self.config.r1_penalty:
            penalty = penalty + self.config.r1_penalty / 2 * batch.mean(squared_gradients(critic, reals))
        if self.config.gradient_penalty:
            epsilon = batch.uniforms(*[1] * (reals.ndim - 1))
            deviations = gradient_deviations(critic, reals, fakes, epsilon)
            penalty = penalty + self.config.gradient_penalty * batch.mean(deviations)
        return penalty

    def clip_critic(self) -> None:
        """Clips the critic's weights: Arjovsky et al. 2017, algorithm 1."""
        with torch.no_grad():
            for weight in self.critic.parameters():
                weight.clamp_(-self.config.clip, self.config.clip)

    def phases(self, training: TrainingConfig) -> tuple[Phase, Phase]:
        """The critic's phase, then the generator's."""
        optimizer = training.optimizer
        critic_optimizer = replace(optimizer, learning_rate=self.config.critic_learning_rate or optimizer.learning_rate)
        critic = Phase(
            name="critic",
            module=self.critic,
            objective=self.critic_loss,
            optimizer=critic_optimizer,
            after_step=self.clip_critic if self.config.clip else None,
        )
        generator = Phase(
            name="generator",
            module=self.generator,
            objective=self.generator_loss,
            optimizer=optimizer,
            interval=self.config.num_critic_steps,
        )
        return critic, generator

    def stages(self, training: TrainingConfig) -> tuple[Stage, ...]:
        """One stage."""
        return (Stage(name="joint", num_epochs=training.num_epochs, phases=self.phases(training)),)

    def check_training(self, training: TrainingConfig, num_images: int) -> None:  # noqa: ARG002 (the game is what matters)
        """Refuses targets smoothed where there are none."""
        if self.config.label_smoothing and not ADVERSARIAL_LOSSES[self.config.loss].has_targets:
            raise ValueError(
                f"option --model.label_smoothing: --model.loss {self.config.loss} has no targets to smooth; "
                "non-saturating, minimax and least-squares have"
            )

    def validation_metrics(self, batch: Batch) -> Mapping[str, Tensor]:
        """critic_accuracy: part of the pairs of an image and a sample in which the image has the higher score.

        One half where the critic cannot tell them apart, 1 where it always can.
        """
        some = batch.first_part(_NUM_PAIRS)
        labels = self.labels_of(some)
        reals = self.criticise(self.reals(some), labels)
        fakes = self.criticise(self.fakes(some, labels), labels)
        return {"critic_accuracy": (reals[:, None] > fakes).float().mean()}

    def anomaly_scores(self, batch: Batch) -> Tensor | None:
        """Minus the critic's scores, [N]; None where the critic judges batches."""
        return -self.criticise(batch.inputs, self.labels_of(batch)) if self.judges_alone else None

    def graph_modules(self) -> tuple[ExportGraph, ...]:
        """The generator as decoder, and the critic where it judges each image alone."""
        codings = GraphTensor(name="codings", shape=self.codings_shape)
        images = GraphTensor(name="outputs", shape=self.input_shape)
        inputs = GraphTensor(name="inputs", shape=self.input_shape)
        labels = (GraphTensor(name="labels", shape=(), dtype=torch.int64),) if self.num_labels else ()
        scores = GraphTensor(name="scores", shape=())
        decoder = ExportGraph(
            role="decoder", module=self.generator.eval(), inputs=(codings, *labels), outputs=(images,)
        )
        if not self.judges_alone:
            return (decoder,)
        critic = plain(self.critic).eval()
        return (decoder, ExportGraph(role="critic", module=critic, inputs=(inputs, *labels), outputs=(scores,)))


def normalise_spectra(network: nn.Module) -> None:
    """Divides the weights of a network's layers by their largest singular values: Miyato et al. 2018, equation 8."""
    for layer in [*network.modules()]:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            parametrizations.spectral_norm(layer)


def plain(network: nn.Module) -> nn.Module:
    """A network that computes the same without parametrisations, for export; the network itself without any."""
    if not any(parametrize.is_parametrized(layer) for layer in network.modules()):
        return network
    copy = deepcopy(network).eval()
    for layer in [*copy.modules()]:
        if parametrize.is_parametrized(layer):
            parametrize.remove_parametrizations(layer, "weight")
    return copy
