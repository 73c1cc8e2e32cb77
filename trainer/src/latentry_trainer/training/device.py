"""Where to train."""

import ctypes
import sys
from typing import Literal

import torch

# glibc's malloc.h. Tensors up to this size are taken from the heap, which keeps what is freed; malloc allows no more.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MAX_MMAP_THRESHOLD_BYTES = 32 * 2**20
_NEVER_TRIM = 2**31 - 1


def resolve_device(name: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device of an option's value.

    Raises:
        ValueError: CUDA was asked for and is not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("option --training.device: cuda was asked for, but PyTorch finds no CUDA device; try cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def describe_device(device: torch.device) -> str:
    """`cpu`, or the GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def prepare_cpu(num_threads: int) -> None:
    """Sets PyTorch's threads, and lets the process keep the memory that a step frees for the next step.

    Otherwise glibc gives it back, and the kernel fills each page with zeros anew: a quarter of the training time of a
    convolutional network or an LSTM. The process then keeps the most that it ever held.

    Args:
        num_threads: Threads that share the work on one tensor.
    """
    torch.set_num_threads(num_threads)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _MAX_MMAP_THRESHOLD_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _NEVER_TRIM)
