"""Classify: how probable each label is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentry_server.errors import RuntimeFailedError
from latentry_server.operations import checks
from latentry_server.operations.call import Call
from latentry_server.operations.images import to_float
from latentry_server.spec import Capability, GraphRole

_PROBABILITY_BYTES = 4
_VARINT_BYTES = 10  # at most: of a label, and of a name's tag and length


@dataclass(frozen=True, slots=True)
class Classified:
    """The most probable labels [N], int64, and the probabilities of all labels [N, K]."""

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]


async def classify(call: Call, inputs: NDArray[Any]) -> Classified:
    """Map inputs [N, *input] to the probabilities of the K labels; of equally probable ones the smallest is named."""
    call.require(Capability.CLASSIFY)
    names = call.spec.label_names
    checks.images(
        call,
        inputs,
        "inputs",
        row_bytes=len(names) * _PROBABILITY_BYTES + _VARINT_BYTES,
        shared_bytes=sum(len(name.encode()) + _VARINT_BYTES for name in names),
    )
    probabilities = (await call.run(GraphRole.CLASSIFIER, {"inputs": to_float(inputs)}))["probabilities"]
    if np.isnan(probabilities).any():
        raise RuntimeFailedError("the probabilities hold values that are not numbers, so that no label is the greatest")
    return Classified(np.argmax(probabilities, axis=1), probabilities)
