"""Score: how badly a model reconstructs inputs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentry_server.operations import checks
from latentry_server.operations.call import Call
from latentry_server.operations.images import to_float
from latentry_server.spec import Capability, GraphRole

_SCORE_BYTES = 4


async def score(call: Call, inputs: NDArray[Any]) -> NDArray[np.float32]:
    """Map inputs [N, *input] to scores [N]: the mean squared error of each row's reconstruction."""
    call.require(Capability.SCORE)
    checks.images(call, inputs, "inputs", row_bytes=_SCORE_BYTES)
    images = to_float(inputs)
    outputs = (await call.run(GraphRole.DENOISER, {"inputs": images}))["outputs"]
    scores: NDArray[np.float32] = np.mean(np.square(outputs - images).reshape(len(images), -1), axis=1)
    return scores
