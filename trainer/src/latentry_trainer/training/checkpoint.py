"""Checkpoints: all that a run needs to go on, in one safetensors file.

Tensors are stored as tensors; everything else, and the structure, is JSON in the file's metadata. No pickles.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from latentry_trainer import files

CHECKPOINT_FILE = "checkpoint.safetensors"

_SKELETON, _SHA256 = "skeleton", "sha256"
# Marks in the skeleton: a tensor's place, a dictionary with keys that are no strings.
_TENSOR, _ITEMS = "$tensor", "$items"


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Replaces the checkpoint in one step: a full disk or a kill leaves the last one as it was.

    Args:
        path: The file.
        state: Dictionaries and lists of tensors and of JSON's types.

    Raises:
        OSError: The file could not be written.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = _take_out(state, "", tensors)
    files.replace(path, safetensors.torch.save(tensors, metadata=_metadata(tensors, json.dumps(skeleton))))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads what `save_checkpoint` wrote; tuples come back as lists, tensors on the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged or not a checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
            metadata = file.metadata()
        is_whole = metadata == _metadata(tensors, metadata[_SKELETON])
        state: dict[str, Any] = _put_back(json.loads(metadata[_SKELETON]), tensors)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged or not a checkpoint: {error}") from error
    if not is_whole:
        raise ValueError(f"{path} is damaged or not a checkpoint: its content does not have its SHA-256")
    return state


def _metadata(tensors: Mapping[str, Tensor], skeleton: str) -> dict[str, str]:
    """The skeleton, and a SHA-256 over it and the tensors: a disk's error in a weight would train on unseen."""
    digest = sha256(skeleton.encode())
    for name in sorted(tensors):
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return {_SKELETON: skeleton, _SHA256: digest.hexdigest()}


def _take_out(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:  # noqa: ANN401 (a tree of anything)
    """The skeleton of a tree; its tensors go into `tensors`, by their path in the tree."""
    match value:
        case Tensor():
            tensors[name] = value.detach().cpu().contiguous().clone()  # safetensors refuses shared memory: tied weights
            return {_TENSOR: name}
        case Mapping() if all(isinstance(key, str) for key in value):
            return {key: _take_out(item, f"{name}/{key}", tensors) for key, item in value.items()}
        case Mapping():
            return {_ITEMS: [[key, _take_out(item, f"{name}/{key}", tensors)] for key, item in value.items()]}
        case list() | tuple():
            return [_take_out(item, f"{name}/{i}", tensors) for i, item in enumerate(value)]
    return value


def _put_back(skeleton: Any, tensors: Mapping[str, Tensor]) -> Any:  # noqa: ANN401 (a tree of anything)
    """The tree of a skeleton and its tensors."""
    match skeleton:
        case {"$tensor": name}:
            return tensors[name]
        case {"$items": items}:
            return {key: _put_back(item, tensors) for key, item in items}
        case dict():
            return {key: _put_back(item, tensors) for key, item in skeleton.items()}
        case list():
            return [_put_back(item, tensors) for item in skeleton]
    return skeleton
