"""An activation in a file of the user's own: `network.activation: my_phi.py:phi`."""

import inspect

import torch
from torch import nn

from ntk_atlas.activations.elementwise import ActivationError, Elementwise, ElementwiseFunction
from ntk_atlas.user_code import check_function, load_named


def load_activation(spec: str) -> Elementwise:
    """Loads φ from its file and checks it; relative paths start at the working directory.

    Args:
        spec: file and name, `my_phi.py:phi`, of a function of one tensor that returns φ of each entry, of the same
            shape and dtype, written with torch functions (autograd gives φ'). A `torch.nn.Module` without parameters,
            `phi = nn.Softplus(beta=2.0)`, is such a function.

    Returns:
        φ.

    Raises:
        ActivationError: if there is no such file or function, or it is not an elementwise function.
    """
    phi = load_named(spec, "activation", ActivationError)
    check_function(phi, spec, "activation", ActivationError, "a function of a tensor", instance="phi")
    try:
        inspect.signature(phi).bind(None)
    except TypeError as error:
        raise ActivationError(
            f"activation {spec!r} cannot be called with one tensor ({error}): define `def phi(u)`"
        ) from None
    except ValueError:  # a signature that Python does not know
        pass
    if isinstance(phi, nn.Module) and any(True for _ in phi.parameters()):
        raise ActivationError(
            f"activation {spec!r} has parameters, which would be trained: fix them, or build the whole network by "
            "network.factory"
        )
    try:
        function = ElementwiseFunction(phi, (torch.float64, torch.float32))
    except ActivationError as error:
        raise ActivationError(f"activation {spec!r}: {error}") from error
    if not function.values_and_slopes(torch.linspace(-3.1, 2.9, 64, dtype=torch.float64))[1].any():
        raise ActivationError(
            f"activation {spec!r} has the derivative 0 all over [−3.1, 2.9]: layers below it are not trained"
        )
    return phi
