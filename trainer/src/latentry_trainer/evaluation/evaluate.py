"""Measures a variant on a split of a data set: a little after each epoch, everything after training."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from latentry_trainer.data import Dataset, Split
from latentry_trainer.evaluation.anomaly import measure_anomalies
from latentry_trainer.evaluation.information import measure_information
from latentry_trainer.evaluation.likelihood import measure_likelihood
from latentry_trainer.evaluation.moments import measure_moments
from latentry_trainer.evaluation.pca import measure_pca
from latentry_trainer.evaluation.probe import measure_probe
from latentry_trainer.evaluation.reconstruction import reconstruction_figures
from latentry_trainer.evaluation.samples import measure_samples, watch_samples
from latentry_trainer.evaluation.subject import Subject
from latentry_trainer.variants import Batch, Variant

# What is measured after training beyond `validate`, in order; each gives figures by name, none where it does not apply.
_MEASURES: tuple[Callable[[Subject], Mapping[str, float]], ...] = (
    measure_anomalies,
    measure_information,
    measure_likelihood,
    measure_moments,
    measure_pca,
    measure_probe,
    measure_samples,
)


@torch.no_grad()
def validate(variant: Variant, dataset: Dataset, split: Split, device: torch.device) -> dict[str, float]:
    """Measures what tells how training goes: the variant's own figures, and its reconstructions.

    The variant is on `device` and left in eval mode. Figures are means over the split's images:

    - the variant's own, `Variant.validation_metrics`: bce, rounded_accuracy; a VAE's loss and kl, per value;
    - autoencoders: mse and psnr_db of the reconstruction (a VAE's: from the mean of the coding);
    - GANs with an encoder: encoder_mse and encoder_psnr_db of images that are encoded and generated again;
    - trained on corrupted inputs: noisy_psnr_db of inputs corrupted as in training, denoised_psnr_db of their
      reconstructions;
    - judged by their samples, as GANs: see `watch_samples`.
    """
    subject = _subject(variant, dataset, split, device)
    return _validate(subject) | (watch_samples(subject) if variant.best_by else {})


@torch.no_grad()
def evaluate(variant: Variant, dataset: Dataset, split: Split, device: torch.device) -> dict[str, float]:
    """Measures all that is known to be measured of the variant, `validate`'s figures first.

    The variant is on `device` and left in eval mode. The same variant and images give the same figures.
    """
    subject = _subject(variant, dataset, split, device)
    figures = _validate(subject)
    for measure in _MEASURES:
        figures |= measure(subject)
    return figures


def _subject(variant: Variant, dataset: Dataset, split: Split, device: torch.device) -> Subject:
    return Subject(variant=variant.eval(), dataset=dataset, split=split, device=device)


def _validate(subject: Subject) -> dict[str, float]:
    return _means(
        (batch, {**subject.variant.validation_metrics(batch), **reconstruction_figures(subject.variant, batch)})
        for batch in subject.batches()
    )


def _means(figures_of_batches: Iterable[tuple[Batch, Mapping[str, Tensor]]]) -> dict[str, float]:
    """Means over rows, of figures that are means over the rows of a batch."""
    sums: dict[str, float] = {}
    num_rows = 0
    for batch, figures in figures_of_batches:
        num_rows += len(batch.inputs)
        for name, value in figures.items():
            sums[name] = sums.get(name, 0.0) + value.item() * len(batch.inputs)
    return {name: total / num_rows for name, total in sums.items()}
