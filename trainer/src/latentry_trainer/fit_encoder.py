"""The command `fit-encoder`: an encoder for a GAN that is trained, so that real images can be edited and mixed."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from latentry_trainer.config import OptimizerConfig, RunConfig, override
from latentry_trainer.data import Dataset
from latentry_trainer.run import without_folders
from latentry_trainer.run_folder import Destination, start
from latentry_trainer.training.checkpoint import CHECKPOINT_FILE, save_checkpoint
from latentry_trainer.training.device import describe_device, resolve_device
from latentry_trainer.training.loop import initial_state
from latentry_trainer.training.trained import Facts, Trained, load_trained, read_config, with_facts
from latentry_trainer.variants import VARIANTS, Adversarial, GANEncoder, build_variant

_BATCH_SIZE = 128
_NUM_EPOCHS = 2
_ADAM = OptimizerConfig(name="adam", learning_rate=1e-3)
_OF_THE_GAN = ("model.gan.", "data.")  # options that its training has settled


def load_gan(run_folder: Path) -> Trained:
    """The GAN of a run, as its last checkpoint has it.

    Raises:
        ValueError: The folder is not a run's, the run not a GAN's, or it has no good checkpoint.
    """
    variant = read_config(run_folder).variant
    if not issubclass(VARIANTS[variant], Adversarial):
        raise ValueError(f"{run_folder}: an encoder is fitted to a GAN, and {variant} is none")  # noqa: TRY004 (the user's error)
    return load_trained(run_folder)


def configure(gan: RunConfig, options: Mapping[str, str]) -> RunConfig:
    """The configuration of the encoder's run; data, seed and device are the GAN's.

    Args:
        gan: The GAN's.
        options: Texts by dotted name; see `override`.

    Raises:
        ValueError: An option is unknown or invalid, or the GAN's.
    """
    for name in options:
        if name.startswith(_OF_THE_GAN):
            raise ValueError(f"option --{name}: the GAN is trained already; expected options of its encoder's training")
    config = RunConfig(
        preset=f"encoder-{gan.preset}",
        variant="gan-encoder",
        model=GANEncoder.Config(gan=without_folders(gan)),
        data=gan.data,
        training=replace(gan.training, batch_size=_BATCH_SIZE, num_epochs=_NUM_EPOCHS, optimizer=_ADAM),
    )
    return override(config, options)


def start_with_gan(config: RunConfig, gan: Trained, dataset: Dataset, destination: Destination, runs: Path) -> Path:
    """Makes the folder of the encoder's run, with the checkpoint that it goes on from: a fresh encoder on the GAN.

    Raises:
        ValueError: The GAN was trained on other data.
        OSError: The folder cannot be written.
    """
    if dataset.sha256 != gan.facts.dataset_sha256:
        raise ValueError(f"the GAN was trained on other images than those of {dataset.name}")
    device = resolve_device(config.training.device)
    variant = build_variant(config, dataset.input_shape, len(dataset.label_names)).to(device)
    assert isinstance(variant, GANEncoder), "see configure"
    variant.gan.load_state_dict(gan.variant.state_dict())
    state = with_facts(initial_state(variant, config.training), Facts.of(dataset, describe_device(device)))
    run_folder = start(config, destination, runs)
    save_checkpoint(run_folder / CHECKPOINT_FILE, state)
    return run_folder
