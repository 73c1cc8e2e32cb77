"""The style-based GAN: each of the paper's techniques, each switch, and the two graphs."""

import numpy as np
import pytest
import torch
from latentry_trainer.config import TrainingConfig
from latentry_trainer.export.graphs import export_graph
from latentry_trainer.export.parity import check_parity
from latentry_trainer.presets import PRESETS
from latentry_trainer.variants.equalized import Blur, EqualizedLinear
from latentry_trainer.variants.growing_networks import Growth
from latentry_trainer.variants.progan import VectorsToMaps
from latentry_trainer.variants.style_layers import LearnedConstant, Mapping, StyleLayer, stylized
from latentry_trainer.variants.stylegan import StyleGAN, crossovers, mixed, to_layers
from torch import Generator, Tensor
from torch.nn import functional

from tests.trainer.growing import CODINGS_SIZE, NUM_LABELS, SHAPE, batch, codings, stylegan


def numbers(*shape: int, seed: int = 5) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed))


def full_grown(**options: object) -> StyleGAN:
    variant = stylegan(**options)
    variant.growth.fill_(3.0)
    return variant


def noises(num_rows: int = 4) -> list[Tensor]:
    return [numbers(num_rows, 1, size, size) for size in (4, 4, 8, 8, 16, 16)]


def num_distinct(rows: Tensor) -> int:
    return len({tuple(row) for row in rows.tolist()})


# Layers


def test_adaptive_instance_normalisation_is_equation_1() -> None:
    maps, scales, biases = numbers(3, 4, 5, 6), numbers(3, 4, seed=6), numbers(3, 4, seed=7)
    array = maps.numpy().astype(np.float64)
    means, stddevs = array.mean((2, 3), keepdims=True), array.std((2, 3), keepdims=True)
    expected = scales.numpy()[..., None, None] * (array - means) / stddevs + biases.numpy()[..., None, None]
    np.testing.assert_allclose(stylized(maps, scales, biases), expected, atol=1e-5)


def test_a_layer_is_noise_bias_activation_norm_and_style_in_this_order() -> None:
    torch.manual_seed(0)
    layer = StyleLayer(4, 6)
    for weight in (layer.noise_scales, layer.biases):
        torch.nn.init.normal_(weight)
    maps, style, noise = numbers(3, 4, 5, 5), numbers(3, 6, seed=6), numbers(3, 1, 5, 5, seed=7)
    activated = functional.leaky_relu(maps + layer.noise_scales * noise + layer.biases, 0.2)
    expected = stylized(activated, layer.style_scales(style), layer.style_biases(style))
    torch.testing.assert_close(layer(maps, style, noise), expected)


def test_a_style_of_zeros_leaves_what_is_normalised_as_it_is() -> None:
    layer = StyleLayer(4, 6)
    maps = layer(numbers(3, 4, 5, 5), torch.zeros(3, 6))
    torch.testing.assert_close(maps.mean((2, 3)), torch.zeros(3, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(maps.std((2, 3), correction=0), torch.ones(3, 4), atol=1e-4, rtol=0)


def test_noise_begins_at_nothing_and_has_a_scale_for_each_map() -> None:
    variant = full_grown()
    synthesis, styles = variant.generator.synthesis, numbers(4, 6, CODINGS_SIZE)
    before = synthesis(styles, growth=Growth(2))
    assert torch.equal(synthesis(styles, *noises(), growth=Growth(2)), before)
    for layer, num_maps in zip(synthesis.layers, (8, 8, 8, 8, 4, 4), strict=True):
        assert isinstance(layer, StyleLayer)
        assert layer.noise_scales.shape == (num_maps, 1, 1)
        torch.nn.init.ones_(layer.noise_scales)
        after = synthesis(styles, *noises(), growth=Growth(2))
        assert not torch.allclose(after, before)
        before = after


def test_each_layer_has_its_own_style_and_noise() -> None:
    synthesis = full_grown().generator.synthesis
    for layer in synthesis.layers:
        assert isinstance(layer, StyleLayer)
        torch.nn.init.ones_(layer.noise_scales)
    styles = to_layers(numbers(4, CODINGS_SIZE), 6)
    expected = synthesis(styles, *noises(), growth=Growth(2))
    for i in range(6):
        others, other_noises = styles.clone(), noises()
        others[:, i] += 1
        other_noises[i] = other_noises[i] + numbers(*other_noises[i].shape, seed=9)
        assert not torch.allclose(synthesis(others, *noises(), growth=Growth(2)), expected)
        assert not torch.allclose(synthesis(styles, *other_noises, growth=Growth(2)), expected)


def test_the_mapping_normalises_codings_and_moves_slowly() -> None:
    mapping = stylegan(mapping_layers=3).generator.mapping
    torch.testing.assert_close(mapping(2 * codings(4)), mapping(codings(4)))
    layers = [layer for layer in mapping.layers if isinstance(layer, EqualizedLinear)]
    assert len(layers) == 3
    for layer in layers:
        assert layer.bias_scale == 0.01
        assert layer.scale == pytest.approx(0.01 * (2 / CODINGS_SIZE) ** 0.5)
        assert layer.weight.std().item() == pytest.approx(100, rel=0.5)


# Mixing


def test_where_the_second_style_begins_is_drawn_from_all_layers_but_the_first() -> None:
    uniforms = torch.rand(20_000, 2, generator=Generator().manual_seed(0))
    begins = crossovers(uniforms, 6, 0.9)
    parts = [(begins == layer).float().mean().item() for layer in range(7)]
    assert parts == pytest.approx([0, 0.18, 0.18, 0.18, 0.18, 0.18, 0.1], abs=0.01)


def test_mixed_styles_are_of_one_coding_and_then_of_another() -> None:
    styles, others = to_layers(torch.zeros(3, 5), 4), torch.ones(3, 5)
    layers = mixed(styles, others, torch.tensor([1.0, 3.0, 4.0]))
    assert layers[:, :, 0].tolist() == [[0, 1, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]]


@pytest.mark.parametrize(("probability", "num_styles"), [(0.0, {1}), (1.0, {2}), (0.5, {1, 2})])
def test_training_mixes_the_styles_of_two_codings(probability: float, num_styles: set[int]) -> None:
    variant = full_grown(mixing_probability=probability)
    seen: list[Tensor] = []
    variant.generator.synthesis.register_forward_pre_hook(lambda _synthesis, inputs: seen.append(inputs[0]))
    variant.fakes(batch(16), None)
    (styles,) = seen
    assert styles.shape == (16, 6, CODINGS_SIZE)
    assert {num_distinct(row) for row in styles} == num_styles
    assert num_distinct(styles[:, 0]) == 16


def test_decoding_mixes_nothing() -> None:
    variant = full_grown(mixing_probability=1.0)
    seen: list[Tensor] = []
    variant.generator.synthesis.register_forward_pre_hook(lambda _synthesis, inputs: seen.append(inputs[0]))
    variant.decode(codings(4))
    assert {num_distinct(row) for row in seen[0]} == {1}


# Mean style


def test_the_mean_style_follows_the_styles_of_training() -> None:
    variant = full_grown()
    assert not variant.mean_style.any()
    variant.fakes(batch(), None)
    styles = variant.generator.mapping(batch().normals(CODINGS_SIZE))
    first = 0.005 * styles.mean(0)
    torch.testing.assert_close(variant.mean_style, first)
    variant.fakes(batch(), None)
    torch.testing.assert_close(variant.mean_style, 0.995 * first + first)
    variant.eval().fakes(batch(), None)
    torch.testing.assert_close(variant.mean_style, 0.995 * first + first)
    assert torch.equal(variant.style.mean_style, variant.mean_style)


@pytest.mark.parametrize(("total", "num_layers"), [(1.0, 2), (1.5, 4), (3.0, 6)])
def test_layers_are_those_that_have_grown(total: float, num_layers: int) -> None:
    variant = stylegan()
    variant.growth.fill_(total)
    assert variant.style.num_layers == num_layers
    _, synthesis = variant.graph_modules()
    assert synthesis.inputs[0].shape == (num_layers, CODINGS_SIZE)
    assert len(synthesis.inputs) == 1 + num_layers


# Switches


def test_without_a_mapping_styles_are_the_normalised_codings() -> None:
    mapping = stylegan(mapping_layers=0).generator.mapping
    rows = codings(4)
    torch.testing.assert_close(mapping(rows), rows / rows.square().mean(1, keepdim=True).sqrt())
    assert not list(mapping.parameters())
    assert Mapping(6, 0, num_labels=3, learning_rate_multiplier=1.0).style_dim == 12


def test_without_noise_there_are_no_noise_maps() -> None:
    variant = full_grown(noise=False)
    _, synthesis = variant.graph_modules()
    assert [tensor.name for tensor in synthesis.inputs] == ["styles"]
    first, second = (variant.sample(2, Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)
    draws = Generator().manual_seed(1)
    rows = torch.randn(2, CODINGS_SIZE, generator=draws)
    assert torch.equal(first, variant.decode(rows))


def test_without_a_constant_the_first_maps_are_of_the_first_style() -> None:
    assert isinstance(stylegan().generator.synthesis.sources[0], LearnedConstant)
    synthesis = full_grown(learned_constant=False).generator.synthesis
    assert isinstance(synthesis.sources[0], VectorsToMaps)
    styles = to_layers(numbers(4, CODINGS_SIZE), 6)
    seen: list[Tensor] = []
    synthesis.sources[0].register_forward_hook(lambda _source, _inputs, maps: seen.append(maps))
    synthesis(styles, growth=Growth(2))
    assert not torch.allclose(seen[0][0], seen[0][1])


def test_blur_can_be_switched_off_in_both_networks() -> None:
    def num_blurs(variant: StyleGAN) -> tuple[int, int]:
        generator, critic = (
            sum(isinstance(layer, Blur) for layer in network.modules())
            for network in (variant.generator, variant.critic)
        )
        return generator, critic

    assert num_blurs(stylegan()) == (2, 2)
    assert num_blurs(stylegan(blur=False)) == (0, 0)


def test_growing_mixing_and_the_penalty_can_be_switched_off() -> None:
    variant = stylegan(
        first_resolution=16, mixing_probability=0.0, r1_penalty=0.0, mapping_learning_rate_multiplier=1.0
    )
    (stage,) = variant.stages(TrainingConfig(num_epochs=1))
    losses = [phase.objective(batch()) for phase in stage.phases]
    assert torch.stack(losses).isfinite().all()


def test_the_papers_choices_are_the_presets() -> None:
    config = PRESETS["stylegan"].config
    assert isinstance(config.model, StyleGAN.Config)
    assert config.model.loss == "non-saturating"
    assert 0 < config.model.r1_penalty < 10
    assert (config.model.mixing_probability, config.model.mapping_learning_rate_multiplier) == (0.9, 0.01)
    assert (config.model.first_resolution, config.model.blur) == (8, True)
    optimizer = config.training.optimizer
    assert (optimizer.name, optimizer.beta1, optimizer.beta2) == ("adam", 0, 0.99)


# Samples and graphs


def test_samples_have_noise_of_their_own_and_decoded_codings_the_same() -> None:
    variant = full_grown()
    for layer in variant.generator.synthesis.layers:
        assert isinstance(layer, StyleLayer)
        torch.nn.init.ones_(layer.noise_scales)
    decoded = variant.decode(codings(1).expand(2, -1))
    torch.testing.assert_close(decoded[0], decoded[1])
    assert torch.equal(variant.decode(codings(3)), variant.decode(codings(3)))
    first, again, other = (variant.sample(3, Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    rows = torch.randn(3, CODINGS_SIZE, generator=Generator().manual_seed(1))
    assert not torch.allclose(first, variant.decode(rows)), "other noise"


@pytest.mark.parametrize(
    ("total", "options"),
    [(1.0, {"noise": False, "blur": False}), (2.35, {}), (3.0, {"conditional": True, "learned_constant": False})],
)
def test_the_graphs_compute_what_the_networks_do_at_any_growth(total: float, options: dict[str, object]) -> None:
    variant = stylegan(**options)
    variant.growth.fill_(total)
    for layer in variant.generator.synthesis.layers:
        assert isinstance(layer, StyleLayer)
        torch.nn.init.normal_(layer.noise_scales)
    mapping, synthesis = variant.graph_modules()
    for graph in (mapping, synthesis):
        check_parity(graph, export_graph(graph), num_labels=NUM_LABELS)
    labels = torch.tensor([0, 1, 2, 0]) if variant.num_labels else None
    styles = mapping.module(codings(4), *([] if labels is None else [labels]))
    noise = [tensor.expand(4, -1, -1, -1) for tensor in variant._noises(1, Generator().manual_seed(0))]
    outputs = synthesis.module(to_layers(styles, variant.style.num_layers), *noise)
    assert torch.equal(outputs, variant.decode(codings(4), labels))
    assert outputs.shape == (4, *SHAPE)


def test_it_can_do_what_style_based_generators_can() -> None:
    assert stylegan().capabilities == {"DECODE", "SAMPLE", "INTERPOLATE", "STYLE_MIX"}
