"""Kernels of infinite width as papers and libraries normalize them, each as a network of ours.

| name | kernel |
| --- | --- |
| `infinite_ntk`, `nngp` | of the network as it is |
| `stand_in_ntk` | of the fully connected network of the same settings, beside a convolutional one |
| `ntk_…` | NTK parameterization: every layer's weights count σ_w²/fan-in |
| `standard_…` | standard parameterization: hidden and output weights count, times the width |
| `c1_…` | NTK parameterization with σ_w² = 1, c = 1 of Arora et al.: each layer halves a ReLU kernel |
| `last_layer_…` | only the output layer is trained: the NNGP |

`…_with_bias` has the network's σ_b² and trains the biases, `…_without_bias` has none.
"""

from typing import Literal

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.config.predictors import STAND_IN
from ntk_atlas.families.fully_connected import fully_connected
from ntk_atlas.parameterizations import parameterization
from ntk_atlas.parameterizations.ntk import ntk
from ntk_atlas.parameterizations.standard import standard
from ntk_atlas.registry import is_own

WITH, WITHOUT = "_with_bias", "_without_bias"
_PARAMETERIZATIONS = {"ntk": ntk, "standard": standard, "c1": ntk, "last_layer": ntk}
FAMILIES = tuple(_PARAMETERIZATIONS)
VARIANTS = tuple(f"{family}{bias}" for family in FAMILIES for bias in (WITH, WITHOUT))
"""Names of all variants."""


def variant_family(name: str) -> str:
    """The name of a variant without what it says of biases; empty for the network's own kernels."""
    return name.removesuffix(WITH).removesuffix(WITHOUT) if name in VARIANTS else ""


def variant_network(
    name: str, network: NetworkSettings, init_scale: float
) -> tuple[NetworkSettings, float, Literal["ntk", "nngp"]]:
    """The network whose kernel a variant is.

    Args:
        name: a variant, `infinite_ntk`, `nngp` or `stand_in_ntk`.
        network: the experiment's network.
        init_scale: its σ_w².

    Returns:
        Settings, σ_w², and which of their kernels it is.
    """
    if name == STAND_IN:
        return fully_connected.of(network), init_scale, "ntk"
    if name not in VARIANTS:
        return network, init_scale, "nngp" if name == "nngp" else "ntk"
    family = variant_family(name)
    changes: dict[str, object] = {"parameterization": _PARAMETERIZATIONS[family].name}
    changes |= {"trainable_biases": True} if name.endswith(WITH) else {"trainable_biases": False, "bias_variance": 0.0}
    settings = network.model_copy(update=changes)
    return settings, 1.0 if family == "c1" else init_scale, "nngp" if family == "last_layer" else "ntk"


def depends_on_the_width(name: str, network: NetworkSettings) -> bool:
    """Whether a kernel of infinite width grows with the width, as the NTK of the standard parameterization does.

    A parameterization of the user's counts as one whose NTK does: a run is planned without the user's code.
    """
    settings, _, kernel = variant_network(name, network, 1.0)
    chosen = settings.parameterization
    return kernel == "ntk" and (is_own(chosen) or parameterization(chosen).ntk_grows_with_width())
