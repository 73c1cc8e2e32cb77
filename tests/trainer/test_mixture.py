from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from latentry_trainer.data import Dataset, npz, to_floats
from latentry_trainer.export.graphs import export_graph
from latentry_trainer.export.parity import check_parity
from latentry_trainer.training.prior import fit_prior
from latentry_trainer.variants import ExportGraph
from latentry_trainer.variants.autoencoder import Autoencoder
from latentry_trainer.variants.mixture import MixturePrior
from latentry_trainer.variants.stacked import Stacked
from latentry_trainer.variants.vae import VAE
from torch import Generator, Tensor

SHAPE = (1, 28, 28)


@pytest.fixture(scope="module")
def dataset(slice_path: Path) -> Dataset:
    return npz.load(slice_path)


def normals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed))


def fitted(codings: Tensor, *, seed: int = 0) -> MixturePrior:
    prior = MixturePrior().eval()
    prior.fit(codings, seed=seed)
    return prior


def prior_graph(variant: Autoencoder) -> ExportGraph:
    return next(graph for graph in variant.graph_modules() if graph.role == "prior")


# The mixture


def test_draws_are_distributed_as_the_codings() -> None:
    """Two clusters, a quarter and three quarters, the larger one with correlated values."""
    scales = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    codings = torch.cat([normals(1000, 2) + 20, normals(3000, 2, seed=1) @ scales.T - 20])
    draws = fitted(codings)(normals(20_000, 3, seed=2))
    is_first = draws[:, 0] > 0
    assert is_first.float().mean().item() == pytest.approx(0.25, abs=0.02)
    torch.testing.assert_close(draws[is_first].mean(dim=0), torch.full((2,), 20.0), atol=0.1, rtol=0)
    torch.testing.assert_close(draws[is_first].T.cov(), torch.eye(2), atol=0.15, rtol=0)
    torch.testing.assert_close(draws[~is_first].mean(dim=0), torch.full((2,), -20.0), atol=0.1, rtol=0)
    torch.testing.assert_close(draws[~is_first].T.cov(), scales @ scales.T, atol=0.15, rtol=0)


@pytest.mark.parametrize("activation", [torch.sigmoid, torch.relu, torch.nn.functional.selu])
def test_no_draw_leaves_the_range_of_the_activation(activation: torch.nn.Module) -> None:
    codings = activation(3 * normals(2000, 5))
    draws = fitted(codings)(normals(5000, 6, seed=1))
    assert (draws >= codings.amin(dim=0)).all()
    assert (draws <= codings.amax(dim=0)).all()


def test_wide_codings_are_reduced_and_keep_their_shape() -> None:
    factors, mixing = normals(3000, 8), normals(8, 576, seed=1)
    codings = (factors @ mixing).reshape(-1, 64, 3, 3)
    prior = fitted(codings)
    assert prior.noise_size == 1 + 64
    draws = prior(normals(3000, 65, seed=2))
    assert draws.shape == codings.shape
    error = (draws.std(dim=0) - codings.std(dim=0)).abs() / codings.std(dim=0)
    assert error.mean() < 0.05


def test_codings_too_wide_for_exact_pca_are_reduced_too() -> None:
    codings = normals(400, 8) @ normals(8, 4_000, seed=1)
    prior = fitted(codings)
    draws = prior(normals(400, 65, seed=2))
    error = (draws.std(dim=0) - codings.std(dim=0)).abs() / codings.std(dim=0)
    assert error.mean() < 0.1
    assert all(torch.equal(buffer, fitted(codings).get_buffer(name)) for name, buffer in prior.named_buffers())


@pytest.mark.parametrize(
    "codings",
    [normals(8, 30), normals(2, 3), torch.ones(50, 16), normals(50, 1), torch.eye(2)[torch.arange(2000) % 2]],
    ids=["fewer than values", "two", "all alike", "one value each", "bits"],
)
def test_unusual_codings_have_a_prior(codings: Tensor) -> None:
    prior = fitted(codings)
    draws = prior(normals(100, prior.noise_size))
    assert draws.isfinite().all()
    assert all(buffer.isfinite().all() for buffer in prior.buffers())


def test_the_same_codings_and_seed_give_the_same_bits_and_loading_keeps_them() -> None:
    codings = normals(2000, 10)
    prior = fitted(codings, seed=2**63 - 1)
    for other in (fitted(codings, seed=2**63 - 1), MixturePrior()):
        other.load_state_dict(prior.state_dict())
        for name, buffer in prior.named_buffers():
            assert torch.equal(buffer, other.get_buffer(name)), name


# As an autoencoder's part


def test_until_it_is_fitted_codings_are_normal() -> None:
    variant = Stacked(Stacked.Config(), SHAPE)
    assert not variant.can_sample
    assert "prior" not in {graph.role for graph in variant.graph_modules()}
    samples = variant.sample(3, Generator().manual_seed(0))
    torch.testing.assert_close(samples, variant.decode(normals(3, 30)))


@pytest.mark.parametrize("num_images", [10, 3000])
def test_it_is_fitted_to_the_codings_of_training_images(dataset: Dataset, num_images: int) -> None:
    few = Dataset(
        name="few",
        images=dataset.images[:num_images],
        labels=None,
        label_names=(),
        splits=dataset.splits if num_images == 3000 else {"train": slice(0, 8)},
    )
    variant = Stacked(Stacked.Config(), SHAPE)
    fit_prior(variant, few, seed=42)
    assert variant.can_sample
    with torch.no_grad():
        codings = variant.encode(to_floats(few.images_of("train")))
    torch.testing.assert_close(variant.prior.centre, codings.mean(dim=0))
    draws = variant.prior(normals(5000, variant.prior.noise_size))
    tolerance = 0.5 if num_images == 10 else 0.2
    assert ((draws.mean(dim=0) - codings.mean(dim=0)).abs() / codings.std(dim=0)).max() < tolerance


def test_a_vae_keeps_its_own(dataset: Dataset) -> None:
    variant = VAE(VAE.Config(), SHAPE)
    fit_prior(variant, dataset, seed=0)
    assert not variant.prior.is_fitted
    assert variant.can_sample
    assert "prior" not in {graph.role for graph in variant.graph_modules()}


# As a graph


def test_the_graph_computes_what_the_prior_does(dataset: Dataset) -> None:
    variant = Stacked(Stacked.Config(), SHAPE)
    fit_prior(variant, dataset, seed=0)
    graph = prior_graph(variant)
    content = export_graph(graph)
    check_parity(graph, content)
    assert len(content) < 200_000

    # Where one component ends and the next begins, the graph takes the same one: float32 or float64.
    noise = normals(3 * len(variant.prior.thresholds), variant.prior.noise_size)
    thresholds = variant.prior.thresholds.numpy()
    edges = (thresholds, np.nextafter(thresholds, np.float32(-9)), np.nextafter(thresholds, np.float32(9)))
    noise[:, 0] = torch.from_numpy(np.concatenate(edges))
    (codings,) = onnxruntime.InferenceSession(content).run(None, {"noise": noise.numpy()})
    expected = variant.prior.double()(noise.double())
    torch.testing.assert_close(torch.from_numpy(codings).double(), expected, atol=1e-5, rtol=1e-5)
