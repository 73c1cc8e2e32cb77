import pytest
import torch
from latentry_trainer.config import RunConfig
from latentry_trainer.variants import (
    VARIANTS,
    Autoencoder,
    Batch,
    Generative,
    Variant,
    Variational,
    build_variant,
)
from latentry_trainer.variants.denoising import DenoiseGaussian
from latentry_trainer.variants.stacked import Stacked
from latentry_trainer.variants.stylegan import StyleGAN
from torch import Generator, Tensor

SHAPES = [(1, 28, 28), (3, 9, 8)]
NUM_LABELS = 4  # for the variants that need labels
GENERATIVE = [name for name, variant in VARIANTS.items() if issubclass(variant, Generative)]


def build(name: str, shape: tuple[int, ...]) -> Variant:
    return build_variant(RunConfig(preset=name, variant=name, model=VARIANTS[name].Config()), shape, NUM_LABELS)


def batch(inputs: Tensor, *, seed: int = 0) -> Batch:
    return Batch(inputs=inputs, generator=Generator().manual_seed(seed))


def images(*shape: int) -> Tensor:
    return torch.rand(5, *shape, generator=Generator().manual_seed(1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", VARIANTS)
def test_graphs_keep_their_promises_about_names_and_shapes(name: str, shape: tuple[int, ...]) -> None:
    variant = build(name, shape)
    fixed = {
        "encoder": (["inputs"], ["codings"]),
        "decoder": (["codings"], ["outputs"]),
        "denoiser": (["inputs"], ["outputs"]),
        "critic": (["inputs"], ["scores"]),
        "classifier": (["inputs"], ["probabilities", "features"]),
        "mapping": (["codings"], ["styles"]),
        "synthesis": (["styles", *[f"noise_{layer}" for layer in range(4)]], ["outputs"]),
    }
    for graph in variant.graph_modules():
        inputs, outputs = fixed[graph.role]
        assert [tensor.name for tensor in graph.inputs] == inputs
        extra = ["log_variance"] if isinstance(variant, Variational) and graph.role == "encoder" else []
        assert [tensor.name for tensor in graph.outputs] == outputs + extra
        results = graph.module(*(torch.rand(3, *tensor.shape) for tensor in graph.inputs))
        results = results if isinstance(results, tuple) else (results,)
        assert [tuple(result.shape) for result in results] == [(3, *tensor.shape) for tensor in graph.outputs]
        assert not graph.module.training


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_has_the_graphs_that_its_capabilities_need(name: str) -> None:
    makes = "synthesis" if issubclass(VARIANTS[name], StyleGAN) else "decoder"
    needed = {
        "ENCODE": "encoder",
        "DECODE": makes,
        "RECONSTRUCT": "denoiser",
        "DENOISE": "denoiser",
        "SAMPLE": makes,
        "INTERPOLATE": makes,
        "SCORE": "denoiser" if issubclass(VARIANTS[name], Autoencoder) else "critic",
        "STYLE_MIX": "mapping",
        "CLASSIFY": "classifier",
    }
    variant = build(name, (1, 28, 28))
    roles = {graph.role for graph in variant.graph_modules()}
    assert {needed[capability] for capability in variant.capabilities} <= roles


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", GENERATIVE)
def test_images_come_out_in_their_shape_and_range(name: str, shape: tuple[int, ...]) -> None:
    variant = build(name, shape)
    assert isinstance(variant, Generative)
    samples = variant.sample(4, Generator().manual_seed(0))
    assert samples.shape == (4, *shape)
    assert samples.min().item() >= 0
    assert samples.max().item() <= 1
    if isinstance(variant, Autoencoder):
        assert torch.equal(variant.reconstruct(images(*shape)), variant.decode(variant.encode(images(*shape))))


def test_stacked_loss_is_the_cross_entropy_of_the_reconstruction() -> None:
    variant = Stacked(Stacked.Config(), (1, 4, 4))
    inputs = images(1, 4, 4)
    outputs = variant.reconstruct(inputs)
    expected = -(inputs * outputs.log() + (1 - inputs) * (1 - outputs).log()).mean()
    assert variant.loss(batch(inputs)).item() == pytest.approx(expected.item(), rel=1e-5)


def test_rounded_accuracy_counts_the_values_on_the_right_side_of_a_half() -> None:
    variant = Stacked(Stacked.Config(), (1, 4, 4))
    inputs = images(1, 4, 4)
    expected = (variant.reconstruct(inputs).round() == inputs.round()).float().mean()
    assert variant.validation_metrics(batch(inputs))["rounded_accuracy"].item() == pytest.approx(expected.item())


def test_denoising_compares_what_becomes_of_the_noisy_image_with_the_clean_one() -> None:
    variant = DenoiseGaussian(DenoiseGaussian.Config(noise_std=0.5), (1, 4, 4))
    inputs = images(1, 4, 4)
    outputs = variant.reconstruct(variant.corrupt(batch(inputs, seed=3)))
    expected = -(inputs * outputs.log() + (1 - inputs) * (1 - outputs).log()).mean()
    assert variant.loss(batch(inputs, seed=3)).item() == pytest.approx(expected.item(), rel=1e-5)


def test_denoising_is_validated_without_noise() -> None:
    variant = DenoiseGaussian(DenoiseGaussian.Config(noise_std=0.5), (1, 4, 4))
    inputs = images(1, 4, 4)
    first, second = (variant.validation_metrics(batch(inputs, seed=seed))["bce"] for seed in (1, 2))
    assert torch.equal(first, second)


def test_noise_has_its_standard_deviation() -> None:
    variant = DenoiseGaussian(DenoiseGaussian.Config(noise_std=0.2), (1, 100, 100))
    noise = variant.corrupt(batch(torch.zeros(10, 1, 100, 100)))
    assert noise.std().item() == pytest.approx(0.2, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.002)
