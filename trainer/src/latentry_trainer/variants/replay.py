"""Experience replay (Lin 1992), for GANs: the critic goes on seeing what the generator made before."""

import torch
from torch import Tensor, nn

from latentry_trainer.variants.base import Batch


class Replay(nn.Module):
    """The last generated images, one byte a value, and their labels. All of it is in buffers: the checkpoint's.

    Args:
        size: Images that it holds.
        input_shape: Shape of one image.
    """

    images: Tensor
    """uint8 [size, *input]."""
    labels: Tensor
    """int64 [size]; zeros where there are none."""
    num_seen: Tensor
    """int64, a scalar: images that were put in since the run began."""

    def __init__(self, size: int, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.zeros(size, *input_shape, dtype=torch.uint8))
        self.register_buffer("labels", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("num_seen", torch.zeros((), dtype=torch.int64))

    # Half of a batch from the history, half fresh: Shrivastava et al. 2017, section 2.3
    def exchange(self, images: Tensor, labels: Tensor | None, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Puts generated images [N, *input] in [0, 1] in, in the place of the oldest, and draws half of them anew.

        Returns:
            As many images and labels: about half those that came, the others drawn from all that it holds.
        """
        rows = torch.arange(len(images), device=images.device)
        places = (self.num_seen + rows) % self.size
        self.images[places] = (images * 255).round().to(torch.uint8)
        if labels is not None:
            self.labels[places] = labels
        self.num_seen += len(images)
        num_held = self.num_seen.clamp(max=self.size)
        drawn = (batch.uniforms() * num_held).long()
        is_old = batch.uniforms() < 0.5
        mixed = torch.where(is_old.view(-1, *[1] * (images.ndim - 1)), self.images[drawn].float() / 255, images)
        return mixed, None if labels is None else torch.where(is_old, self.labels[drawn], labels)
