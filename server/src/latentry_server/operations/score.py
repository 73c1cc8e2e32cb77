"""Score: how unusual inputs are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentry_server.operations import checks
from latentry_server.operations.call import Call
from latentry_server.operations.generator import labels_input
from latentry_server.operations.images import to_float
from latentry_server.spec import Capability, GraphRole

_SCORE_BYTES = 4


async def score(call: Call, inputs: NDArray[Any], *, labels: Sequence[int] = ()) -> NDArray[np.float32]:
    """Map inputs [N, *input] to scores [N], higher for what is more unusual.

    Models with a denoiser: the mean squared error of each row's reconstruction. Others: minus the critic's score.
    `labels`: one a row where the critic that scores is conditional, else empty.
    """
    call.require(Capability.SCORE)
    checks.images(call, inputs, "inputs", row_bytes=_SCORE_BYTES)
    images = to_float(inputs)
    if GraphRole.DENOISER in call.spec.graphs:
        checks.no_labels(labels, "labels", reason="reconstruction takes none")
        outputs = (await call.run(GraphRole.DENOISER, {"inputs": images}))["outputs"]
        errors: NDArray[np.float32] = np.mean(np.square(outputs - images).reshape(len(images), -1), axis=1)
        return errors
    if call.spec.takes_labels(GraphRole.CRITIC):
        checks.one_label_a_row(call.spec, labels, len(inputs), "labels", reason="the critic is conditional")
    else:
        checks.no_labels(labels, "labels", reason="the critic is not conditional")
    return -(await call.run(GraphRole.CRITIC, {"inputs": images} | labels_input(labels)))["scores"]
