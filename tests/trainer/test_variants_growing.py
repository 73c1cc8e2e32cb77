"""Progressive growing: equalised layers, the fade in both networks and in the images, stages that resume exactly."""

from copy import deepcopy
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from latentry_trainer.config import DataConfig, OptimizerConfig, TrainingConfig
from latentry_trainer.data import Dataset, load_dataset
from latentry_trainer.parallel import ALONE
from latentry_trainer.training.log import NoLog
from latentry_trainer.training.loop import train
from latentry_trainer.variants import Variant
from latentry_trainer.variants.equalized import Blur, EqualizedConv2d, EqualizedLinear, PixelNorm, Resample
from latentry_trainer.variants.growing import Frame, Growing
from latentry_trainer.variants.growing_networks import Growth, LabelledCodings, MinibatchStddev
from latentry_trainer.variants.progan import ProGAN
from latentry_trainer.variants.stylegan import StyleGAN
from torch import Generator, Tensor, nn
from torch.nn import functional

from tests.trainer.growing import NUM_LABELS, SHAPE, batch, codings, progan, stylegan

BUILD = {"progan": progan, "stylegan": stylegan}
TRAINING = TrainingConfig(num_epochs=9, optimizer=OptimizerConfig(name="adam", learning_rate=1e-3, beta1=0, beta2=0.99))


def maps(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(4))


def equalized_layers(module: nn.Module) -> list[EqualizedLinear | EqualizedConv2d]:
    return [layer for layer in module.modules() if isinstance(layer, EqualizedLinear | EqualizedConv2d)]


# Equalised layers


def test_weights_are_standard_normal_and_scaled_by_their_fan_in_when_they_are_used() -> None:
    torch.manual_seed(0)
    dense, convolution = EqualizedLinear(50, 40, gain=3.0), EqualizedConv2d(20, 30, gain=3.0)
    for layer, fan_in in ((dense, 50), (convolution, 20 * 9)):
        assert layer.weight.std().item() == pytest.approx(1, rel=0.05)
        assert layer.scale == pytest.approx(3 / sqrt(fan_in))
        assert layer.bias is not None
        assert not layer.bias.any()
    rows, images = maps(7, 50), maps(2, 20, 6, 5)
    torch.testing.assert_close(dense(rows), functional.linear(rows, 3 / sqrt(50) * dense.weight))
    torch.testing.assert_close(
        convolution(images), functional.conv2d(images, 3 / sqrt(180) * convolution.weight, padding=1)
    )


def test_a_learning_rate_multiplier_changes_the_step_and_not_the_layer() -> None:
    layers, rows = [], maps(7, 5)
    for multiplier in (1.0, 0.01):
        torch.manual_seed(0)
        layers.append(EqualizedLinear(5, 3, bias=2.0, learning_rate_multiplier=multiplier))
    usual, slow = layers
    torch.testing.assert_close(slow(rows), usual(rows))
    for layer in layers:
        layer(rows).sum().backward()
    assert usual.bias is not None
    assert slow.bias is not None
    for slow_weight, weight in ((slow.weight, usual.weight), (slow.bias, usual.bias)):
        assert weight.grad is not None
        torch.testing.assert_close(slow_weight.grad, 0.01 * weight.grad)


@pytest.mark.parametrize("resample", ["up", "down"])
def test_a_resampling_convolution_is_one_beside_nearest_pixels_or_means(resample: Resample) -> None:
    torch.manual_seed(0)
    layer = EqualizedConv2d(3, 4, resample=resample)
    inputs = maps(2, 3, 6, 8)
    inputs_of_conv = functional.interpolate(inputs, scale_factor=2) if resample == "up" else inputs
    expected = functional.conv2d(inputs_of_conv, layer.weight * layer.scale, padding=1)
    torch.testing.assert_close(layer(inputs), expected if resample == "up" else functional.avg_pool2d(expected, 2))


@pytest.mark.parametrize("name", BUILD)
def test_gains_are_the_papers(name: str) -> None:
    variant = BUILD[name](learned_constant=False) if name == "stylegan" else progan()
    gains = {
        path: layer.scale * sqrt(np.prod(layer.weight.shape[1:]))
        for path, layer in variant.named_modules()
        if isinstance(layer, EqualizedLinear | EqualizedConv2d) and "mapping" not in path
    }
    for path, gain in gains.items():
        if ".to_images." in path or "style_" in path or path == "critic.score":
            expected = 1.0
        elif path.endswith(".dense"):
            expected = sqrt(2) / 4
        else:
            expected = sqrt(2)
        assert gain == pytest.approx(expected), path
    assert sum(".to_images." in path for path in gains) == 3
    assert sum(path.endswith(".dense") for path in gains) == 1


def test_pixelwise_normalisation_makes_the_mean_square_of_features_one() -> None:
    features, vectors = 5 * maps(3, 8, 4, 4), 0.1 * maps(3, 8)
    torch.testing.assert_close(PixelNorm()(features), features / features.square().mean(1, keepdim=True).sqrt())
    torch.testing.assert_close(PixelNorm()(vectors).square().mean(1), torch.ones(3), atol=1e-4, rtol=0)
    assert not PixelNorm()(torch.zeros(1, 8)).any()


def test_blur_is_the_binomial_filter_both_ways() -> None:
    inputs = maps(2, 3, 5, 6)
    rows = functional.pad(inputs, (1, 1))
    rows = (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 4
    columns = functional.pad(rows, (0, 0, 1, 1))
    expected = (columns[..., :-2, :] + 2 * columns[..., 1:-1, :] + columns[..., 2:, :]) / 4
    torch.testing.assert_close(Blur(3)(inputs), expected)


@pytest.mark.parametrize("num_rows", [1, 3, 4, 7, 12])
def test_minibatch_stddev_is_that_of_each_group_of_four(num_rows: int) -> None:
    features = maps(num_rows, 5, 4, 4)
    with_stddev = MinibatchStddev()(features)
    assert torch.equal(with_stddev[:, :5], features)
    array = features.numpy()
    for row in range(num_rows):
        first = row // 4 * 4
        group = array[[i % num_rows for i in range(first, first + 4)]]
        expected = np.sqrt(np.square(group - group.mean(0)).mean(0)).mean()
        np.testing.assert_allclose(with_stddev[row, 5].numpy(), expected, atol=1e-3)


# Growth and fade


def test_growth_is_counted_in_levels_that_are_faded_in() -> None:
    assert Growth(2, 0.25).total == 2.25
    assert Growth.of(2.25) == Growth(2, 0.25)
    assert Growth.of(3.0) == Growth(2, 1.0)
    assert Growth.of(1.0) == Growth(0, 1.0)


@pytest.mark.parametrize("name", BUILD)
def test_generated_images_fade_from_the_lower_resolution_to_the_higher(name: str) -> None:
    variant = BUILD[name]()
    network = variant.generator.synthesis if isinstance(variant, StyleGAN) else variant.generator
    inputs: Any = (maps(3, 6, 6),) if isinstance(variant, StyleGAN) else (codings(3), None)
    for level in (1, 2):
        lower, higher = network(*inputs, growth=Growth(level - 1)), network(*inputs, growth=Growth(level))
        assert higher.shape == (3, 2, 4 << level, 4 << level)
        doubled = lower.repeat_interleave(2, 2).repeat_interleave(2, 3)
        torch.testing.assert_close(network(*inputs, growth=Growth(level, 0.0)), doubled)
        torch.testing.assert_close(network(*inputs, growth=Growth(level, 0.25)), 0.75 * doubled + 0.25 * higher)


def test_the_critic_fades_from_the_lower_resolution_to_the_higher() -> None:
    critic = progan().critic
    images = maps(4, 2, 16, 16)
    halves = images.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(-1, -2))
    torch.testing.assert_close(critic(images, None, Growth(2, 0.0)), critic(halves, None, Growth(1)))
    # In between, it is the features that are mixed: those of the new block and of the halved images.
    mixed = 0.75 * critic.from_images[1](halves) + 0.25 * critic.blocks[1](critic.from_images[2](images))
    expected = critic.score(critic.last(critic.blocks[0](mixed))).flatten()
    torch.testing.assert_close(critic(images, None, Growth(2, 0.25)), expected)
    alone = critic.score(critic.last(critic.blocks[0](critic.blocks[1](critic.from_images[2](images))))).flatten()
    torch.testing.assert_close(critic(images, None, Growth(2)), alone)


def test_real_images_fade_from_the_lower_resolution_to_the_higher() -> None:
    variant = progan()
    padded = variant.frame.pad(batch().inputs)
    means = {
        resolution: functional.adaptive_avg_pool2d(padded, resolution)
        .repeat_interleave(8 // resolution, 2)
        .repeat_interleave(8 // resolution, 3)
        for resolution in (4, 8)
    }
    for alpha in (0.25, 1.0):
        variant.growth.fill_(1 + alpha)
        torch.testing.assert_close(variant.reals(batch()), (1 - alpha) * means[4] + alpha * means[8])
    variant.growth.fill_(3.0)
    assert torch.equal(variant.reals(batch()), padded)


@pytest.mark.parametrize("name", BUILD)
@pytest.mark.parametrize(
    ("level", "progress", "fade_fraction", "alpha"),
    [
        (1, 0.0, 0.5, 0.0),
        (1, 0.2, 0.5, 0.4),
        (2, 0.49, 0.5, 0.98),
        (2, 0.5, 0.5, 1.0),
        (2, 0.9, 0.5, 1.0),
        (1, 0.0, 0, 1),
    ],
)
def test_the_fade_follows_from_the_place_in_the_stage_alone(
    name: str, level: int, progress: float, fade_fraction: float, alpha: float
) -> None:
    variant = BUILD[name](first_resolution=4, fade_fraction=fade_fraction)
    seen: list[Growth] = []
    variant.critic.register_forward_pre_hook(lambda _critic, inputs: seen.append(inputs[-1]))
    for phase in variant.stages(TRAINING)[level].phases:
        phase.objective(batch(progress=progress))
    assert {growth.level for growth in seen} == {level}
    assert [growth.alpha for growth in seen] == pytest.approx([alpha] * len(seen))
    assert variant.growth.item() == pytest.approx(level + alpha)
    assert variant.now.total == pytest.approx(level + alpha)


@pytest.mark.parametrize("name", BUILD)
def test_the_first_stage_does_not_fade(name: str) -> None:
    variant = BUILD[name](first_resolution=8)
    variant.stages(TRAINING)[0].phases[0].objective(batch(progress=0.1))
    assert variant.now == Growth(1)


@pytest.mark.parametrize("name", BUILD)
def test_what_is_decoded_follows_the_growth(name: str) -> None:
    variant = BUILD[name]().eval()
    pictures = []
    for total in (1.0, 2.0, 2.5, 3.0):
        variant.growth.fill_(total)
        pictures.append(variant.decode(codings(3)))
        assert pictures[-1].shape == (3, *SHAPE)
    coarse = pictures[0][:, :, 3:11, 1:9]  # of four by four pixels each, the margin cut off: one row, three columns
    assert torch.equal(coarse[..., :4, :4], coarse[..., :1, :1].expand(-1, -1, 4, 4))
    assert all(not torch.equal(a, b) for a, b in pairwise(pictures))
    copy = deepcopy(variant)
    copy.load_state_dict(variant.state_dict())
    assert torch.equal(copy.decode(codings(3)), pictures[-1])


@pytest.mark.parametrize(
    ("shape", "size"), [((1, 28, 28), 32), ((3, 32, 32), 32), ((1, 9, 8), 16), ((2, 3, 5), 8), ((1, 2, 2), 4)]
)
def test_images_are_padded_in_black_and_cropped_back(shape: tuple[int, int, int], size: int) -> None:
    frame = Frame(shape)
    images = torch.rand(2, *shape, generator=Generator().manual_seed(0))
    padded = frame.pad(images)
    assert padded.shape == (2, shape[0], size, size)
    torch.testing.assert_close(frame(padded), images)
    num_black = size**2 - shape[1] * shape[2]
    assert (padded == -1).flatten(1).sum(1).tolist() == [shape[0] * num_black] * 2
    margins = frame.top - (size - shape[1] - frame.top), frame.left - (size - shape[2] - frame.left)
    assert all(margin in (0, -1) for margin in margins)


def test_values_are_cut_off_only_where_images_leave_the_networks() -> None:
    variant = progan()
    for layer in variant.generator.to_images.layers:
        assert isinstance(layer, EqualizedConv2d)
        assert layer.bias is not None
        torch.nn.init.constant_(layer.bias, 3.0)
    assert variant.fakes(batch(), None).max().item() > 2
    assert torch.equal(variant.decode(codings(2)), variant.decode(codings(2)).clamp(0, 1))


# Labels


def test_codings_and_labels_are_normalised_together() -> None:
    torch.manual_seed(0)
    module = LabelledCodings(6, NUM_LABELS)
    rows = module(codings(4), torch.tensor([0, 1, 2, 0]))
    assert rows.shape == (4, module.num_values) == (4, 12)
    torch.testing.assert_close(rows.square().mean(1), torch.ones(4), atol=1e-5, rtol=0)
    assert LabelledCodings(6, 0).num_values == 6


def test_the_critic_judges_labels_by_projection() -> None:
    critic = progan(conditional=True).critic
    images = maps(4, 2, 16, 16)
    scores = [critic(images, torch.full((4,), label), Growth(2)) for label in range(NUM_LABELS)]
    layer = critic.label_scores
    assert layer is not None
    assert layer.weight.shape == (NUM_LABELS, 8)
    features = critic.last(critic.blocks[0](critic.blocks[1](critic.from_images[2](images))))
    difference = features @ (layer.weight[1] - layer.weight[0]) / sqrt(8)
    torch.testing.assert_close(scores[1] - scores[0], difference)


@pytest.mark.parametrize("name", BUILD)
def test_labels_change_what_is_generated(name: str) -> None:
    variant = BUILD[name](conditional=True)
    first, second = (variant.decode(codings(2), torch.full((2,), label)) for label in (0, 1))
    assert not torch.allclose(first, second)


# Stages


def test_stages_are_the_resolutions_and_the_last_has_its_part_of_the_epochs() -> None:
    stages = progan(last_stage_fraction=0.5).stages(TRAINING)
    assert [(stage.name, stage.num_epochs) for stage in stages] == [("4x4", 2), ("8x8", 2), ("16x16", 5)]
    assert [phase.name for phase in stages[0].phases] == ["critic", "generator"]
    assert [stage.name for stage in stylegan().stages(TRAINING)] == ["8x8", "16x16"]


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("num_epochs", [3, 4, 5, 10, 40])
def test_every_stage_has_an_epoch(num_epochs: int, fraction: float) -> None:
    variant = progan(last_stage_fraction=fraction)
    variant.check_training(TrainingConfig(num_epochs=num_epochs), 100)
    epochs = [stage.num_epochs for stage in variant.stages(TrainingConfig(num_epochs=num_epochs))]
    assert min(epochs) >= 1
    assert sum(epochs) == num_epochs


def test_a_network_that_does_not_grow_has_one_stage_and_no_fade() -> None:
    variant = stylegan(first_resolution=16)
    (stage,) = variant.stages(TRAINING)
    assert (stage.name, stage.num_epochs) == ("16x16", 9)
    stage.phases[0].objective(batch())
    assert variant.now == Growth(2)


def test_fewer_epochs_than_stages_are_refused() -> None:
    message = r"option --training\.num_epochs: expected at least 3, .* resolutions 4, 8, 16, got 2"
    with pytest.raises(ValueError, match=message):
        progan().check_training(TrainingConfig(num_epochs=2), 100)


@pytest.mark.parametrize("resolution", [1, 2, 5, 12, 32])
def test_a_resolution_that_is_no_power_of_two_or_too_large_is_refused(resolution: int) -> None:
    message = rf"option --model\.first_resolution: .* power of two from 4 to 16, .* 13x10 pixels, got {resolution}$"
    with pytest.raises(ValueError, match=message):
        progan(first_resolution=resolution)


@pytest.mark.parametrize(("option", "value"), [("replay_size", 100), ("spectral_norm", True)])
def test_what_growing_networks_do_not_have_is_refused(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"option --model\.{option}: "):
        stylegan(**{option: value})


def test_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="growing networks take images, got inputs of shape 784"):
        ProGAN(ProGAN.Config(), (784,))


# Training


@pytest.fixture(scope="module")
def dataset(slice_path: Path) -> Dataset:
    return load_dataset(DataConfig(name="npz", path=slice_path, num_train_images=96))


def run(
    variant: Variant, dataset: Dataset, state: dict[str, Any] | None = None, stop_after: int | None = None
) -> list[dict[str, Any]]:
    """Trains on 3 stages of 1, 1 and 2 epochs of 3 steps, and returns the checkpoints."""
    saved: list[dict[str, Any]] = []
    steps = iter(range(1, 1000))
    train(
        variant,
        dataset,
        TrainingConfig(num_epochs=4, batch_size=32, optimizer=TRAINING.optimizer, average_half_life_images=50),
        state=state,
        save=lambda state: saved.append(deepcopy(dict(state))),
        log=NoLog(),
        world=ALONE,
        after_epoch=lambda _variant, _images_seen: None,
        after_training=lambda _variant: None,
        should_stop=lambda: next(steps) == stop_after,
    )
    return saved


def tiny(name: str, input_shape: tuple[int, ...]) -> Growing:
    torch.manual_seed(0)
    options: Any = {"codings_size": 6, "first_resolution": 8, "base_feature_maps": 32, "max_feature_maps": 8}
    if name == "progan":
        return ProGAN(ProGAN.Config(**options, penalty_parts=4), input_shape)
    return StyleGAN(StyleGAN.Config(**options, penalty_parts=4), input_shape)


@pytest.mark.parametrize("name", BUILD)
def test_a_run_stopped_in_mid_fade_goes_on_with_the_same_bits(name: str, dataset: Dataset) -> None:
    (expected,) = run(tiny(name, dataset.input_shape), dataset)
    (stopped,) = run(tiny(name, dataset.input_shape), dataset, stop_after=5)
    for part in ("weights", "average"):
        assert stopped[part]["growth"].item() == pytest.approx(2 + 1 / 3 / 0.5), "the second step of the second stage"
    (resumed,) = run(tiny(name, dataset.input_shape), dataset, state=stopped)
    for part in ("weights", "average"):
        for key, tensor in expected[part].items():
            assert torch.equal(tensor, resumed[part][key]), (part, key)
    assert expected["weights"]["growth"].item() == 4


@pytest.mark.parametrize("name", BUILD)
def test_optimisers_begin_anew_at_each_resolution(name: str, dataset: Dataset) -> None:
    (first,) = run(tiny(name, dataset.input_shape), dataset, stop_after=3)
    (second,) = run(tiny(name, dataset.input_shape), dataset, stop_after=5)
    steps = [
        {weight["step"].item() for weight in state["optimizers"]["critic"]["state"].values()}
        for state in (first, second)
    ]
    assert steps[0] == {3}
    assert max(steps[1]) == 2


@pytest.mark.parametrize("name", BUILD)
def test_training_moves_all_weights_of_the_resolutions_and_keeps_them_finite(name: str, dataset: Dataset) -> None:
    fresh = tiny(name, dataset.input_shape).state_dict()
    (state,) = run(tiny(name, dataset.input_shape), dataset)
    for key, tensor in state["weights"].items():
        assert tensor.isfinite().all(), key
        unused = ".to_images.layers.0." in key or key.startswith("critic.from_images.0.")  # below the first stage
        assert torch.equal(tensor, fresh[key]) is unused, key
