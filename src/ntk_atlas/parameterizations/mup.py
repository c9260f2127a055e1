r"""Maximal update parameterization, μP (Yang & Hu 2021, table 1; Yang et al. 2022, tables 3, 8 and 9).

Every layer learns features at any width: its change after a step keeps its size as the width m grows. With r = m/m₀,
in units of the standard parameterization, which it equals at the base width m₀,

| parameters | initial variance | rate, gradient descent | rate, Adam |
| --- | --- | --- | --- |
| weights of the first layer | σ_w²/fan_in | r | 1 |
| biases of the first and of hidden layers | σ_b² | r | 1 |
| weights of hidden layers | σ_w²/fan_in | 1 | 1/r |
| weights of the output | σ_w²/(fan_in · r) | 1/r | 1/r |
| biases of the output | σ_b² | 1 | 1 |

A rate c of gradient descent is the forward factor √c (`parameterizations.base`): that is the table of Yang & Hu with
one rate for all layers, factors √r before the first weights and 1/√r before the last, all weights N(0, σ_w²/m). Adam
does not see the factors, and its rates are those of the last column over √c.
"""

import math
from dataclasses import dataclass

from ntk_atlas.parameterizations import Parameter, Parameterization


@dataclass(frozen=True)
class MaximalUpdate(Parameterization):
    """Networks whose features move at every width.

    Attributes:
        base_width: m₀, the width at which networks are those of the standard parameterization.
    """

    base_width: int = 64
    name: str = "mup"
    label: str = "μP"

    def split(self, parameter: Parameter, size: float) -> tuple[float, float]:
        """See `Parameterization.split`."""
        root = math.sqrt(self._descent_rate(parameter))
        # The output's weights are smaller than σ_w/√fan_in by the very factor that stands before them.
        return (size if parameter.role == "output" else size / root), root

    def rate(self, parameter: Parameter) -> float:
        """See `Parameterization.rate`."""
        sums_over_width = parameter.kind == "weight" and parameter.role in ("hidden", "output")
        adam = self.base_width / parameter.width if sums_over_width else 1.0
        return adam / math.sqrt(self._descent_rate(parameter))

    def ntk_grows_with_width(self) -> bool:
        """See `Parameterization.ntk_grows_with_width`."""
        return False

    def without_infinite_kernel(self) -> str:
        """See `Parameterization.without_infinite_kernel`."""
        return (
            "under mup features move at infinite width too, so that no fixed kernel describes training, and the output "
            "at initialization vanishes there"
        )

    def _descent_rate(self, parameter: Parameter) -> float:
        """c, the third column of the table."""
        ratio = parameter.width / self.base_width
        if parameter.role == "output":
            return 1.0 / ratio if parameter.kind == "weight" else 1.0
        return ratio if parameter.role == "input" or (parameter.role, parameter.kind) == ("hidden", "bias") else 1.0


mup = MaximalUpdate()
