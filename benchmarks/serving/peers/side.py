"""What every peer's side is told. Imported in each peer's environment: needs Python alone."""

import argparse
from dataclasses import dataclass
from pathlib import Path

MAX_BATCH = 64
MAX_WAIT_S = 0.01


@dataclass(frozen=True)
class Side:
    """Where to listen, what to serve, and whether to merge concurrent requests."""

    port: int
    graph: Path
    batching: bool


def parse_side() -> Side:
    """Read the command line that `process.serve_peer` writes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("graph", type=Path)
    parser.add_argument("--batching", action="store_true")
    return Side(**vars(parser.parse_args()))
