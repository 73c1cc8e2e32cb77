"""Encode: inputs to codings."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentry_server.operations import checks
from latentry_server.operations.call import Call
from latentry_server.operations.images import to_float
from latentry_server.spec import Capability, GraphRole


@dataclass(frozen=True, slots=True)
class Encoded:
    """Codings [N, *codings].

    A VAE's are the mean, and it has the log of the variance, of the same shape, too; a style-based generator's encoder
    may give styles [N, W] beside them.
    """

    codings: NDArray[np.float32]
    log_variance: NDArray[np.float32] | None
    styles: NDArray[np.float32] | None


async def encode(call: Call, inputs: NDArray[Any]) -> Encoded:
    """Map inputs [N, *input], float32 in [0, 1] or uint8, to their codings."""
    call.require(Capability.ENCODE)
    checks.images(call, inputs, "inputs", row_bytes=call.spec.graphs[GraphRole.ENCODER].output_row_bytes)
    outputs = await call.run(GraphRole.ENCODER, {"inputs": to_float(inputs)})
    return Encoded(outputs["codings"], outputs.get("log_variance"), outputs.get("styles"))
