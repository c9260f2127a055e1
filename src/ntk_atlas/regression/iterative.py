"""Kernel systems from products with the kernel alone, for sample counts whose Gram matrix no memory holds.

Conjugate gradients are preconditioned by a low-rank approximation: K ≈ UΛUᵀ leaves a remainder of size ε, and
P = UΛUᵀ + μI with μ = λ + ε is inverted by the Woodbury identity,

    P⁻¹v = (v − U (Λ/(Λ + μ)) Uᵀv)/μ,

which costs 4 n · rank flops per vector, beside 2n² for a product with K.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ntk_atlas.arrays import Status
from ntk_atlas.numerics import real_number, real_tensor
from ntk_atlas.regression.arguments import (
    PRODUCT,
    check_function,
    checked_count,
    checked_number,
    checked_ridge,
    checked_targets,
    checked_working_dtype,
)

logger = logging.getLogger(__name__)

MatVec = Callable[[Tensor], Tensor]
"""v `(n, k)` → Kv `(n, k)`, for any k."""


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
        preconditioner: v `(n, k)` → P⁻¹v, see `pivoted_cholesky_preconditioner`; None is the identity.
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
        `(n · n_outputs, k)` → `(n · n_outputs, k)`, each column a vector; one product per column.
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


@dataclass(frozen=True)
class LowRankPreconditioner:
    """P⁻¹ as a function of vectors.

    Attributes:
        vectors: orthonormal U, `(n, rank)`.
        eigenvalues: Λ, `(rank,)`, not negative.
        shift: μ, positive.
    """

    vectors: Tensor
    eigenvalues: Tensor
    shift: float

    def __call__(self, v: Tensor) -> Tensor:
        """P⁻¹v.

        Args:
            v: `(n, k)`.

        Returns:
            `(n, k)`, in the precision of `v`, float64 for integers.
        """
        v = v if v.is_floating_point() else v.double()
        vectors = self.vectors.to(v)
        share = (self.eigenvalues / (self.eigenvalues + self.shift)).to(v)
        return (v - vectors @ (share[:, None] * (vectors.mT @ v))) / self.shift


def pivoted_cholesky_factor(diagonal: Tensor, columns: Callable[[Tensor], Tensor], *, rank: int) -> Tensor:
    """Partial Cholesky factor of a kernel from a few of its columns, the largest remaining diagonal entry first.

    Harbrecht, Peters & Schneider 2012; the remainder K − FFᵀ is positive semi-definite, and its trace the sum of
    its diagonal bounds its size.

    Args:
        diagonal: of K, `(n,)`.
        columns: indices `(k,)` → those columns of K, `(n, k)`.
        rank: columns at most; fewer where the remainder vanishes to rounding, or is not finite.

    Returns:
        F with FFᵀ ≈ K, `(n, k)`, k ≤ rank, float64.
    """
    rounding = _rounding(diagonal)
    left = diagonal.to(torch.float64).clone()
    largest = float(left.max())
    factor = left.new_zeros(len(left), min(rank, len(left)))
    for k in range(factor.shape[1]):
        pivot = left.argmax()
        # A comparison that NaN fails too.
        if not left[pivot] > 10.0 * len(left) * rounding * largest:
            return factor[:, :k]
        given = columns(pivot[None])
        rounding = max(rounding, _rounding(given))
        column = given[:, 0].to(factor)
        column = (column - factor[:, :k] @ factor[pivot, :k]) / left[pivot].sqrt()
        if not bool(torch.isfinite(column).all()):
            return factor[:, :k]
        factor[:, k] = column
        left = (left - column**2).clamp_(min=0.0)
        left[pivot] = 0.0
    return factor


def pivoted_cholesky_preconditioner(
    diagonal: Tensor, columns: Callable[[Tensor], Tensor], *, rank: int, diag_reg: float = 0.0
) -> LowRankPreconditioner:
    """Preconditioner from columns of the kernel (Gardner et al. 2018, section 4.2).

    Args:
        diagonal: of K, `(n,)`.
        columns: indices `(k,)` → those columns of K, `(n, k)`.
        rank: columns to take.
        diag_reg: the system's ridge, relative to the mean diagonal.

    Returns:
        The preconditioner; ε is the mean diagonal of the remainder.
    """
    checked_ridge(diag_reg)
    factor = pivoted_cholesky_factor(diagonal, columns, rank=rank)
    scale = float(diagonal.to(torch.float64).mean())
    vectors, singular_values, _ = torch.linalg.svd(factor, full_matrices=False)
    eigenvalues = singular_values**2
    remainder = max(scale - float(eigenvalues.sum()) / len(diagonal), 0.0)
    return _preconditioner(vectors, eigenvalues, diag_reg * scale + remainder, scale, _rounding(diagonal))


def nystrom_preconditioner(
    matvec: Callable[[Tensor], Tensor],
    n: int,
    *,
    rank: int,
    generator: torch.Generator,
    diag_reg: float = 0.0,
    mean_diagonal: float | None = None,
) -> LowRankPreconditioner:
    r"""Preconditioner from products only: randomized Nyström approximation (Frangella, Tropp & Udell 2023).

    With an orthonormal random Ω and Y = KΩ the approximation is Y(ΩᵀY)⁻¹Yᵀ, evaluated with a small shift that is
    taken off again.

    Args:
        matvec: v `(n, k)` → Kv `(n, k)`.
        n: order of K.
        rank: random vectors, all in one product.
        generator: stream they are drawn from.
        diag_reg: the system's ridge, relative to the mean diagonal.
        mean_diagonal: of K; None takes its estimate mean diag(ΩᵀY).

    Returns:
        The preconditioner; ε is the smallest eigenvalue found. One without vectors, which changes nothing, where
        the products are not those of a positive semi-definite kernel.
    """
    checked_ridge(diag_reg)
    check_function("matvec", matvec, PRODUCT)
    n, rank = checked_count("n", n), checked_count("rank", rank)
    omega = torch.randn(n, min(rank, n), generator=generator, dtype=torch.float64, device=generator.device)
    omega = torch.linalg.qr(omega).Q
    product = real_tensor(matvec(omega), "the product that matvec gives")
    # Products may come in single precision: then that is the rounding of the core.
    rounding = _rounding(product)
    product = product.to(torch.float64)
    omega = omega.to(product.device)
    core = omega.mT @ product
    scale = float(core.diagonal().mean()) if mean_diagonal is None else mean_diagonal
    core = (core + core.mT) / 2
    for small in float(torch.linalg.norm(product)) * n**0.5 * rounding * torch.tensor([1.0, 10.0, 100.0]):
        shifted = core.clone()
        shifted.diagonal().add_(float(small))
        lower, info = torch.linalg.cholesky_ex(shifted)
        if not int(info):
            break
    small = float(small)
    if int(info) or not bool(torch.isfinite(lower).all()):
        logger.warning("no preconditioner: the kernel's products are not those of a positive semi-definite matrix")
        return LowRankPreconditioner(omega[:, :0], omega.new_zeros(0), 1.0)
    half = torch.linalg.solve_triangular(lower.mT, product + small * omega, upper=True, left=False)
    vectors, singular_values, _ = torch.linalg.svd(half, full_matrices=False)
    eigenvalues = (singular_values**2 - small).clamp(min=0.0)
    return _preconditioner(vectors, eigenvalues, diag_reg * scale + float(eigenvalues[-1]), scale, rounding)


def _rounding(kernel: Tensor) -> float:
    """Relative rounding of numbers in the precision in which a kernel gives them."""
    return torch.finfo(kernel.dtype if kernel.is_floating_point() else torch.float64).eps


def _preconditioner(
    vectors: Tensor, eigenvalues: Tensor, shift: float, scale: float, rounding: float
) -> LowRankPreconditioner:
    # A kernel that is of low rank to rounding leaves no remainder; the rounding itself is what is left then.
    floor = rounding * max(float(eigenvalues.sum()), scale)
    return LowRankPreconditioner(vectors, eigenvalues, max(shift, floor) if floor > 0 else 1.0)
