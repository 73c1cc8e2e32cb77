"""Minibatch discrimination (Salimans et al. 2016, section 3.2): a critic that sees how alike a batch's images are."""

import torch
from torch import Tensor, nn


class MinibatchDiscrimination(nn.Module):
    """Features [N, F] -> features [N, F + num_kernels]: each row's closeness to its batch-mates beside its own.

    Args:
        num_features: F, the paper's A.
        num_kernels: The paper's B.
        kernel_size: The paper's C.
    """

    def __init__(self, num_features: int, num_kernels: int = 100, kernel_size: int = 5) -> None:
        super().__init__()
        self.num_outputs = num_features + num_kernels
        self.tensor = nn.Parameter(torch.empty(num_features, num_kernels, kernel_size))
        nn.init.normal_(self.tensor, std=(num_features * kernel_size) ** -0.5)  # distances of about 1 at first

    # o_b(x_i) = sum over j of exp(-‖M_ib - M_jb‖₁), M_i = f(x_i) T; j = i, which would add 1 to every row, left out
    def forward(self, features: Tensor) -> Tensor:
        """Features [N, F] -> [N, F + num_kernels]."""
        rows = torch.einsum("nf,fbc->bnc", features, self.tensor)
        closeness = (-torch.cdist(rows, rows, p=1)).exp().sum(dim=2).T - 1
        return torch.cat((features, closeness), dim=1)
