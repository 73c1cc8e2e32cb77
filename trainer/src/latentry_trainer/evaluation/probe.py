"""How much of the classes can be read off the codings."""

import warnings

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from latentry_trainer.data import to_floats
from latentry_trainer.evaluation.subject import Subject
from latentry_trainer.variants import Autoencoder

_NUM_TRAIN = 5_000
_MAX_ITERATIONS = 200
_BATCH_ROWS = 1_000


def measure_probe(subject: Subject) -> dict[str, float]:
    """probe_accuracy: of a linear classifier on the codings, trained on at most 5 000 training images.

    Of autoencoders, on images of at least two classes.
    """
    dataset, variant = subject.dataset, subject.variant
    train_labels, labels = dataset.labels_of("train"), dataset.labels_of(subject.split)
    if not isinstance(variant, Autoencoder) or train_labels is None or labels is None:
        return {}
    train_labels = train_labels[:_NUM_TRAIN]
    if (train_labels == train_labels[0]).all():
        return {}

    def encode(images: Tensor) -> Tensor:
        batches = [to_floats(batch.to(subject.device)) for batch in torch.split(images, _BATCH_ROWS)]
        return torch.cat([variant.encode(batch).flatten(1).cpu() for batch in batches])

    train_codings = encode(dataset.images_of("train")[:_NUM_TRAIN])
    return {"probe_accuracy": probe_accuracy(train_codings, train_labels, encode(subject.images), labels)}


# A linear classifier on a layer that stays as it is: Alain & Bengio 2017
def probe_accuracy(train_codings: Tensor, train_labels: Tensor, codings: Tensor, labels: Tensor) -> float:
    """Part of the codings [M, K] whose label [M] logistic regression finds, trained on codings [N, K] and labels [N].

    Codings are standardised with the mean and deviation of the training rows.
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_MAX_ITERATIONS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last steps change a few rows' labels at most
        probe.fit(train_codings.numpy(), train_labels.numpy())
    return float(probe.score(codings.numpy(), labels.numpy()))
