"""What the layers know of a model: plain dataclasses, no message."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class GraphRole(StrEnum):
    """What a graph computes; its file is `<role>.onnx`."""

    ENCODER = "encoder"
    DECODER = "decoder"
    DENOISER = "denoiser"
    PRIOR = "prior"
    MAPPING = "mapping"
    SYNTHESIS = "synthesis"
    CRITIC = "critic"
    CLASSIFIER = "classifier"


class Capability(StrEnum):
    """An operation that a bundle's graphs allow."""

    ENCODE = "ENCODE"
    DECODE = "DECODE"
    RECONSTRUCT = "RECONSTRUCT"
    DENOISE = "DENOISE"
    SAMPLE = "SAMPLE"
    INTERPOLATE = "INTERPOLATE"
    SCORE = "SCORE"
    STYLE_MIX = "STYLE_MIX"
    CLASSIFY = "CLASSIFY"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """A graph's input or output; `shape` has -1 for the batch axis."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        """The bytes of one row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


@dataclass(frozen=True, kw_only=True)
class GraphSpec:
    """One ONNX file of a bundle; `sha256` is lower-case hexadecimal."""

    role: GraphRole
    path: Path
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @cached_property
    def output_row_bytes(self) -> int:
        """The bytes of one row of all outputs."""
        return sum(tensor.row_bytes for tensor in self.outputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleSpec:
    """A style-based generator's layers; `mean_style` is [style_dim], float32."""

    num_layers: int
    style_dim: int
    mean_style: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model version. Shapes are of one row, without the batch axis.

    Label names are those of the labels that its graphs take or its classifier gives. Scores above `score_threshold` are
    unusual; None where that was not measured.
    """

    name: str
    version: int
    variant: str
    capabilities: frozenset[Capability]
    input_shape: tuple[int, ...]
    codings_shape: tuple[int, ...]
    label_names: tuple[str, ...]
    style: StyleSpec | None
    score_threshold: float | None
    graphs: Mapping[GraphRole, GraphSpec]

    @property
    def is_conditional(self) -> bool:
        """Tell whether outputs are made of labels too: a decoder, or a mapping, takes them."""
        return self.takes_labels(GraphRole.DECODER) or self.takes_labels(GraphRole.MAPPING)

    @property
    def encodes_styles(self) -> bool:
        """Tell whether the encoder gives styles beside codings."""
        encoder = self.graphs.get(GraphRole.ENCODER)
        return encoder is not None and any(tensor.name == "styles" for tensor in encoder.outputs)

    def takes_labels(self, role: GraphRole) -> bool:
        """Tell whether there is a graph of the role that takes labels."""
        graph = self.graphs.get(role)
        return graph is not None and any(tensor.name == "labels" for tensor in graph.inputs)
