"""Kernel systems from products with the kernel alone, for sample counts whose Gram matrix no memory holds."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ntk_atlas.regression.arguments import (
    PRODUCT,
    check_function,
    checked_count,
    checked_number,
    checked_ridge,
    checked_targets,
    checked_working_dtype,
)
from ntk_atlas.status import Status
from ntk_atlas.tensors import real_number, real_tensor

MatVec = Callable[[Tensor], Tensor]
"""v `(n, k)` → Kv `(n, k)`, for any k."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class IterativeSolution:
    """Coefficients α with (K + λI) α ≈ y, and how near they came.

    Attributes:
        coefficients: `(n, n_outputs)`; NaN for outputs that failed.
        residuals: ‖(K + λI) α − y‖ / ‖y‖ of each output, from a product made for it, `(n_outputs,)`; NaN for
            outputs that failed.
        n_iterations: steps, each with one product for all outputs that still need one.
        n_products: products altogether, those of the residuals included.
        status: CONVERGED; BUDGET_SPENT where an output's residual is above the tolerance; SINGULAR where the
            matrix turned out not to be positive definite, or a product was not finite.
        diag_reg: relative ridge of the system.
    """

    coefficients: Tensor
    residuals: Tensor
    n_iterations: int
    n_products: int
    status: Status
    diag_reg: float

    @property
    def converged(self) -> bool:
        """Whether all outputs reached the tolerance."""
        return self.status == Status.CONVERGED


def conjugate_gradient(
    matvec: MatVec,
    y_train: Tensor,
    *,
    diag_reg: float = 0.0,
    mean_diagonal: float | None = None,
    preconditioner: MatVec | None = None,
    tolerance: float = 1e-8,
    max_iterations: int = 1000,
    dtype: torch.dtype = torch.float64,
) -> IterativeSolution:
    r"""Solves (K + λI) α = y by preconditioned conjugate gradients (Golub & Van Loan 2013, section 11.5).

    All outputs share the products with K; an output that is done takes no further part in them. When every one
    seems done the residual is measured by a product of its own, and the iteration goes on from there if rounding
    has let the two drift apart.

    Args:
        matvec: v `(n, k)` → Kv, symmetric and positive semi-definite: a `TiledKernel`, `EmpiricalNTKOperator`,
            or any function. Of a full kernel take `mixed_outputs(matvec, n_outputs)`, and `y.reshape(-1, 1)`.
        y_train: targets, `(n, n_outputs)`.
        diag_reg: λ relative to the mean diagonal of K.
        mean_diagonal: the unit of `diag_reg`, needed where that is not 0.
        preconditioner: v `(n, k)` → P⁻¹v, see `preconditioner`; None is the identity.
        tolerance: relative residual of each output at which it is done.
        max_iterations: steps at most.
        dtype: precision of the vectors, and so of what `matvec` is given: float64 or float32.

    Returns:
        The solution. One that did not converge is logged as a warning and says so in its status; nothing is
        raised.

    Raises:
        ValueError: `matvec` is no function, a target is not finite, the ridge is negative or has no unit, the
            precision is neither of the two, or a product has another shape than its vectors.
    """
    check_function("matvec", matvec, PRODUCT)
    if preconditioner is not None:
        check_function("preconditioner", preconditioner, PRODUCT)
    max_iterations = checked_count("max_iterations", max_iterations)
    dtype, given = checked_working_dtype(dtype), real_tensor(y_train, "y_train")
    checked_ridge(diag_reg)
    checked_number("tolerance", tolerance)
    y = checked_targets("y_train", given, (("n", None), ("n_outputs", None)), given.device).to(dtype)
    shift = 0.0
    if diag_reg:
        if mean_diagonal is None:
            raise ValueError("diag_reg is relative to the mean diagonal of the kernel: give `mean_diagonal` too")
        if real_number(mean_diagonal, "mean_diagonal") <= 0:
            raise ValueError(f"mean_diagonal is {mean_diagonal}, expected that of a positive semi-definite kernel")
        shift = diag_reg * mean_diagonal
    system = _System(matvec, preconditioner or (lambda v: v), shift)
    alpha, residual = torch.zeros_like(y), y.clone()
    norms = torch.linalg.norm(y, dim=0)
    unit = norms.where(norms > 0, 1.0)
    relative, failed = norms / unit, torch.zeros_like(norms, dtype=torch.bool)
    n_iterations = 0
    while n_iterations < max_iterations:
        todo = ((relative > tolerance) & ~failed).nonzero().flatten()
        if len(todo) == 0:
            break
        change, broken, n_steps = _steps(
            system, residual[:, todo], tolerance * unit[todo], max_iterations - n_iterations
        )
        n_iterations += n_steps
        alpha[:, todo] += change
        failed[todo] = broken
        residual[:, todo] = y[:, todo] - system.product(alpha[:, todo])
        before, relative = relative, torch.linalg.norm(residual, dim=0) / unit
        failed |= ~torch.isfinite(relative)
        # Rounding sets a floor that further steps do not break.
        if not bool((relative < before / 2)[todo].any()):
            break
    solution = IterativeSolution(
        alpha.masked_fill(failed, torch.nan),
        relative.masked_fill(failed, torch.nan),
        n_iterations,
        system.n_products,
        _status(relative, failed, tolerance),
        diag_reg,
    )
    _warn(solution, tolerance, spent=n_iterations >= max_iterations)
    return solution


def mixed_outputs(matvec: MatVec, n_outputs: int) -> MatVec:
    """A full kernel's product as that of a matrix over samples and outputs.

    Args:
        matvec: `(n, n_outputs)` → `(n, n_outputs)`, one vector whose outputs the kernel mixes.
        n_outputs: outputs.

    Returns:
        `(n · n_outputs, k)` → likewise, each column a vector; one product a column.
    """

    def product(v: Tensor) -> Tensor:
        return torch.stack([matvec(column.reshape(-1, n_outputs)).reshape(-1) for column in v.unbind(1)], 1)

    return product


class _System:
    """K + shift · I and its preconditioner, counting products."""

    def __init__(self, matvec: MatVec, precondition: MatVec, shift: float):
        self.matvec, self.precondition, self.shift = matvec, precondition, shift
        self.n_products = 0

    def product(self, v: Tensor) -> Tensor:
        self.n_products += 1
        image = real_tensor(self.matvec(v), "the product that matvec gives")
        if image.shape != v.shape:
            raise ValueError(
                f"matvec gives shape {tuple(image.shape)} for vectors of shape {tuple(v.shape)}: a product with K "
                "keeps the shape"
            )
        return image.to(v) + self.shift * v


def _steps(system: _System, residual: Tensor, threshold: Tensor, budget: int) -> tuple[Tensor, Tensor, int]:
    """Returns the change of the solution, which outputs broke down, and the number of steps."""
    change, broken = torch.zeros_like(residual), torch.zeros_like(threshold, dtype=torch.bool)
    active = torch.arange(residual.shape[1], device=residual.device)
    left = system.precondition(residual)
    direction, product = left.clone(), (residual * left).sum(0)
    for step in range(1, budget + 1):
        image = system.product(direction)
        curvature = (direction * image).sum(0)
        # Not positive, and not NaN either.
        sound = (curvature > 0) & (product > 0) & torch.isfinite(curvature)
        length = torch.where(sound, product / curvature, 0.0)
        change[:, active] += length * direction
        residual = residual - length * image
        broken[active[~sound]] = True
        going = sound & (torch.linalg.norm(residual, dim=0) > threshold[active])
        if not bool(going.any()):
            return change, broken, step
        if not bool(going.all()):
            active, residual, direction, product = (
                active[going],
                residual[:, going],
                direction[:, going],
                product[going],
            )
        left = system.precondition(residual)
        before, product = product, (residual * left).sum(0)
        direction = left + (product / before) * direction
    return change, broken, budget


def _status(relative: Tensor, failed: Tensor, tolerance: float) -> Status:
    if bool(failed.any()):
        return Status.SINGULAR
    return Status.CONVERGED if bool((relative <= tolerance).all()) else Status.BUDGET_SPENT


def _warn(solution: IterativeSolution, tolerance: float, *, spent: bool) -> None:
    n_outputs = len(solution.residuals)
    if solution.status == Status.SINGULAR:
        logger.warning(
            "conjugate gradients broke down after %d steps for %d of %d outputs: the kernel is not positive definite "
            "or not finite; raise diag_reg",
            solution.n_iterations,
            int(solution.residuals.isnan().sum()),
            n_outputs,
        )
    elif solution.status == Status.BUDGET_SPENT:
        logger.warning(
            "conjugate gradients did not converge in %d steps: the largest relative residual (of %d) is %.1e, "
            "above %.1e; %s",
            solution.n_iterations,
            n_outputs,
            float(solution.residuals.max()),
            tolerance,
            "raise max_iterations, the rank of the preconditioner or diag_reg" if spent else "rounding allows no less",
        )
