"""Runs one ONNX graph in this process, one thread, nothing around it: the runtime's limit. Prints one line of JSON."""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import onnxruntime


def main() -> None:
    """Run random rows for the time given."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.raw")
    parser.add_argument("graph", type=Path)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--duration-s", type=float, default=2.0)
    arguments = parser.parse_args()

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(arguments.graph, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    inputs = {node.name: rng.random((arguments.rows, *node.shape[1:]), np.float32) for node in session.get_inputs()}
    for _ in range(20):
        session.run(None, inputs)

    num_runs, started_s = 0, time.perf_counter()
    while (elapsed_s := time.perf_counter() - started_s) < arguments.duration_s:
        session.run(None, inputs)
        num_runs += 1
    print(json.dumps({"rows_per_s": num_runs * arguments.rows / elapsed_s, "run_ms": elapsed_s * 1e3 / num_runs}))


if __name__ == "__main__":
    main()
