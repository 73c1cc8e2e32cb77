import pytest
import torch
from latentry_trainer.config import RunConfig, TrainingConfig
from latentry_trainer.variants import VARIANTS, Autoencoder, Batch, Generative, Variant, Variational, build_variant
from latentry_trainer.variants.denoising import DenoiseGaussian
from latentry_trainer.variants.gan import GAN, squared_gradients
from latentry_trainer.variants.stacked import Stacked
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
    needed = {
        "ENCODE": "encoder",
        "DECODE": "decoder",
        "RECONSTRUCT": "denoiser",
        "DENOISE": "denoiser",
        "SAMPLE": "decoder",
        "INTERPOLATE": "decoder",
        "SCORE": "denoiser",
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


def test_gan_phases_reach_their_own_weights_only() -> None:
    variant = GAN(GAN.Config(), (1, 4, 4))
    variant.critic_loss(batch(images(1, 4, 4))).backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is None for weight in variant.generator.parameters())
    assert all(weight.grad is not None for weight in variant.critic.parameters())


def test_gan_losses_of_a_critic_that_knows_nothing_are_log_two() -> None:
    variant = GAN(GAN.Config(), (1, 4, 4))
    for weight in variant.critic.parameters():
        torch.nn.init.zeros_(weight)
    expected = torch.log(torch.tensor(2.0)).item()
    assert variant.critic_loss(batch(images(1, 4, 4))).item() == pytest.approx(expected)
    assert variant.generator_loss(batch(images(1, 4, 4))).item() == pytest.approx(expected)


def test_gan_trains_its_critic_first() -> None:
    variant = GAN(GAN.Config(), (1, 4, 4))
    (stage,) = variant.stages(TrainingConfig(num_epochs=3))
    assert [(phase.name, phase.module) for phase in stage.phases] == [
        ("critic", variant.critic),
        ("generator", variant.generator),
    ]
    assert stage.num_epochs == 3


def test_the_gradient_penalty_of_a_linear_critic_is_its_squared_weight() -> None:
    layer = torch.nn.Linear(16, 1)
    critic = torch.nn.Sequential(torch.nn.Flatten(), layer, torch.nn.Flatten(0))
    penalties = squared_gradients(critic, images(1, 4, 4))
    torch.testing.assert_close(penalties, layer.weight.square().sum().expand(5))
    penalties.mean().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(layer.weight.grad, 2 * layer.weight)


def test_the_gradient_penalty_is_added_to_the_critics_loss() -> None:
    torch.manual_seed(0)
    plain = GAN(GAN.Config(), (1, 4, 4))
    penalised = GAN(GAN.Config(gradient_penalty=0.5), (1, 4, 4))
    penalised.load_state_dict(plain.state_dict())
    inputs = images(1, 4, 4)
    losses = [variant.critic_loss(batch(inputs)) for variant in (plain, penalised)]
    (penalty,) = squared_gradients(plain.critic, inputs[:1])  # an eighth of 5 rows, rounded up
    torch.testing.assert_close(losses[1], losses[0] + 0.25 * penalty)
