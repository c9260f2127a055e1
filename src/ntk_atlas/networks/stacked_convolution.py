"""One convolution of every member of a stack."""

import torch.nn.functional as F
from torch import Tensor, nn

from ntk_atlas.networks.stacked import AS_WRITTEN, LayerScaling


class StackedConv2d(nn.Module):
    r"""One convolution of every member: z = weight_factor · W ∗ x + bias_factor · b, stride 1, as large as x.

    Attributes:
        weight: `(n_members, c_out, c_in, k, k)`, k odd.
        bias: `(n_members, c_out)`.
        scaling: the factors, and what else the parameterization says of the layer.
    """

    def __init__(self, weight: Tensor, bias: Tensor, scaling: LayerScaling = AS_WRITTEN):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.scaling = scaling
        self.weight_factor, self.bias_factor = scaling.weight_factor, scaling.bias_factor

    @property
    def padding(self) -> int:
        """Zeros on each side."""
        return self.weight.shape[-1] // 2

    def forward(self, x: Tensor) -> Tensor:
        """All members in one convolution, a member a group.

        Args:
            x: channels of all members side by side, `(n, n_members · c_in, height, width)`.

        Returns:
            z, `(n, n_members · c_out, height, width)`.
        """
        weight, bias = self._scaled()
        return F.conv2d(x, weight.flatten(0, 1), bias.flatten(), padding=self.padding, groups=len(weight))

    def members(self) -> list[tuple[Tensor, Tensor]]:
        """Returns weight and bias of each member, factors included, for `convolve`."""
        weight, bias = self._scaled()
        return list(zip(weight.unbind(0), bias.unbind(0), strict=True))

    def convolve(self, x: Tensor, member: tuple[Tensor, Tensor]) -> Tensor:
        """One member alone.

        Args:
            x: `(n, c_in, height, width)`.
            member: of `members`.

        Returns:
            z, `(n, c_out, height, width)`.
        """
        return F.conv2d(x, *member, padding=self.padding)

    def select(self, members: list[int]) -> "StackedConv2d":
        """Returns a copy with some of the members; what is frozen stays frozen."""
        weight, bias = self.weight.detach()[members].clone(), self.bias.detach()[members].clone()
        selected = StackedConv2d(weight, bias, self.scaling)
        for mine, copied in zip(self.parameters(), selected.parameters(), strict=True):
            copied.requires_grad_(mine.requires_grad)
        return selected

    def plain(self) -> nn.Conv2d:
        """Returns a module without weights that says the geometry of one member's convolution."""
        _, c_out, c_in, k, _ = self.weight.shape
        return nn.Conv2d(c_in, c_out, k, padding=self.padding, bias=False, device="meta")

    def _scaled(self) -> tuple[Tensor, Tensor]:
        # Scaling weights is cheaper than scaling images.
        weight = self.weight if self.weight_factor == 1.0 else self.weight_factor * self.weight
        return weight, self.bias if self.bias_factor == 1.0 else self.bias_factor * self.bias
