"""The dense autoencoders: inputs of any shape, refusals, and the formulas of the penalised and the noisy ones."""

import math

import pytest
import torch
from latentry_trainer.config import RunConfig, override
from latentry_trainer.presets import PRESETS
from latentry_trainer.variants import VARIANTS, Autoencoder, Batch, build_variant
from latentry_trainer.variants.denoising import DenoiseDropout, DenoiseSparse
from latentry_trainer.variants.hashing import Hashing
from latentry_trainer.variants.pca import PCA
from latentry_trainer.variants.sparse import Sparse, SparseKL, SparseL1, bernoulli_divergence, l1_norm
from latentry_trainer.variants.stacked import Stacked
from torch import Generator, Tensor, nn
from torch.distributions import Bernoulli
from torch.distributions.kl import kl_divergence

DENSE = ["pca", *(name for name, variant in VARIANTS.items() if issubclass(variant, Stacked))]
SHAPE = (1, 4, 4)


def batch(*shape: int, num_rows: int = 5, seed: int = 0) -> Batch:
    generator = Generator().manual_seed(seed)
    return Batch(inputs=torch.rand(num_rows, *shape, generator=generator), generator=generator)


def same_noise(rows: Batch, seed: int = 7) -> Batch:
    """The same rows with noise from the beginning."""
    return Batch(inputs=rows.inputs, generator=Generator().manual_seed(seed))


def cross_entropy(outputs: Tensor, targets: Tensor) -> float:
    return -(targets * outputs.log() + (1 - targets) * (1 - outputs).log()).mean().item()


def linear_layers(module: nn.Module) -> list[tuple[int, int]]:
    return [(layer.in_features, layer.out_features) for layer in module.modules() if isinstance(layer, nn.Linear)]


@pytest.mark.parametrize("shape", [(7,), (1, 1, 9), (3, 5, 4)])
@pytest.mark.parametrize("name", DENSE)
def test_inputs_of_any_shape_are_trained_on_and_given_back(name: str, shape: tuple[int, ...]) -> None:
    model = VARIANTS[name].Config(codings_size=3)  # type: ignore[call-arg]
    variant = build_variant(RunConfig(preset=name, variant=name, model=model), shape)
    assert isinstance(variant, Autoencoder)
    rows = batch(*shape)
    loss = variant.loss(rows)
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in variant.parameters())
    assert variant.encode(rows.inputs).shape == (5, 3)
    assert variant.reconstruct(rows.inputs).shape == (5, *shape)
    assert all(value.isfinite() and value.ndim == 0 for value in variant.validation_metrics(rows).values())


@pytest.mark.parametrize("name", [name for name in DENSE if name not in ("pca", "greedy", "hashing")])
def test_no_hidden_layer_is_a_network_too(name: str) -> None:
    model = VARIANTS[name].Config(hidden_sizes=())  # type: ignore[call-arg]
    variant = build_variant(RunConfig(preset=name, variant=name, model=model), SHAPE)
    assert isinstance(variant, Stacked)
    assert linear_layers(variant.encoder) == [(16, variant.codings_size)]
    assert variant.reconstruct(batch(*SHAPE).inputs).shape == (5, *SHAPE)


@pytest.mark.parametrize(
    ("preset", "option", "value", "says"),
    [
        ("greedy", "model.hidden_sizes", "", "at least 1 item"),
        ("hashing", "model.hidden_sizes", "", "at least 1 item"),
        ("pca", "model.output", "sigmoid", "'linear'"),
        ("denoise-sparse", "model.output", "sigmoid", "'linear'"),
        ("denoise-sparse", "model.l1_weight", "-1", "greater than or equal to 0"),
        ("denoise-dropout", "model.dropout_rate", "1", "less than 1"),
        ("sparse-l1", "model.l1_weight", "nan", "finite"),
        ("sparse-kl", "model.target_activity", "1", "less than 1"),
        ("hashing", "model.noise_std", "0", "greater than 0"),
    ],
)
def test_impossible_options_are_refused_by_name(preset: str, option: str, value: str, says: str) -> None:
    with pytest.raises(ValueError, match=rf"option --{option}.*{says}"):
        override(PRESETS[preset].config, {option: value})


@pytest.mark.parametrize("codings_size", [16, 17])
def test_pca_with_nothing_to_leave_out_is_refused(codings_size: int) -> None:
    with pytest.raises(ValueError, match=rf"option --model.codings_size: .* fewer .* 16 values .* got {codings_size}"):
        PCA(PCA.Config(codings_size=codings_size), SHAPE)


def test_pca_is_linear_but_for_the_clipping() -> None:
    variant = PCA(PCA.Config(codings_size=3), SHAPE)
    a, b = batch(*SHAPE).inputs, batch(*SHAPE, seed=1).inputs
    middle = variant.decoder(variant.encode((a + b) / 2))
    torch.testing.assert_close(middle, (variant.decoder(variant.encode(a)) + variant.decoder(variant.encode(b))) / 2)
    assert torch.equal(variant.reconstruct(a), variant.decoder(variant.encode(a)).clamp(0, 1).reshape(a.shape))


def test_dropout_drops_its_part_and_keeps_the_mean() -> None:
    variant = DenoiseDropout(DenoiseDropout.Config(dropout_rate=0.25), (10_000,))
    rows = Batch(inputs=torch.full((5, 10_000), 0.3), generator=Generator().manual_seed(0))
    corrupted = variant.corrupt(rows)
    assert sorted(set(corrupted.flatten().tolist())) == pytest.approx([0, 0.4])
    assert (corrupted == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert corrupted.mean().item() == pytest.approx(0.3, abs=0.004)


def test_sparse_denoising_minimises_half_the_squares_and_the_norm() -> None:
    variant = DenoiseSparse(DenoiseSparse.Config(l1_weight=0.01), SHAPE)
    rows = batch(*SHAPE)
    codings = variant.encode(variant.corrupt(same_noise(rows)))
    squares = (variant.decoder(codings) - rows.inputs.flatten(1)).square().mean()
    norm = sum(value.abs().item() for value in codings.flatten()) / 5
    assert variant.loss(same_noise(rows)).item() == pytest.approx(squares.item() / 2 + 0.01 * norm, rel=1e-5)


def test_l1_norm_is_the_sum_over_codings_and_the_mean_over_rows() -> None:
    assert l1_norm(torch.tensor([[1.0, -2.0], [0.0, 5.0]])).item() == 4


@pytest.mark.parametrize("variant_type", [SparseL1, SparseKL])
def test_sparse_loss_has_its_penalty_in_training_and_validation(variant_type: type[Sparse]) -> None:
    variant = variant_type(variant_type.Config(), SHAPE)
    rows = batch(*SHAPE, num_rows=32)
    codings = variant.encode(rows.inputs)
    assert codings.min().item() >= 0
    assert codings.max().item() <= 1
    if isinstance(variant, SparseL1):
        penalty = 1e-3 * codings.sum().item() / 32
    else:
        penalty = 0.05 / 32 * kl_divergence(Bernoulli(0.1), Bernoulli(codings.mean(0))).sum().item()
    figures = variant.validation_metrics(rows)
    expected = cross_entropy(variant.reconstruct(rows.inputs), rows.inputs) + penalty
    assert variant.loss(rows).item() == pytest.approx(expected, rel=1e-5)
    assert figures["loss"].item() == pytest.approx(expected, rel=1e-5)
    assert figures["bce"].item() == pytest.approx(expected - penalty, rel=1e-5)
    assert figures["mean_activation"].item() == pytest.approx(codings.mean().item())
    assert figures["active_share"].item() == pytest.approx((codings > 0.1).float().mean().item())


def test_kl_penalty_is_validated_in_groups_of_a_training_batch() -> None:
    variant = SparseKL(SparseKL.Config(penalty_rows=4), SHAPE)
    with torch.no_grad():
        next(variant.encoder.parameters()).mul_(20)  # rows that differ: the mean over four is not that over all
    rows = batch(*SHAPE, num_rows=10)
    losses = [variant.loss(Batch(inputs=rows.inputs[i : i + 4], generator=rows.generator)) for i in (0, 4, 8)]
    expected = (4 * losses[0] + 4 * losses[1] + 2 * losses[2]) / 10
    torch.testing.assert_close(variant.validation_metrics(rows)["loss"], expected)
    assert not math.isclose(variant.loss(rows).item(), expected.item(), rel_tol=1e-5)


def test_bernoulli_divergence_is_zero_at_its_target_and_finite_at_the_ends() -> None:
    q = torch.tensor([0.1, 0.5, 0.0, 1.0])
    divergence = bernoulli_divergence(0.1, q)
    assert divergence[0].item() == pytest.approx(0, abs=1e-7)
    assert divergence[1].item() == pytest.approx(0.1 * math.log(0.2) + 0.9 * math.log(1.8), rel=1e-5)
    assert divergence.isfinite().all()


def test_hashing_trains_with_noise_before_the_codings_and_is_used_without() -> None:
    variant = Hashing(Hashing.Config(hidden_sizes=(12, 8), codings_size=6, noise_std=15.0), SHAPE)
    rows = batch(*SHAPE)
    _, first, second, _ = variant.encoder
    *_, last = (layer for layer in variant.encoder.modules() if isinstance(layer, nn.Linear))
    noise = 15 * same_noise(rows).normals(8)
    hidden = second(first(rows.inputs.flatten(1))) + noise
    codings = torch.sigmoid(last(hidden))
    expected = cross_entropy(variant.decode(codings), rows.inputs)
    assert variant.loss(same_noise(rows)).item() == pytest.approx(expected, rel=1e-4)
    clean = cross_entropy(variant.reconstruct(rows.inputs), rows.inputs)
    assert variant.train().validation_metrics(rows)["bce"].item() == pytest.approx(clean, rel=1e-5)
    assert variant.encode(rows.inputs).min().item() >= 0
    assert variant.encode(rows.inputs).max().item() <= 1


@pytest.mark.parametrize(
    ("name", "encoder", "decoder", "optimizer", "learning_rate", "num_epochs"),
    [
        ("pca", [(784, 30)], [(30, 784)], "adam", 1e-3, 10),
        ("tied", [(784, 100), (100, 30)], [], "sgd", 1.5, 10),
        ("greedy", [(784, 100), (100, 30)], [(30, 100), (100, 784)], "sgd", 1.5, 30),
        ("denoise-dropout", [(784, 100), (100, 30)], [(30, 100), (100, 784)], "sgd", 1.0, 10),
        ("sparse-l1", [(784, 100), (100, 300)], [(300, 100), (100, 784)], "sgd", 1.0, 10),
        ("sparse-kl", [(784, 100), (100, 300)], [(300, 100), (100, 784)], "sgd", 1.0, 10),
        ("hashing", [(784, 100), (100, 16)], [(16, 100), (100, 784)], "sgd", 1.0, 10),
        ("stacked-v3", [(784, 100), (100, 30)], [(30, 100), (100, 784)], "nadam", 1e-3, 20),
    ],
)
def test_the_dense_presets_are_the_books(
    name: str,
    encoder: list[tuple[int, int]],
    decoder: list[tuple[int, int]],
    optimizer: str,
    learning_rate: float,
    num_epochs: int,
) -> None:
    config = PRESETS[name].config
    variant = build_variant(config, (1, 28, 28))
    assert isinstance(variant, Autoencoder)
    assert linear_layers(variant.encoder) == encoder
    assert linear_layers(variant.decoder) == decoder
    assert config.training.optimizer.name == optimizer
    assert config.training.optimizer.learning_rate == learning_rate
    assert config.training.num_epochs == num_epochs
