"""The progressively growing GAN: the paper's generator, its loss, and its graph."""

from typing import TYPE_CHECKING, Any

import pytest
import torch
from latentry_trainer.export.graphs import export_graph
from latentry_trainer.export.parity import check_parity
from latentry_trainer.presets import PRESETS
from latentry_trainer.variants import build_variant
from latentry_trainer.variants.equalized import Blur, EqualizedConv2d, EqualizedLinear, PixelNorm
from latentry_trainer.variants.growing_networks import Growth, MinibatchStddev
from latentry_trainer.variants.progan import ProGAN
from torch import nn

from tests.trainer.growing import NUM_LABELS, SHAPE, batch, codings, progan

if TYPE_CHECKING:
    from collections.abc import Callable


def layers(module: nn.Module) -> list[str]:
    """What each layer is, in order."""
    names: dict[type[nn.Module], Callable[[Any], str]] = {
        EqualizedLinear: lambda layer: f"dense {layer.weight.shape[1]}-{layer.weight.shape[0]}",
        EqualizedConv2d: lambda layer: f"{layer.resample} {layer.weight.shape[1]}-{layer.weight.shape[0]}",
        PixelNorm: lambda _: "norm",
        Blur: lambda _: "blur",
        MinibatchStddev: lambda _: "stddev",
        nn.LeakyReLU: lambda layer: f"leaky {layer.negative_slope}",
    }
    return [names[type(layer)](layer) for layer in module.modules() if type(layer) in names]


def test_the_networks_are_the_papers() -> None:
    variant = progan()
    behind = ["leaky 0.2", "norm"]
    assert layers(variant.generator.codings) == ["norm"]
    assert [layers(block) for block in variant.generator.blocks] == [
        ["dense 6-128", *behind, "keep 8-8", *behind],
        ["up 8-8", *behind, "keep 8-8", *behind],
        ["up 8-4", *behind, "keep 4-4", *behind],
    ]
    assert layers(variant.generator.to_images) == ["keep 8-2", "keep 8-2", "keep 4-2"], "linear"
    assert [layers(block) for block in variant.critic.blocks] == [
        ["keep 8-8", "leaky 0.2", "down 8-8", "leaky 0.2"],
        ["keep 4-4", "leaky 0.2", "down 4-8", "leaky 0.2"],
    ]
    assert layers(variant.critic.last) == ["stddev", "keep 9-8", "leaky 0.2", "dense 128-8", "leaky 0.2"]
    assert layers(variant.critic.score) == ["dense 8-1"]


def test_blur_follows_each_doubling_and_precedes_each_halving() -> None:
    variant = progan(blur=True)
    assert layers(variant.generator.blocks[1])[:3] == ["up 8-8", "blur", "leaky 0.2"]
    assert layers(variant.critic.blocks[0])[1:4] == ["leaky 0.2", "blur", "down 8-8"]


def test_feature_maps_are_halved_with_each_doubling_of_the_resolution_up_to_a_most() -> None:
    assert ProGAN(ProGAN.Config(), (1, 28, 28)).num_maps == (64, 64, 32, 16)
    assert ProGAN(ProGAN.Config(base_feature_maps=8, max_feature_maps=4), (1, 28, 28)).num_maps == (2, 1, 1, 1)


def test_the_length_of_a_coding_does_not_matter() -> None:
    variant = progan()
    torch.testing.assert_close(variant.decode(3 * codings(4)), variant.decode(codings(4)))


def test_the_papers_loss_is_the_presets() -> None:
    config = PRESETS["progan"].config
    assert isinstance(config.model, ProGAN.Config)
    assert (config.model.loss, config.model.gradient_penalty, config.model.drift) == ("wasserstein", 10, 0.001)
    assert config.model.num_critic_steps == 1
    optimizer = config.training.optimizer
    assert (optimizer.name, optimizer.learning_rate, optimizer.beta1, optimizer.beta2) == ("adam", 1e-3, 0, 0.99)


def test_the_critics_loss_is_that_of_wgan_gp_with_drift() -> None:
    variant = progan(gradient_penalty=0.0, drift=0.5)
    variant.growth.fill_(3.0)
    reals = variant.criticise(variant.reals(batch()), None)
    fakes = variant.criticise(variant.fakes(batch(), None), None)
    expected = fakes.mean() - reals.mean() + 0.5 * reals.square().mean()
    torch.testing.assert_close(variant.critic_loss(batch()), expected)
    penalised = progan(gradient_penalty=10.0, drift=0.5)
    penalised.load_state_dict(variant.state_dict())
    assert penalised.critic_loss(batch()).item() > expected.item()


def test_phases_reach_the_weights_of_their_network_up_to_the_present_resolution() -> None:
    variant = progan()
    variant.growth.fill_(2.0)
    for network, objective in ((variant.critic, variant.critic_loss), (variant.generator, variant.generator_loss)):
        variant.zero_grad()
        torch.autograd.backward(objective(batch()), inputs=list(network.parameters()))
        reached = {name for name, weight in network.named_parameters() if weight.grad is not None}
        later = {name for name, _ in network.named_parameters() if ".2." in f".{name}" and "last" not in name}
        assert any(name.startswith("blocks.") for name in reached)
        assert not reached & {name for name in later if "images" in name or name.startswith("blocks.2")}


def test_the_critic_is_not_exported_as_its_scores_depend_on_the_batch() -> None:
    variant = progan()
    images = variant.reals(batch())
    alone = torch.cat([variant.criticise(images[i : i + 1], None) for i in range(8)])
    assert not torch.allclose(variant.criticise(images, None), alone)
    assert [graph.role for graph in variant.graph_modules()] == ["decoder"]
    assert variant.capabilities == {"DECODE", "SAMPLE", "INTERPOLATE"}
    assert variant.anomaly_scores(batch()) is None


@pytest.mark.parametrize(("total", "conditional"), [(1.0, True), (2.35, False), (3.0, False)])
def test_the_graph_computes_what_the_generator_does_at_any_growth(total: float, conditional: bool) -> None:
    variant = progan(conditional=conditional)
    variant.growth.fill_(total)
    (graph,) = variant.graph_modules()
    check_parity(graph, export_graph(graph), num_labels=NUM_LABELS)
    labels = torch.tensor([0, 1, 2]) if conditional else None
    inputs = [codings(3)] if labels is None else [codings(3), labels]
    assert torch.equal(graph.module(*inputs), variant.decode(codings(3), labels))
    assert graph.outputs[0].shape == SHAPE


def test_the_wide_preset_builds_at_the_papers_growth() -> None:
    variant = build_variant(PRESETS["progan"].config, (1, 28, 28))
    assert isinstance(variant, ProGAN)
    assert variant.num_maps == (256, 256, 128, 64)
    assert variant.now == Growth(0)
