"""Data-parallel training: the processes that torchrun started share every batch.

Each process has the same weights and the same source of randomness. It takes its own rows of a batch, draws the noise
of the whole batch and keeps its rows of that too, and adds up gradients with the others: the weights move as one
process would move them, up to the rounding of sums.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed
from torch.autograd import Function
from torch.autograd.function import FunctionCtx


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The processes of a run, and which of them this one is."""

    rank: int = 0
    """Number of this process."""
    size: int = 1
    """Number of processes."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes, prints and publishes."""
        return self.rank == 0

    def check_batches(self, num_images: int, batch_size: int) -> None:
        """Refuses batches that have fewer rows than there are processes."""
        last = num_images % batch_size or batch_size
        if last < self.size:
            raise ValueError(
                f"option --training.batch_size: with {batch_size}, the last of {num_images} images are a batch of "
                f"{last}, which {self.size} processes cannot share"
            )

    def own(self, rows: Tensor) -> Tensor:
        """This process' rows of a batch [N, …]."""
        return rows[self.rank :: self.size]

    def mean(self, rows: Tensor, num_rows: int) -> Tensor:
        """The mean over the rows of all processes, which gradients flow through.

        Args:
            rows: This process' rows [n, …].
            num_rows: Rows of all processes.
        """
        total = rows.sum(dim=0)
        if self.size > 1:
            total = _Sum.apply(total)  # type: ignore[no-untyped-call]
        return total / num_rows

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replaces every tensor by its sum over the processes, all in one message."""
        if self.size > 1 and tensors:
            joined = torch.cat([tensor.flatten() for tensor in tensors])
            distributed.all_reduce(joined)
            parts = torch.split(joined, [tensor.numel() for tensor in tensors])
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def agree(self, *, any_of: bool) -> bool:
        """Whether it holds for any of the processes: the same answer in each."""
        if self.size == 1:
            return any_of
        votes = torch.tensor(any_of, dtype=torch.int32)
        distributed.all_reduce(votes)
        return bool(votes.item())

    def share(self, value: str | None) -> str:
        """What the first process gives, in every process."""
        values = [value]
        if self.size > 1:
            distributed.broadcast_object_list(values)
        assert values[0] is not None, "the first process has a value"
        return values[0]


ALONE = World()


@contextmanager
def join_world() -> Iterator[World]:
    """The processes that torchrun started, or this one alone. Each has the GPU of its number on the machine."""
    if not distributed.is_torchelastic_launched():
        yield ALONE
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield World(rank=distributed.get_rank(), size=distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def check_alone(command: str) -> None:
    """Refuses a command that the processes of torchrun cannot share.

    Raises:
        ValueError: torchrun started several.
    """
    num_processes = int(os.environ.get("WORLD_SIZE", "1"))
    if distributed.is_torchelastic_launched() and num_processes > 1:
        raise ValueError(f"{command} is for one process, and torchrun started {num_processes}; expected run or resume")


class _Sum(Function):
    """The sum over the processes of a tensor that each has: what a process gives is in the sum that all have."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor) -> Tensor:  # noqa: ARG004 (autograd's signature)
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient)
