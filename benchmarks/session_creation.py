"""Measures how long onnxruntime holds the GIL while a session is made, as every request of a server would feel it.

A thread that never sleeps counts the time in which it neither ran nor waited for a processor, which other programs on
the machine do not change: then another thread had the GIL. Compared are an ONNX file's bytes, as they come in a bundle,
and what a trial has prepared of them. Run by `python -m benchmarks.session_creation`.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from latentry_server.repository.external_data import check_self_contained
from latentry_server.sessions.devices import Device
from latentry_server.sessions.onnx import OnnxRuntime
from onnx import numpy_helper, parser

from benchmarks.machine import describe_machine
from benchmarks.report import save

_WIDTH = 2000
_MIN_HOLD_NS = 300_000  # less is the measurement's own


class Watch(threading.Thread):
    """Runs all the time, and writes down in milliseconds how long it was kept from running by nothing but the GIL."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.holds_ms: list[float] = []
        self._ended = False

    def run(self) -> None:
        """Watch until stopped."""
        statistics = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
        wall_ns, known_ns = _now(statistics)
        while not self._ended:
            last_wall_ns, last_known_ns = wall_ns, known_ns
            wall_ns, known_ns = _now(statistics)
            hold_ns = (wall_ns - last_wall_ns) - (known_ns - last_known_ns)
            if hold_ns > _MIN_HOLD_NS:
                self.holds_ms.append(hold_ns / 1e6)
        os.close(statistics)

    def stop(self) -> None:
        """End the thread."""
        self._ended = True
        self.join()


def _now(statistics: int) -> tuple[int, int]:
    """The clock, and the time that this thread has run or waited for a processor; nanoseconds."""
    running_ns, waiting_ns, _ = os.pread(statistics, 64, 0).split()
    return time.perf_counter_ns(), int(running_ns) + int(waiting_ns)


def measure(work: Callable[[], object], rounds: int) -> dict[str, float]:
    """Medians over the rounds: how long the work took, and the longest time that the GIL was held meanwhile."""
    took_ms, longest_ms = [], []
    for _ in range(rounds):
        watch = Watch()
        watch.start()
        time.sleep(0.05)
        watch.holds_ms.clear()
        started_s = time.perf_counter()
        work()
        took_ms.append((time.perf_counter() - started_s) * 1000)
        watch.stop()
        longest_ms.append(max(watch.holds_ms, default=0.0))
    return {"took_ms": round(median(took_ms), 1), "longest_hold_ms": round(median(longest_ms), 1)}


def make_graph(num_layers: int) -> bytes:
    """An ONNX file of dense layers with 16 MB of weights each."""
    layers = "".join(f"x{layer + 1} = MatMul(x{layer}, w{layer}) " for layer in range(num_layers))
    signature = f"(float[N, {_WIDTH}] x0) => (float[N, {_WIDTH}] x{num_layers})"
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g {signature} {{ {layers} }}')
    rng = np.random.default_rng(0)
    model.graph.initializer.extend(
        numpy_helper.from_array(rng.standard_normal((_WIDTH, _WIDTH), dtype=np.float32), f"w{layer}")
        for layer in range(num_layers)
    )
    content: bytes = model.SerializeToString()
    return content


def main() -> None:
    """Measures, writes JSON and prints it."""
    parser_ = argparse.ArgumentParser(prog="python -m benchmarks.session_creation")
    parser_.add_argument("--rounds", type=int, default=5)
    parser_.add_argument("--layers", type=int, default=8, help="of 16 MB each")
    parser_.add_argument("--output", type=Path, default=Path(".cache/benchmarks/session-creation.json"))
    options = parser_.parse_args()

    sys.setswitchinterval(0.0005)  # else a thread that lets go for less than 5 ms looks like one that does not
    runtime = OnnxRuntime(device=Device("cpu"), num_threads=1)
    content = make_graph(options.layers)
    report: dict[str, object] = {"machine": describe_machine(), "graph_mib": len(content) >> 20}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.onnx"
        report["check for external data"] = measure(lambda: check_self_contained("graph", content), options.rounds)
        report["session from the bundle's bytes"] = measure(lambda: runtime.prepare(content, file), options.rounds)
        report["session from what was prepared"] = measure(lambda: runtime.open(file), options.rounds)
    save(report, options.output)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
