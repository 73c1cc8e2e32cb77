"""Requests whose answer is always the same, every operation of a model in both types, and requests with a mistake."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

import numpy as np
from latentry_client import FromCodings, FromSeeds, requests
from latentry_client.requests import Request
from latentry_client.results import Model

TOLERANCE = 1e-5
Dtype: TypeAlias = Literal["float32", "uint8"]

_DTYPES: tuple[Dtype, ...] = ("float32", "uint8")
_ROWS = (1, 4)


@dataclass
class Case:
    """A request, and what came of it first."""

    request: Request[Any]
    expected: list[np.ndarray] = field(default_factory=list)

    def expect(self, answer: object) -> None:
        """Take this for the right answer."""
        self.expected = _arrays(answer)

    def is_right(self, answer: object) -> bool:
        """Whether it is the same answer; a float on the edge between two bytes may be rounded either way."""
        found = _arrays(answer)
        return len(found) == len(self.expected) and all(map(same, found, self.expected))


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether arrays are equal, within 1e-5 of their size, or one step of bytes."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    if found.dtype == np.uint8:
        return bool(np.abs(found.astype(int) - expected).max(initial=0) <= 1)
    return np.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


def cases_of(model: Model, rng: np.random.Generator) -> Iterator[Case]:
    """Make requests of all that the model can do."""
    for rows in _ROWS:
        for dtype in _DTYPES:
            yield from (Case(make()) for what, make in _makers(model, rows, dtype, rng) if what in model.capabilities)


def mistakes_of(model: Model) -> Iterator[Request[Any]]:
    """Make requests of what the model can do, each with something wrong."""
    name, shape = model.name, model.input_shape
    if "encode" in model.capabilities:
        yield requests.encode(name, np.zeros((2, *shape, 2), np.float32))
    if "decode" in model.capabilities:
        yield requests.decode(name, np.full((1, *model.codings_shape), np.nan, np.float32))
    if "classify" in model.capabilities:
        yield requests.classify(name, np.full((1, *shape), np.inf, np.float32))
    if "sample" in model.capabilities:
        yield requests.sample(name, 1, truncation_psi=9.0)


def _makers(
    model: Model, rows: int, dtype: Dtype, rng: np.random.Generator
) -> list[tuple[str, Callable[[], Request[Any]]]]:
    name = model.name
    floats = rng.random((rows, *model.input_shape), np.float32)
    inputs = floats if dtype == "float32" else (255 * floats).astype(np.uint8)
    codings = rng.random((rows, *model.codings_shape), np.float32)
    given = rng.integers(0, len(model.label_names), rows) if model.label_names else None
    seeds = FromSeeds(range(rows))
    ends = FromCodings(codings)
    return [
        ("encode", lambda: requests.encode(name, inputs)),
        ("decode", lambda: requests.decode(name, codings, labels=given, output_dtype=dtype)),
        ("denoise", lambda: requests.denoise(name, inputs, output_dtype=dtype)),
        ("reconstruct", lambda: requests.reconstruct(name, inputs, output_dtype=dtype)),
        ("sample", lambda: requests.sample(name, rows, seed=rows, include_codings=True, output_dtype=dtype)),
        ("interpolate", lambda: requests.interpolate(name, seeds, ends, steps=4, labels=given, output_dtype=dtype)),
        ("score", lambda: requests.score(name, inputs, labels=given)),
        ("classify", lambda: requests.classify(name, inputs)),
        ("style_mix", lambda: requests.style_mix(name, seeds, ends, layers=[0], noise_seed=1, output_dtype=dtype)),
    ]


def _arrays(answer: object) -> list[np.ndarray]:
    values = (getattr(answer, each.name) for each in fields(answer))  # type: ignore[arg-type]
    return [value for value in values if isinstance(value, np.ndarray)]
