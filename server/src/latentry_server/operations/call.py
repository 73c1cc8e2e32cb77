"""One request's way through a model."""

import math
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from latentry_server.batching.queue import Ran
from latentry_server.errors import CapabilityMissingError
from latentry_server.spec import Capability, GraphRole, ModelSpec
from latentry_server.tracing import current_trace


class Model(Protocol):
    """What the operations know of a loaded model."""

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""

    def run(
        self,
        role: GraphRole,
        inputs: Mapping[str, NDArray[Any]],
        *,
        client: str = "",
        deadline_s: float | None = None,
    ) -> Awaitable[Ran]:
        """Run one of the model's graphs for a client; `deadline_s` is on time.monotonic()'s clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large one request and its answer may be."""

    max_request_rows: int
    max_message_bytes: int


@dataclass(slots=True, kw_only=True)
class Call:
    """A model, one request's limits, client and deadline, and the time its graphs have taken.

    The deadline is on time.monotonic()'s clock. Clients are told apart so that they take turns.
    """

    model: Model
    limits: Limits
    client: str = ""
    deadline_s: float | None = None
    queue_s: float = field(default=0.0, init=False)
    compute_s: float = field(default=0.0, init=False)

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self.model.spec

    def require(self, capability: Capability) -> None:
        """Raise CapabilityMissingError where the model lacks the operation."""
        if capability not in self.spec.capabilities:
            raise CapabilityMissingError(self.spec.name, capability, frozenset(self.spec.capabilities))

    def output_bytes(self, dtype: DTypeLike) -> int:
        """Count the bytes of one row of outputs of this type."""
        return math.prod(self.spec.input_shape) * np.dtype(dtype).itemsize

    def codings_bytes(self) -> int:
        """Count the bytes of one row of codings."""
        return math.prod(self.spec.codings_shape) * np.dtype(np.float32).itemsize

    async def run(self, role: GraphRole, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Run one of the model's graphs on [N, ...] arrays and add up its time."""
        ran = await self.model.run(role, inputs, client=self.client, deadline_s=self.deadline_s)
        self.queue_s += ran.queue_s
        self.compute_s += ran.compute_s
        if (trace := current_trace.get()) is not None:
            trace.ran(
                model=self.spec.name,
                version=self.spec.version,
                graph=role,
                rows=len(next(iter(inputs.values()))),
                queue_s=ran.queue_s,
                compute_s=ran.compute_s,
            )
        return ran.outputs
