"""What networks of several resolutions share: where they are in their growth, the fade, and the critic."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional

from latentry_trainer.variants.conv import ChannelsLast
from latentry_trainer.variants.equalized import EPSILON, Blur, EqualizedConv2d, EqualizedLinear, PixelNorm, rectifier

FIRST_SIZE = 4  # pixels of the lowest resolution, level 0
_GROUP_SIZE = 4  # rows whose standard deviation is taken: Karras et al. 2017, section 3 and appendix A.1


@dataclass(frozen=True, slots=True)
class Growth:
    """How far networks have grown."""

    level: int
    """The resolution that they are at: 4 · 2^level pixels."""
    alpha: float = 1.0
    """How far that level's layers are faded in, 0 to 1; 1 at level 0."""

    @property
    def total(self) -> float:
        """Levels that are faded in: 2.35 is the third by .35."""
        return self.level + self.alpha

    @classmethod
    def of(cls, total: float) -> "Growth":
        """The growth of so many levels; one that has not begun to fade in is left out, which changes no image."""
        level = ceil(total) - 1
        return cls(level, total - level)


def doubled(images: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, C, 2H, 2W]: each pixel four times."""
    return functional.interpolate(images, scale_factor=2, mode="nearest")


def halved(images: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, C, H/2, W/2]: the means of 2x2 pixels."""
    return functional.avg_pool2d(images, 2)


# (1 - alpha) lower + alpha higher: Karras et al. 2017, figure 2
def faded(lower: Tensor, higher: Tensor, alpha: float) -> Tensor:
    """A mix of two tensors of one shape."""
    return torch.lerp(lower, higher, alpha)


class MapsToImages(nn.Module):
    """Maps of each resolution -> images in [-1, 1], about: linear, cross-faded with the resolution below.

    Args:
        num_maps: Maps of each level, from level 0.
        num_channels: The images'.
    """

    def __init__(self, num_maps: Sequence[int], num_channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EqualizedConv2d(maps, num_channels, 1, gain=1) for maps in num_maps)

    def forward(self, maps: Sequence[Tensor], alpha: float) -> Tensor:
        """Maps [N, C, H, W] of the levels from 0 to the present one -> images of the last's size."""
        level = len(maps) - 1
        images: Tensor = self.layers[level](maps[level])
        if alpha == 1:
            return images
        return faded(doubled(self.layers[level - 1](maps[level - 1])), images, alpha)


class LabelledCodings(nn.Module):
    """Codings, followed by a vector for the label where there is one, of mean square 1.

    Args:
        codings_size: Length of a coding, and of a label's vector.
        num_labels: Number of classes; 0: codings only.
    """

    def __init__(self, codings_size: int, num_labels: int) -> None:
        super().__init__()
        self.num_values = 2 * codings_size if num_labels else codings_size
        self.vectors = nn.Embedding(num_labels, codings_size) if num_labels else None
        self.norm = PixelNorm()

    def forward(self, codings: Tensor, labels: Tensor | None = None) -> Tensor:
        """Codings [N, codings_size] and labels [N] -> [N, num_values]."""
        if self.vectors is not None:
            codings = torch.cat((codings, self.vectors(labels)), dim=1)
        normalised: Tensor = self.norm(codings)
        return normalised


class MinibatchStddev(nn.Module):
    """Adds one map: how much the rows of a group of four differ (Karras et al. 2017, section 3).

    Groups are of rows in their order; the last is filled up with the batch's first rows. Where several processes share
    a batch, groups are of one process's rows.
    """

    # The mean over features and pixels of the standard deviation over a group's rows.
    def forward(self, maps: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C + 1, H, W]."""
        num_rows, _, height, width = maps.shape
        num_missing = -num_rows % _GROUP_SIZE
        rows = maps if not num_missing else maps[torch.arange(num_rows + num_missing, device=maps.device) % num_rows]
        groups = rows.reshape(-1, _GROUP_SIZE, *maps.shape[1:])
        variances = (groups - groups.mean(dim=1, keepdim=True)).square().mean(dim=1)
        stddevs = (variances + EPSILON).sqrt().mean(dim=(1, 2, 3))
        added = stddevs.repeat_interleave(_GROUP_SIZE)[:num_rows]
        return torch.cat((maps, added[:, None, None, None].expand(-1, 1, height, width)), dim=1)


class GrowingCritic(nn.Module):
    """The critic of images of each resolution; labels are judged by projection (Miyato & Koyama 2018).

    Args:
        num_channels: The images'.
        num_maps: Maps of each level, from level 0.
        num_labels: Number of classes; 0: it takes no labels.
        blur: Filter maps before they are halved.
    """

    def __init__(self, num_channels: int, num_maps: Sequence[int], *, num_labels: int, blur: bool) -> None:
        super().__init__()
        first_maps = num_maps[0]
        self.layout = ChannelsLast()
        self.from_images = nn.ModuleList(
            nn.Sequential(EqualizedConv2d(num_channels, maps, 1), rectifier()) for maps in num_maps
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                EqualizedConv2d(maps, maps),
                rectifier(),
                *([Blur(maps)] if blur else []),
                EqualizedConv2d(maps, lower_maps, resample="down"),
                rectifier(),
            )
            for lower_maps, maps in pairwise(num_maps)
        )
        self.last = nn.Sequential(
            MinibatchStddev(),
            EqualizedConv2d(first_maps + 1, first_maps),
            rectifier(),
            nn.Flatten(),
            EqualizedLinear(first_maps * FIRST_SIZE**2, first_maps),
            rectifier(),
        )
        self.score = EqualizedLinear(first_maps, 1, gain=1)
        self.label_scores = EqualizedLinear(first_maps, num_labels, gain=1, bias=None) if num_labels else None

    def forward(self, images: Tensor, labels: Tensor | None, growth: Growth) -> Tensor:
        """Images [N, C, H, W] of the growth's resolution, and labels [N] -> scores [N]."""
        level = growth.level
        images = self.layout(images)
        maps = self.from_images[level](images)
        if level:
            maps = self.blocks[level - 1](maps)
            if growth.alpha < 1:
                maps = faded(self.from_images[level - 1](halved(images)), maps, growth.alpha)
            for lower in range(level - 2, -1, -1):
                maps = self.blocks[lower](maps)
        features = self.last(maps)
        scores: Tensor = self.score(features).flatten()
        if self.label_scores is not None:
            assert labels is not None
            scores = scores + self.label_scores(features).gather(1, labels[:, None]).flatten()
        return scores
