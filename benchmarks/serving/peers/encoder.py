"""The model that all peers serve, in one thread. Imported in each peer's environment: needs onnxruntime alone."""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray


class Encoder:
    """Encodes images, [N, 1, 28, 28], as codings, [N, 30]."""

    def __init__(self, graph: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the graph."""
        [codings] = self._session.run(None, {"inputs": images})
        result: NDArray[np.float32] = codings
        return result
