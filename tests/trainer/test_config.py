import dataclasses
import json

import pytest
from latentry_trainer.config import RunConfig, from_dict, override, to_dict, to_json
from latentry_trainer.variants.gan import GAN
from latentry_trainer.variants.stacked import Stacked


@pytest.fixture
def config() -> RunConfig:
    return RunConfig(preset="mine", variant="gan", model=GAN.Config())


def test_json_form_reads_back_the_same(config: RunConfig) -> None:
    changed = override(config, {"model.critic_sizes": "7,8", "data.path": "some/file.npz"})
    assert from_dict(json.loads(to_json(changed)), GAN.Config) == changed
    assert changed != config


def test_options_are_set_by_their_dotted_names(config: RunConfig) -> None:
    changed = override(
        config,
        {
            "training.batch-size": "64",
            "training.optimizer.learning_rate": "0.5",
            "model.critic-sizes": "300,200,100",
            "model.activation": "relu",
            "data.name": "folder",
            "data.strict": "true",
        },
    )
    assert changed.training.batch_size == 64
    assert changed.training.optimizer.learning_rate == 0.5
    assert isinstance(changed.model, GAN.Config)
    assert changed.model.critic_sizes == (300, 200, 100)
    assert changed.model.activation == "relu"
    assert changed.data.strict is True
    assert changed.training.num_epochs == config.training.num_epochs


def test_a_configuration_cannot_be_changed(config: RunConfig) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.training.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("option", "suggestion"),
    [("training.batch_sise", "training.batch_size"), ("model.critic_size", "model.critic_sizes")],
)
def test_an_unknown_option_is_refused_with_close_names(config: RunConfig, option: str, suggestion: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown option --{option}; did you mean .*{suggestion}"):
        override(config, {option: "1"})


def test_an_option_unlike_any_other_is_refused_with_all_names(config: RunConfig) -> None:
    with pytest.raises(ValueError, match=r"unknown option --zzz; known: data\.greyscale, .*training\.seed"):
        override(config, {"zzz": "1"})


@pytest.mark.parametrize("option", ["preset", "variant", "training", "model.hidden_sizes"])
def test_sections_names_and_other_variants_options_are_not_options(config: RunConfig, option: str) -> None:
    with pytest.raises(ValueError, match=f"unknown option --{option}"):
        override(config, {option: "vae"})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("training.batch_size", "0"),
        ("training.batch_size", "many"),
        ("training.num_epochs", "2.5"),
        ("training.seed", "-1"),
        ("training.device", "tpu"),
        ("training.optimizer.learning_rate", "nan"),
        ("training.optimizer.learning_rate", "-1"),
        ("training.optimizer.beta1", "1"),
        ("model.codings_size", "0"),
        ("data.name", "imagenet"),
        ("data.image_size", "100000"),
    ],
)
def test_an_invalid_value_is_refused_by_the_options_name(config: RunConfig, option: str, value: str) -> None:
    with pytest.raises(ValueError, match=rf"option --{option}: .*, got '?{value}'?"):
        override(config, {option: value})


@pytest.mark.parametrize(
    ("option", "value", "decider"),
    [
        ("training.optimizer.rho", "0.5", "training.optimizer.name rmsprop"),
        ("training.optimizer.beta1", "0.5", "training.optimizer.name adam or nadam"),
        ("training.optimizer.beta2", "0.5", "training.optimizer.name adam or nadam"),
        ("data.image_size", "32", "data.name folder"),
        ("data.greyscale", "true", "data.name folder"),
        ("data.strict", "true", "data.name folder"),
    ],
)
def test_an_option_without_an_effect_is_refused(config: RunConfig, option: str, value: str, decider: str) -> None:
    others = {"training.optimizer.name": "sgd", "data.name": "digits"}
    with pytest.raises(ValueError, match=rf"option --{option} has an effect with --{decider} only, which is "):
        override(config, {option: value, **others})


def test_all_invalid_options_are_named_at_once(config: RunConfig) -> None:
    with pytest.raises(ValueError, match=r"--model\.codings_size: .*--model\.critic_sizes\.1: "):
        override(config, {"model.codings_size": "-1", "model.critic_sizes": "3,x"})


def test_an_unknown_key_of_a_file_is_refused(config: RunConfig) -> None:
    values = to_dict(config)
    values["training"]["momentum"] = 0.9
    with pytest.raises(ValueError, match=r"--training\.momentum"):
        from_dict(values, GAN.Config)


def test_another_variants_section_is_refused(config: RunConfig) -> None:
    with pytest.raises(ValueError, match=r"--model\.critic_sizes"):
        from_dict(to_dict(config), Stacked.Config)
