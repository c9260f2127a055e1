"""Candidate ridges side by side, and the choice among them, which never sees test data.

Candidates are solved by Cholesky factors or conjugate gradients and scored by validation samples, or all at once by
one eigendecomposition, with closed-form leave-one-out errors and marginal likelihoods.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from ntk_atlas.arrays import Status
from ntk_atlas.config.regression import SolveSettings
from ntk_atlas.numerics import real_tensor
from ntk_atlas.regression.arguments import (
    checked_kernel,
    checked_matrix,
    checked_number,
    checked_targets,
    precision_of,
    rounding_in,
)
from ntk_atlas.regression.cholesky import SolveReport
from ntk_atlas.regression.metrics import checked_labels, classification_error, fold_errors, mean_squared_error
from ntk_atlas.regression.nested import KernelSystem, NestedSolution, solve_system
from ntk_atlas.regression.tiled import ProductSystem, iterative_path

Extremes = Callable[[int, int], tuple[float, float]]


@dataclass(frozen=True)
class RidgePath:
    """Solutions of one kernel system at many ridges.

    Attributes:
        diag_reg: ridges relative to `scale`, `(n_ridges,)`.
        coefficients: α with f(x) = K(x, X) α, `(n_ridges, n, n_outputs)`.
        leave_one_out_mse: mean squared leave-one-out residual, `(n_ridges,)`; NaN where K + λI is not
            positive definite.
        log_marginal_likelihood: of a Gaussian process with covariance s²(K + λI) at its best s², `(n_ridges,)`; NaN
            where K + λI is not positive definite.
        eigenvalues: of K, ascending, `(n,)`.
    """

    diag_reg: Tensor
    coefficients: Tensor
    leave_one_out_mse: Tensor
    log_marginal_likelihood: Tensor
    eigenvalues: Tensor


def ridge_path(
    k_train_train: Tensor,
    y_train: Tensor,
    *,
    diag_reg: Sequence[float],
    scale: float | None = None,
    kernel_dtype: torch.dtype | None = None,
) -> RidgePath:
    r"""Kernel regression at all ridges, and its error on each sample when that sample is left out.

    With K = QΛQᵀ and G = (K + λI)⁻¹, the residual of sample i of the fit without sample i is
    (y_i − f_i)/(1 − h_ii) = (Gy)_i / G_ii, where H = KG is the hat matrix (Rasmussen & Williams 2006, eq.
    5.12; Allen's PRESS). Gy = Q(Λ + λ)⁻¹Qᵀy and G_ii = Σ_j Q_ij²/(Λ_j + λ) cost two products for all ridges
    together.

    The marginal likelihood of targets y_c ~ N(0, s²(K + λI)), C outputs of n samples, is largest at s² = tr(YᵀGY)/(nC),
    where its logarithm is −½ nC (log 2πs² + 1) − ½ C Σ_j log(Λ_j + λ) (Rasmussen & Williams 2006, eq. 5.8).

    Args:
        k_train_train: Gram matrix, `(n, n)`.
        y_train: targets, `(n, n_outputs)`.
        diag_reg: ridges, relative to `scale`.
        scale: None takes the mean diagonal of `k_train_train`.
        kernel_dtype: precision in which the kernel was computed, where it has been cast since; None takes its own.

    Returns:
        The path, in float64. A kernel that is not finite, or an eigendecomposition that fails, gives NaN, and so does
        a ridge at which K + λI is singular to the rounding of the precision in which K was computed.

    Raises:
        ValueError: a shape does not fit, a target is not finite, the kernel is not symmetric or of half precision, or a
            ridge or the scale is negative or not finite.
    """
    gram, outputs = checked_kernel(k_train_train, kernel_dtype=kernel_dtype)
    n_train = len(gram)
    if outputs:
        raise ValueError(
            f"k_train_train has shape {tuple(gram.shape)}, expected (n_train = {n_train}, n_train = {n_train}): the "
            "path is of a kernel that all outputs share"
        )
    targets = checked_targets("y_train", y_train, (("n_train", n_train), ("n_outputs", None)), gram.device)
    if scale is not None:
        checked_number("scale", scale, positive=True)
    ridges = real_tensor(diag_reg, "diag_reg").flatten().tolist()
    for ridge in ridges:
        checked_number("diag_reg", ridge)
    precision = precision_of(gram, kernel_dtype)
    smallest = rounding_in(gram, precision) * float(gram.diagonal().abs().max())
    return path_of(gram, targets, diag_reg=ridges, scale=scale, smallest=smallest)


def path_of(
    gram: Tensor,
    targets: Tensor,
    *,
    diag_reg: Sequence[float],
    scale: float | None = None,
    smallest: float = 0.0,
) -> RidgePath:
    """`ridge_path` of arguments that have been checked.

    Args:
        gram: `(n, n)`.
        targets: `(n, n_outputs)`.
        diag_reg: ridges; NaN gives NaN.
        scale: their unit, None for the mean diagonal.
        smallest: an eigenvalue of K + λI that is not above gives NaN.

    Returns:
        The path.
    """
    gram, targets = gram.to(torch.float64), targets.to(torch.float64)
    scale = float(gram.diagonal().mean()) if scale is None else scale
    ridges = torch.tensor(list(diag_reg), dtype=torch.float64, device=gram.device)
    eigenvalues, vectors = _eigendecomposition(gram)
    shifted = eigenvalues + scale * ridges[:, None]
    inverse = torch.where((shifted > smallest).all(1, keepdim=True), 1.0 / shifted, math.nan)
    # Ridges and outputs are the columns of one product: a batch of products would copy Q for every ridge.
    scores = inverse.mT[:, :, None] * (vectors.mT @ targets)[:, None, :]
    coefficients = (vectors @ scores.flatten(1)).unflatten(1, scores.shape[1:]).transpose(0, 1)
    diagonal = inverse @ (vectors**2).mT
    loo_mse = ((coefficients / diagonal[:, :, None]) ** 2).mean((1, 2))
    n_values, n_outputs = targets.numel(), targets.shape[1]
    variance = (coefficients * targets).sum((1, 2)) / n_values
    log_determinant = torch.where(torch.isfinite(inverse), -inverse.log(), math.nan).sum(1)
    likelihood = -0.5 * (n_values * ((2 * math.pi * variance).log() + 1.0) + n_outputs * log_determinant)
    return RidgePath(ridges, coefficients, loo_mse, likelihood, eigenvalues)


def _eigendecomposition(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Returns ascending eigenvalues and eigenvectors, NaN if `gram` is not finite or the iteration fails."""
    if bool(torch.isfinite(gram).all()):
        try:
            eigenvalues, vectors = torch.linalg.eigh(gram)
            return eigenvalues, vectors
        except torch.linalg.LinAlgError:
            pass
    return gram.new_full((gram.shape[0],), math.nan), torch.full_like(gram, math.nan)


@dataclass(frozen=True)
class Targets:
    """What predictions are compared with, on one device, with the network's outputs they are centred on.

    Attributes:
        train: `(n_train, n_outputs)`; regressed is `train − offset_train`.
        validation: `(n_validation, n_outputs)`.
        test: `(n_test, n_outputs)`.
        test_labels: `(n_test,)` or None.
        test_folds: fold of each test sample, `(n_test,)`, or None.
        offset_train: like `train`.
        offset_evaluation: `(n_validation + n_test, n_outputs)`, added to the predictions.
    """

    train: Tensor
    validation: Tensor
    test: Tensor
    test_labels: Tensor | None
    test_folds: np.ndarray | None
    offset_train: Tensor
    offset_evaluation: Tensor


def checked_data(
    y_train: Tensor,
    y_validation: Tensor,
    y_test: Tensor,
    *,
    test_labels: Tensor | None,
    test_folds: np.ndarray | None,
    offset: tuple[Tensor, Tensor, Tensor] | None,
    n_samples: tuple[int, int, int],
    select_ridge: str,
    device: torch.device,
) -> Targets:
    """Checks the targets of the three sets, the labels and the offsets.

    Args:
        y_train: `(n_train, n_outputs)`.
        y_validation: `(n_validation, n_outputs)`.
        y_test: `(n_test, n_outputs)`.
        test_labels: `(n_test,)`, or None for regression data.
        test_folds: fold of each test sample, `(n_test,)`, or None.
        offset: outputs of the network on the three sets, or None.
        n_samples: rows that the kernels have for the three sets.
        select_ridge: rule of the settings; validation needs validation samples.
        device: where everything goes.

    Returns:
        The targets.

    Raises:
        ValueError: a shape does not fit, a target is not finite, there is nothing to validate on, or labels are not
            class indices.
    """
    axes = ("n_train", "n_validation", "n_test")
    train = checked_targets("y_train", y_train, ((axes[0], n_samples[0]), ("n_outputs", None)), device)
    n_outputs = train.shape[1]
    validation, test = (
        checked_targets(name, value, ((axis, size), ("n_outputs", n_outputs)), device)
        for name, value, axis, size in zip(
            ("y_validation", "y_test"), (y_validation, y_test), axes[1:], n_samples[1:], strict=True
        )
    )
    if select_ridge == "validation" and len(validation) == 0:
        raise ValueError(
            f"y_validation has shape {tuple(validation.shape)}, but `select_ridge: validation` needs samples "
            "to validate on: give some, or set `select_ridge: leave_one_out`"
        )
    if test_labels is not None:
        test_labels = checked_labels("test_labels", test_labels, n_samples[2], device)
    if offset is None:
        starts = [torch.zeros_like(values) for values in (train, validation, test)]
    elif len(offset) == 3:
        starts = list(offset)
    else:
        raise ValueError(f"offset has {len(offset)} parts, expected three: on the train, validation, test samples")
    at_train, at_validation, at_test = (
        checked_matrix(f"offset on {axis[2:]} samples", value, ((axis, size), ("n_outputs", n_outputs)), device)
        for value, axis, size in zip(starts, axes, n_samples, strict=True)
    )
    if test_folds is not None and np.shape(test_folds) != (n_samples[2],):
        raise ValueError(f"test_folds has shape {np.shape(test_folds)}, expected (n_test = {n_samples[2]})")
    return Targets(train, validation, test, test_labels, test_folds, at_train, torch.cat([at_validation, at_test]))


@dataclass(frozen=True)
class SolveTable:
    """Candidates (ridges, or ridges × length scales) × sizes; every array `(n_candidates, n_sizes)` but the last two.

    Attributes:
        diag_reg: relative ridge.
        score: what the choice minimizes; NaN excludes.
        validation_mse: on the validation samples.
        test_mse: on the test samples.
        test_error: share of test samples in the wrong class; NaN for regression data.
        jitter: relative.
        residual: relative.
        status: codes of `Status`.
        test_mse_folds: `test_mse` of each fold, `(n_candidates, n_sizes, N_FOLDS)`.
        predictions: on the test samples, `(n_candidates, n_sizes, n_test, n_outputs)`, float32; None unless kept.
    """

    diag_reg: np.ndarray
    score: np.ndarray
    validation_mse: np.ndarray
    test_mse: np.ndarray
    test_error: np.ndarray
    jitter: np.ndarray
    residual: np.ndarray
    status: np.ndarray
    test_mse_folds: np.ndarray
    predictions: np.ndarray | None = None


def solve_path(system: KernelSystem | ProductSystem, settings: SolveSettings) -> list[NestedSolution]:
    """Solves at ridge zero (first) and at each ridge of the grid, at all sizes.

    Args:
        system: kernels, and targets with the offset taken off.
        settings: the ridge grid and the jitter.

    Returns:
        `1 + len(ridge_grid)` solutions.
    """
    if isinstance(system, ProductSystem):
        return iterative_path(system, settings)
    return [solve_system(system, diag_reg=diag_reg, jitter=settings.jitter) for diag_reg in (0.0, *settings.ridge_grid)]


def solve_table(
    system: KernelSystem | ProductSystem, solutions: list[NestedSolution], targets: Targets, settings: SolveSettings
) -> SolveTable:
    """Errors and scores of solutions, one candidate each.

    Args:
        system: what was solved; evaluation rows are validation, then test samples.
        solutions: of `solve_path`.
        targets: of the evaluation samples.
        settings: the rule of choice.

    Returns:
        The table.
    """
    n_validation = len(targets.validation)
    rows = []
    for solution in solutions:
        predictions = solution.predictions + targets.offset_evaluation
        at_test = predictions[:, n_validation:]
        error = torch.full((len(system.sizes),), math.nan)
        if targets.test_labels is not None:
            error = classification_error(at_test, targets.test, targets.test_labels)
        values = {
            "validation_mse": mean_squared_error(predictions[:, :n_validation], targets.validation),
            "test_mse": mean_squared_error(at_test, targets.test),
            "test_error": error,
        }
        row = {name: value.cpu().numpy().astype(np.float64) for name, value in values.items()}
        for name in ("diag_reg", "jitter", "residual", "status"):
            row[name] = np.array([getattr(report, name) for report in solution.reports])
        # A solve can be fine and the network's output, which is added to it, not finite.
        finite = torch.isfinite(predictions).all(-1).all(-1).cpu().numpy()
        row["status"] = np.where(finite, row["status"], Status.SINGULAR)
        row["test_mse_folds"] = fold_errors(at_test, targets.test, targets.test_folds)
        if settings.keep_predictions:
            row["predictions"] = at_test.cpu().numpy().astype(np.float32)
        rows.append(row)
    columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    by_validation = settings.select_ridge == "validation"
    if by_validation or isinstance(system, ProductSystem):  # which the config refuses with any other rule
        score = columns["validation_mse"]
    else:
        score = _path_scores(system, solutions, settings.select_ridge)
    if settings.select_ridge == "marginal_likelihood":
        # That of a kernel singular to rounding is the jitter's: the more nearly singular, the larger.
        score = np.where(columns["status"] == Status.JITTERED, math.inf, score)
    return SolveTable(score=score.copy(), **columns)


def _path_scores(system: KernelSystem, solutions: list[NestedSolution], rule: str) -> np.ndarray:
    """Leave-one-out MSE, or minus log marginal likelihood, of every solution, jitter included.

    Returns:
        `(n_candidates, n_sizes)`, smaller is better.
    """
    scores = []
    for position, n in enumerate(system.sizes):
        shifts = [s.reports[position].diag_reg + s.reports[position].jitter for s in solutions]
        path = path_of(system.gram[:n, :n], system.targets[:n], diag_reg=shifts, scale=system.scale)
        by_likelihood = rule == "marginal_likelihood"
        scores.append((-path.log_marginal_likelihood if by_likelihood else path.leave_one_out_mse).cpu().numpy())
    return np.stack(scores, axis=1)


def stack_tables(tables: list[SolveTable]) -> SolveTable:
    """Returns one table of the candidates of all tables, in order."""
    names = [field.name for field in fields(SolveTable) if getattr(tables[0], field.name) is not None]
    return SolveTable(**{name: np.concatenate([getattr(table, name) for table in tables]) for name in names})


def choose(table: SolveTable) -> np.ndarray:
    """Candidates of the two policies at each size.

    Args:
        table: all candidates.

    Returns:
        Rows of the table, `(2, n_sizes)`: the lowest score among those of ridge zero, and among the others
        (ties go to the first). Where no candidate has a score, the policy's first one.
    """
    zero = table.diag_reg[:, 0] == 0
    policies = []
    for member in (zero, ~zero):
        eligible = np.where(member[:, None] & np.isfinite(table.score), table.score, math.inf)
        best = eligible.argmin(axis=0)
        none = ~np.isfinite(eligible.min(axis=0))
        policies.append(np.where(none, int(np.flatnonzero(member)[0]), best))
    return np.stack(policies)


def chosen_arrays(table: SolveTable, chosen: np.ndarray, extremes: Extremes, *, scale: float) -> dict[str, np.ndarray]:
    """The table at the chosen candidates, with the eigenvalues of the matrices solved.

    Args:
        table: all candidates.
        chosen: rows, `(2, n_sizes)`.
        extremes: (candidate, position of the size) → smallest and largest eigenvalue of the unshifted Gram
            matrix.
        scale: mean diagonal that ridges are relative to.

    Returns:
        Arrays `(2, n_sizes, ...)` by name, `test_predictions` if the table has them; where the status is SINGULAR all
        but eigenvalues and the zero ridge are NaN.
    """
    positions = np.arange(chosen.shape[1])
    names = [field.name for field in fields(SolveTable) if field.name not in ("score", "predictions")]
    arrays = {name: getattr(table, name)[chosen, positions] for name in names}
    arrays["status"] = arrays["status"].astype(np.int8)
    singular = arrays["status"] == Status.SINGULAR
    for name in ("test_mse", "test_error", "validation_mse", "jitter", "residual"):
        arrays[name] = np.where(singular, math.nan, arrays[name])
    arrays["test_mse_folds"] = np.where(singular[..., None], math.nan, arrays["test_mse_folds"])
    arrays["diag_reg"] = np.where(singular & (arrays["diag_reg"] > 0), math.nan, arrays["diag_reg"])
    if table.predictions is not None:
        kept = table.predictions[chosen, positions]
        arrays["test_predictions"] = np.where(singular[..., None, None], np.float32(math.nan), kept)
    arrays["lambda_min"], arrays["condition_number"] = (np.full(chosen.shape, math.nan) for _ in range(2))
    for index in np.ndindex(chosen.shape):
        report = SolveReport(
            diag_reg=float(arrays["diag_reg"][index]),
            jitter=float(arrays["jitter"][index]),
            residual=float(arrays["residual"][index]),
            status=Status(arrays["status"][index]),
        ).with_extremes(*extremes(int(chosen[index]), index[1]), scale=scale)
        arrays["lambda_min"][index] = report.lambda_min
        arrays["condition_number"][index] = report.condition_number
    return arrays
