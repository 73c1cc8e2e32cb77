import pytest
import torch
from latentry_trainer.presets import PRESETS
from latentry_trainer.variants import VARIANTS, build_variant
from torch import nn


def layer_sizes(module: nn.Module) -> list[tuple[int, int]]:
    return [(layer.in_features, layer.out_features) for layer in module.modules() if isinstance(layer, nn.Linear)]


def test_every_variant_has_a_book_preset_and_a_quick_one() -> None:
    made_of_other_runs = {"encoder-classifier", "gan-encoder"}  # see `pretrain-classifier` and `fit-encoder`
    variants = set(VARIANTS) - made_of_other_runs
    assert set(PRESETS) >= variants | {f"{variant}-quick" for variant in variants}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds_and_names_itself(name: str) -> None:
    config = PRESETS[name].config
    variant = build_variant(config, (1, 28, 28), 10)
    assert config.preset == name
    assert type(variant) is VARIANTS[config.variant]
    assert sum(stage.num_epochs for stage in variant.stages(config.training)) == config.training.num_epochs


@pytest.mark.parametrize(
    ("name", "sizes", "optimizer", "learning_rate", "batch_size", "num_epochs"),
    [
        ("stacked", [(784, 100), (100, 30), (30, 100), (100, 784)], "sgd", 1.5, 32, 20),
        ("conv", [], "sgd", 1.0, 32, 5),
        ("recurrent", [(100, 28)], "sgd", 0.1, 32, 10),
        ("denoise-gaussian", [(784, 100), (100, 30), (30, 100), (100, 784)], "sgd", 1.0, 32, 10),
        (
            "vae",
            [(784, 150), (150, 100), (100, 10), (100, 10), (10, 100), (100, 150), (150, 784)],
            "rmsprop",
            1e-3,
            128,
            25,
        ),
    ],
)
def test_the_books_presets_are_the_books(
    name: str, sizes: list[tuple[int, int]], optimizer: str, learning_rate: float, batch_size: int, num_epochs: int
) -> None:
    config = PRESETS[name].config
    assert layer_sizes(build_variant(config, (1, 28, 28))) == sizes
    assert config.training.optimizer.name == optimizer
    assert config.training.optimizer.learning_rate == learning_rate
    assert config.training.batch_size == batch_size
    assert config.training.num_epochs == num_epochs


def test_the_books_weights_are_glorot_uniform_and_its_biases_zero() -> None:
    for layer in build_variant(PRESETS["stacked"].config, (1, 28, 28)).modules():
        if isinstance(layer, nn.Linear):
            limit = (6 / (layer.in_features + layer.out_features)) ** 0.5
            assert layer.weight.abs().max().item() <= limit
            assert layer.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.05)
            assert not layer.bias.any()


def test_the_seed_fixes_the_weights_and_leaves_the_global_generator_alone() -> None:
    config = PRESETS["vae"].config
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first, second = (build_variant(config, (1, 28, 28)).state_dict() for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(first[name], second[name]) for name in first)
