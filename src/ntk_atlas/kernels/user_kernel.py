"""A rival kernel in a file of the user's own: `regression.predictors: [my_kernel.py:k]`, checked on real samples."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ntk_atlas.kernels.errors import KernelInputError
from ntk_atlas.numerics import real_tensor
from ntk_atlas.user_code import check_function, load_function, load_named

_PRECISIONS = (torch.float64, torch.float32)
_MOST_SAMPLES = 128
"""Samples on which a kernel is checked: eigenvalues of so many take a moment."""
_APART = {torch.float64: 1e-6, torch.float32: 1e-3}
"""Share of the largest entry by which two evaluations of one entry may differ: distances by matrix products are known
to the root of rounding."""
_NEGATIVE = {torch.float64: 1e-7, torch.float32: 1e-4}
"""Share of the largest eigenvalue by which another may be negative: as rounding leaves it."""


class UserKernelError(KernelInputError):
    """A kernel of the user's own that cannot be loaded, or is no kernel."""


@dataclass(frozen=True)
class UserKernel:
    """k(x1, x2) of a user's file.

    Attributes:
        spec: file and name, `my_kernel.py:k`.
        function: what is called, with keywords.
        inputs: the names that the function gives its two arguments.
        has_length_scale: whether it takes `length_scale`, which is then chosen from `regression.length_scales`.
        parameters: of the function, beside those.
    """

    spec: str
    function: Any
    inputs: tuple[str, str]
    has_length_scale: bool
    parameters: dict[str, Any]

    def __call__(self, x1: Tensor, x2: Tensor, length_scale: float | None = None) -> Tensor:
        """The kernel of two sets of samples.

        Args:
            x1: `(n1, n_features)`.
            x2: `(n2, n_features)`.
            length_scale: ℓ, for a kernel that has one.

        Returns:
            `(n1, n2)`, float64 or float32.

        Raises:
            UserKernelError: the function raises, or returns anything else than a kernel's entries.
        """
        arguments = dict(zip(self.inputs, (x1, x2), strict=True)) | self.parameters
        if self.has_length_scale:
            arguments["length_scale"] = length_scale
        with torch.no_grad():
            values = self.function(**arguments)
        try:
            k = real_tensor(values, "K").detach()
        except ValueError as error:
            raise UserKernelError(f"kernel {self.spec!r} returns no K(x1, x2): {error}") from None
        if k.shape != (len(x1), len(x2)):
            raise UserKernelError(
                f"kernel {self.spec!r} returns shape {tuple(k.shape)} for inputs of shapes {tuple(x1.shape)} and "
                f"{tuple(x2.shape)}: return K(x1, x2), (n1, n2) = ({len(x1)}, {len(x2)})"
            )
        if k.is_floating_point() and k.dtype not in _PRECISIONS:
            raise UserKernelError(
                f"kernel {self.spec!r} returns {k.dtype}, whose rounding hides small eigenvalues: compute it in the "
                "precision of its inputs, torch.float64"
            )
        return (k if k.is_floating_point() else k.to(torch.float64)).to(x1.device)

    def pairs(self, x1: Tensor, x2: Tensor | None = None) -> Callable[..., Tensor]:
        """The kernel of pairs of samples as a function of ℓ, and of n for the leading n × n block; see `Rival`."""
        rows = x1.to(torch.float64).flatten(1)
        columns = rows if x2 is None else x2.to(torch.float64).flatten(1)
        return lambda length_scale, n=None: self(rows[:n], columns[:n], length_scale)


def load_user_kernel(spec: str, **parameters: Any) -> UserKernel:
    """Loads k from its file; relative paths start at the working directory.

    Args:
        spec: file and name, `my_kernel.py:k`, of a function `k(x1, x2, **parameters)` of float64 tensors
            `(n1, n_features)` and `(n2, n_features)` (images are flattened) that returns K(x1, x2), `(n1, n2)`, as a
            tensor or a NumPy array. If it has a parameter `length_scale`, that is chosen with the ridge.
        parameters: passed on at every call.

    Returns:
        The kernel.

    Raises:
        UserKernelError: there is no such file or function, it does not take two sets of inputs, or has no
            parameter of a name that is given.
    """
    function = load_named(spec, "kernel", UserKernelError)
    check_function(function, spec, "kernel", UserKernelError, "a function k(x1, x2)", instance="kernel")
    call = load_function(spec, "kernel", UserKernelError, ("x1", "x2"))
    named, every = _parameters_of(spec, function)
    unknown = [] if every else sorted(set(parameters) - set(named[2:]))
    if unknown:
        raise UserKernelError(f"kernel {spec!r} has no parameter {', '.join(unknown)}: it has {', '.join(named)}")
    has_length_scale = "length_scale" in named[2:] and "length_scale" not in parameters
    return UserKernel(spec, call, (named[0], named[1]), has_length_scale, parameters)


def _parameters_of(spec: str, function: Any) -> tuple[list[str], bool]:
    """Names of a function's parameters, and whether it takes any keyword.

    Raises:
        UserKernelError: it does not take two sets of inputs.
    """
    try:
        called = function.forward if isinstance(function, torch.nn.Module) else function
        parameters = list(inspect.signature(called).parameters.values())
    except (TypeError, ValueError):
        return ["x1", "x2"], True
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    by_place = any(p.kind == p.POSITIONAL_ONLY for p in parameters)
    if len(named) < 2 or by_place:
        raise UserKernelError(
            f"kernel {spec!r} takes ({', '.join(map(str, parameters))}): define `def k(x1, x2, length_scale=1.0)`, "
            "with two sets of inputs and what else it needs"
        )
    missing = [p.name for p in named[2:] if p.default is p.empty and p.name != "length_scale"]
    if missing:
        raise UserKernelError(
            f"kernel {spec!r} has no default for {', '.join(missing)}: give one; only length_scale is chosen"
        )
    return [p.name for p in named], any(p.kind == p.VAR_KEYWORD for p in parameters)


def check_user_kernel(kernel: UserKernel, x: Tensor, *, length_scale: float | None = None) -> None:
    """Refuses what is no kernel, from what the function gives on samples of the data.

    Held against each other are K of all samples, of two parts of them, of copies, and the same calls again.

    Args:
        kernel: from `load_user_kernel`.
        x: inputs `(n, *shape)`, flattened; the first 128 count.
        length_scale: ℓ at which it is looked at; None takes the median distance.

    Raises:
        UserKernelError: entries are no numbers or not finite, the kernel is not symmetric or not positive semidefinite
            to rounding, differs from call to call, changes its inputs, or is not that of its two arguments alone.
    """
    x = real_tensor(x, "x", UserKernelError)[:_MOST_SAMPLES].to(torch.float64).flatten(1).contiguous()
    if len(x) == 0:
        raise UserKernelError(f"kernel {kernel.spec!r} is checked on samples, and there are none")
    if kernel.has_length_scale and length_scale is None:
        from ntk_atlas.kernels.pairwise_distances import median_distance

        length_scale = (median_distance(x) if len(x) > 1 else 0.0) or 1.0

    def of(x1: Tensor, x2: Tensor) -> Tensor:
        given = x1.clone(), x2.clone()
        values = kernel(x1, x2, length_scale).clone()
        for before, after in zip(given, (x1, x2), strict=True):
            if not torch.equal(before, after):
                after.copy_(before)
                raise UserKernelError(
                    f"kernel {kernel.spec!r} changes its inputs: work on copies (x = x - mean, not x -= mean)"
                )
        return values

    whole = of(x, x)
    n_bad = int((~torch.isfinite(whole)).sum())
    if n_bad:
        raise UserKernelError(
            f"kernel {kernel.spec!r} has {n_bad} of {whole.numel()} entries that are NaN or infinite on {len(x)} "
            "samples of the data"
        )
    k = whole.to(torch.float64)
    limit = _APART[whole.dtype] * float(k.abs().max())
    turned = "is not symmetric: K(x1, x2) must be the transpose of K(x2, x1)"

    def held(found: Tensor, expected: Tensor, what: str) -> None:
        apart = float((found.to(torch.float64) - expected).abs().nan_to_num(nan=torch.inf).max())
        if apart > limit:
            raise UserKernelError(
                f"kernel {kernel.spec!r} {what} (entries up to {float(k.abs().max()):.3g} are {apart:.3g} apart on "
                f"{len(x)} samples of the data)"
            )

    held(of(x, x), k, "gives other numbers when it is called again: remove what draws random numbers or keeps a state")
    held(k.mT, k, turned)
    split = max(1, len(x) // 3)
    first, rest = x[:split].clone(), x[split:].clone()
    alone = (
        "depends on more than its two samples: an entry of K(x1, x2) must be the same whatever other samples are given "
        "beside, as blocks of one kernel"
    )
    held(of(x, x.clone()), k, "is another one for a copy of the same samples: compare values, not whether x1 is x2")
    held(of(x, x.flip(0)), k.flip(1), alone)
    held(of(first, first), k[:split, :split], alone)
    if len(rest):
        across = of(first, rest)
        held(across, k[:split, split:], alone)
        held(of(rest, first).mT, across.to(torch.float64), turned)
    if not bool(k.any()):
        raise UserKernelError(f"kernel {kernel.spec!r} is 0 for all pairs of {len(x)} samples of the data")
    eigenvalues = torch.linalg.eigvalsh(k)
    lowest, highest = float(eigenvalues[0]), float(eigenvalues[-1])
    if lowest < -_NEGATIVE[whole.dtype] * highest or highest <= 0.0:
        raise UserKernelError(
            f"kernel {kernel.spec!r} is not positive semidefinite: on {len(x)} samples of the data its eigenvalues run "
            f"from {lowest:.3g} to {highest:.3g}"
        )
