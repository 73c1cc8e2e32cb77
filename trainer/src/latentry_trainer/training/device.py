"""Where to train."""

from typing import Literal

import torch


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
