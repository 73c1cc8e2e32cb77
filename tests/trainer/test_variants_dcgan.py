"""The convolutional GAN: the book's layers and the paper's, and what is random in them."""

from typing import Any

import pytest
import torch
from latentry_trainer.export.graphs import export_graph
from latentry_trainer.export.parity import check_parity
from latentry_trainer.presets import PRESETS
from latentry_trainer.variants import build_variant
from latentry_trainer.variants.dcgan import DCGAN
from torch import nn

from tests.trainer.adversaries import NUM_LABELS, SHAPE, batch, dcgan, images


def layers(module: nn.Module) -> list[str]:
    """What each layer with weights is, and its activations, in order."""
    names: dict[type[nn.Module], Any] = {
        nn.Linear: lambda layer: f"dense {layer.in_features}-{layer.out_features}",
        nn.Conv2d: lambda layer: f"conv {layer.in_channels}-{layer.out_channels} k{layer.kernel_size[0]}",
        nn.ConvTranspose2d: lambda layer: f"convT {layer.in_channels}-{layer.out_channels} k{layer.kernel_size[0]}",
        nn.BatchNorm2d: lambda layer: f"norm {layer.num_features}",
        nn.SELU: lambda _: "selu",
        nn.ReLU: lambda _: "relu",
        nn.LeakyReLU: lambda layer: f"leaky {layer.negative_slope}",
    }
    return [names[type(layer)](layer) for layer in module.modules() if type(layer) in names]


def test_the_books_network_is_the_books() -> None:
    variant = build_variant(PRESETS["dcgan"].config, (1, 28, 28))
    assert isinstance(variant, DCGAN)
    assert layers(variant.generator) == [
        "dense 100-6272",
        "norm 128",
        "convT 128-64 k5",
        "norm 64",
        "selu",
        "convT 64-1 k5",
    ]
    assert layers(variant.critic) == ["conv 1-64 k5", "leaky 0.2", "conv 64-128 k5", "leaky 0.2", "dense 6272-1"]
    config = PRESETS["dcgan"].config.model
    assert isinstance(config, DCGAN.Config)
    assert config.dropout == 0.4


def test_the_papers_network_is_the_papers() -> None:
    variant = build_variant(PRESETS["dcgan-paper"].config, (1, 28, 28))
    assert isinstance(variant, DCGAN)
    assert layers(variant.generator) == [
        "convT 100-128 k7",
        "norm 128",
        "relu",
        "convT 128-64 k5",
        "norm 64",
        "relu",
        "convT 64-1 k5",
    ]
    assert layers(variant.critic) == [
        "conv 1-64 k5",
        "leaky 0.2",
        "conv 64-128 k5",
        "norm 128",
        "leaky 0.2",
        "conv 128-1 k7",
    ]
    weights = torch.cat(
        [layer.weight.flatten() for layer in variant.modules() if isinstance(layer, nn.ConvTranspose2d)]
    )
    assert weights.std().item() == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 8), (1, 7, 5)])
def test_images_of_any_size_are_made_and_judged(shape: tuple[int, ...]) -> None:
    variant = DCGAN(DCGAN.Config(codings_size=3, filters=(4, 4), kernel_size=3), shape)
    made = variant.decode(torch.randn(2, 3))
    assert made.shape == (2, *shape)
    assert variant.criticise(made, None).shape == (2,)


def test_images_too_small_to_be_halved_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 4 x 4 pixels, got inputs of shape 1x3x3; fewer --model.filters"):
        DCGAN(DCGAN.Config(), (1, 3, 3))
    with pytest.raises(ValueError, match="got inputs of shape 64"):
        DCGAN(DCGAN.Config(), (64,))


def test_dropout_is_drawn_from_the_batch_and_off_without_one() -> None:
    variant = dcgan(dropout=0.5)
    rows = images(6)
    assert torch.equal(variant.criticise(rows, None, batch(seed=1)), variant.criticise(rows, None, batch(seed=1)))
    assert not torch.equal(variant.criticise(rows, None, batch(seed=1)), variant.criticise(rows, None, batch(seed=2)))
    assert torch.equal(variant.criticise(rows, None), variant.criticise(rows, None))


def test_dropout_keeps_the_mean() -> None:
    variant = dcgan(dropout=0.4)
    rows = images(1).expand(4000, *SHAPE)
    with torch.no_grad():
        dropped = variant.criticise(rows, None, batch(4000)) - variant.criticise(rows[:1], None)
    assert dropped.mean().abs().item() < 4 * dropped.std().item() / 4000**0.5 + 0.05


def test_labels_go_into_both_networks() -> None:
    variant = dcgan(conditional=True).eval()
    codings, first, second = torch.zeros(1, 4), torch.tensor([0]), torch.tensor([1])
    assert not torch.equal(variant.decode(codings, first), variant.decode(codings, second))
    assert not torch.equal(variant.criticise(images(1), first), variant.criticise(images(1), second))


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"conditional": True, "replay_size": 10},
        {"batch_norm": "both", "dense": False, "initial_weights": "normal"},
        {"batch_norm": "none", "spectral_norm": True},
    ],
    ids=str,
)
def test_graphs_compute_what_the_networks_do(options: dict[str, object]) -> None:
    variant = dcgan(**options)
    variant.train()
    variant.fakes(batch(), batch().labels)  # statistics of a batch
    for graph in variant.eval().graph_modules():
        check_parity(graph, export_graph(graph), num_labels=NUM_LABELS)


def test_a_kernel_without_a_middle_is_refused() -> None:
    with pytest.raises(ValueError, match="should be odd"):
        DCGAN.Config(kernel_size=4)
