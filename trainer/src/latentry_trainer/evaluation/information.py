"""The information in images, as pixels that are black or white with a probability."""

from math import log

import torch
from torch import Tensor

from latentry_trainer.evaluation.subject import Subject

_BITS_PER_NAT = 1 / log(2)


# H(x, x̂) = H(x) + KL(x ‖ x̂), each pixel a Bernoulli variable: the cross-entropy's floor is the images' own entropy
def measure_information(subject: Subject) -> dict[str, float]:
    """Entropy of the images and KL divergence of the reconstruction from them, per pixel, in nats and bits.

    Of variants that are measured by binary cross-entropy: `bce`, in nats, is the sum of the two.
    """
    entropy_nats = bce_nats = 0.0
    for batch in subject.batches():
        bce = subject.variant.validation_metrics(batch).get("bce")
        if bce is None:
            return {}
        part = len(batch.inputs) / len(subject.images)
        bce_nats += part * bce.item()
        entropy_nats += part * pixel_entropy_nats(batch.inputs).item()
    kl_nats = bce_nats - entropy_nats
    return {
        "entropy_nats": entropy_nats,
        "kl_from_data_nats": kl_nats,
        "bce_bits": bce_nats * _BITS_PER_NAT,
        "entropy_bits": entropy_nats * _BITS_PER_NAT,
        "kl_from_data_bits": kl_nats * _BITS_PER_NAT,
    }


# H(x) = -x ln x - (1 - x) ln(1 - x)
def pixel_entropy_nats(inputs: Tensor) -> Tensor:
    """Entropy of images [N, *input] in [0, 1], the mean over rows and values: a scalar."""
    values = inputs.double()
    entropies: Tensor = torch.special.entr(values) + torch.special.entr(1 - values)
    return entropies.mean()
