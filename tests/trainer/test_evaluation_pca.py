import pytest
import torch
from latentry_trainer.data import Dataset, to_floats
from latentry_trainer.evaluation import Subject
from latentry_trainer.evaluation.pca import measure_pca, principal_components
from latentry_trainer.variants.pca import PCA
from latentry_trainer.variants.stacked import Stacked
from torch import Generator, Tensor

SHAPE = (2, 3, 2)


def mixed(num_rows: int) -> Tensor:
    """Rows [num_rows, 12] with variances of their own in directions of their own."""
    generator = Generator().manual_seed(0)
    return (torch.randn(num_rows, 12, generator=generator) * torch.arange(1, 13)) @ torch.randn(
        12, 12, generator=generator
    )


@pytest.fixture
def dataset() -> Dataset:
    """Images [400, 2, 3, 2] that PCA can say something of."""
    rows = mixed(400)
    images = ((rows - rows.min()) / (rows.max() - rows.min()) * 255).to(torch.uint8).reshape(-1, *SHAPE)
    splits = {"train": slice(0, 300), "validation": slice(300, 400)}
    return Dataset(name="own", images=images, labels=None, label_names=(), splits=splits)  # type: ignore[arg-type]


def subject(variant: PCA | Stacked, dataset: Dataset) -> Subject:
    return Subject(variant=variant.eval(), dataset=dataset, split="validation", device=torch.device("cpu"))


def test_components_are_the_first_right_singular_vectors() -> None:
    rows = mixed(200)
    mean, components = principal_components(rows, 4)
    torch.testing.assert_close(mean, rows.mean(0))
    expected = torch.linalg.svd(rows - rows.mean(0), full_matrices=False).Vh[:4]
    torch.testing.assert_close(components @ components.T, expected.T @ expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_an_autoencoder_that_is_pca_measures_as_such(dataset: Dataset) -> None:
    variant = PCA(PCA.Config(codings_size=4), SHAPE)
    mean, components = principal_components(to_floats(dataset.images_of("train")).flatten(1), 4)
    encoder = variant.encoder[1]  # type: ignore[index]
    turned = components @ torch.tensor([[2.0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 3, 0], [0, 0, 1, 1]])  # same subspace
    encoder.weight.copy_(torch.linalg.pinv(turned))
    encoder.bias.copy_(-torch.linalg.pinv(turned) @ mean)
    variant.decoder.weight.copy_(turned)  # type: ignore[operator]
    variant.decoder.bias.copy_(mean)  # type: ignore[operator]
    figures = measure_pca(subject(variant, dataset))
    assert figures["pca_mse"] > 1e-4
    assert figures["mse_over_pca"] == pytest.approx(1, abs=1e-4)


@torch.no_grad()
def test_the_ratio_is_of_errors_before_clipping(dataset: Dataset) -> None:
    variant = PCA(PCA.Config(codings_size=4), SHAPE)
    variant.decoder.bias.fill_(-3)  # type: ignore[operator]
    figures = measure_pca(subject(variant, dataset))
    inputs = to_floats(dataset.images_of("validation"))
    error = (variant.decoder(variant.encode(inputs)) - inputs.flatten(1)).square().mean().item()
    assert figures["mse_over_pca"] == pytest.approx(error / figures["pca_mse"], rel=1e-4)


@torch.no_grad()
def test_images_without_any_error_left_give_a_finite_ratio(dataset: Dataset) -> None:
    flat = Dataset(
        name="flat",
        images=torch.full_like(dataset.images, 128),
        labels=None,
        label_names=(),
        splits=dataset.splits,
    )
    figures = measure_pca(subject(PCA(PCA.Config(codings_size=4), SHAPE), flat))
    assert torch.tensor(list(figures.values())).isfinite().all()


def test_inputs_too_wide_for_exact_pca_are_not_compared_with_it(dataset: Dataset) -> None:
    assert measure_pca(subject(PCA(PCA.Config(), (3, 64, 64)), dataset)) == {}


def test_other_models_are_not_compared_with_pca(dataset: Dataset) -> None:
    assert measure_pca(subject(Stacked(Stacked.Config(), SHAPE), dataset)) == {}
