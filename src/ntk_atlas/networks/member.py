"""One member of a stack: the user's module, what it computes, and the precision of all that it holds."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ntk_atlas.networks.module_checks import two_dimensional
from ntk_atlas.networks.plain_state import convert_plain_tensors
from ntk_atlas.networks.running import eagerly, has_attention


class UserMember(nn.Module):
    """One member of `StackedModules`: the user's module, its output `(n, n_outputs)` times `output_scale`."""

    def __init__(self, module: nn.Module, n_outputs: int, output_scale: float, *, clones_input: bool = False):
        super().__init__()
        self.module, self.n_outputs, self.output_scale = module, n_outputs, output_scale
        self.clones_input, self._attention = clones_input, has_attention(module)
        self.train(False)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs `(n, n_outputs)` at `(n, *input_shape)`."""
        with eagerly(attention=self._attention):
            output = self.module(x.clone() if self.clones_input else x)
        return self.output_scale * two_dimensional(output, self.n_outputs)

    def train(self, mode: bool = True) -> "UserMember":
        """Returns itself unchanged: members stay in evaluation mode."""
        return super().train(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "UserMember":
        fn = complex_stay_complex(fn)
        super()._apply(fn, recurse)
        convert_plain_tensors(self.module, fn)
        return self


def convert_network(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Brings a network to the CPU and a precision, whatever it holds outside parameters and buffers included.

    Args:
        module: changed in place.
        dtype: of real numbers; complex ones get the complex type of that precision, integers stay.

    Returns:
        The module.
    """
    fn = complex_stay_complex(lambda t: t.to("cpu", dtype if t.is_floating_point() else None))
    module._apply(fn)
    convert_plain_tensors(module, fn)
    return module


def complex_stay_complex(fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A conversion of real tensors, applied to real and imaginary parts: torch would drop the latter."""

    def convert(t: Tensor) -> Tensor:
        return torch.view_as_complex(fn(torch.view_as_real(t))) if t.is_complex() else fn(t)

    return convert
