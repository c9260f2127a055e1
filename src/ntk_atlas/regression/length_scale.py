"""Kernel regression with a rival of the NTK: length scale and ridge chosen together at each size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ntk_atlas.arrays import Status
from ntk_atlas.config.regression import RivalSettings
from ntk_atlas.folds import N_FOLDS
from ntk_atlas.kernels.pairwise_distances import median_distance
from ntk_atlas.kernels.rivals import Rival
from ntk_atlas.kernels.user_kernel import UserKernel
from ntk_atlas.numerics import real_tensor
from ntk_atlas.regression.arguments import check_distinct, checked_sizes
from ntk_atlas.regression.nested import KernelSystem, kernel_system
from ntk_atlas.regression.regress import NestedRegression, extreme_eigenvalues
from ntk_atlas.regression.selection import checked_data, choose, chosen_arrays, solve_path, solve_table, stack_tables
from ntk_atlas.regression.tiled import ProductSystem, products_of_function


class NoLengthScaleError(ValueError):
    """Training samples are all equal: there is no unit of length, and nothing to tell them apart by."""


@dataclass(frozen=True)
class RivalRegression(NestedRegression):
    """As `NestedRegression`, with the length scales that were chosen.

    Attributes:
        length_scale: `(2, n_sizes)`, in median distances of the training inputs, i.e. one of
            `settings.length_scales`; NaN where no length scale could be solved, and for kernels that have none.
    """

    length_scale: np.ndarray

    @classmethod
    def singular(cls, n_sizes: int, predictions: tuple[int, int] | None = None) -> "RivalRegression":
        """What is reported of a kernel that cannot be evaluated: SINGULAR at every size.

        Args:
            n_sizes: sample counts.
            predictions: test samples and outputs, where predictions are kept.

        Returns:
            Arrays of NaN.
        """
        arrays = {
            field.name: np.full((2, n_sizes), np.nan) for field in fields(cls) if field.name != "test_predictions"
        }
        arrays["test_mse_folds"] = np.full((2, n_sizes, N_FOLDS), np.nan)
        arrays["status"] = np.full((2, n_sizes), Status.SINGULAR, dtype=np.int8)
        arrays["diag_reg"][0] = 0.0
        kept = None if predictions is None else np.full((2, n_sizes, *predictions), np.nan, dtype=np.float32)
        return cls(**arrays, test_predictions=kept)


def regress_rival(
    kernel: Rival | UserKernel,
    x_train: Tensor,
    x_validation: Tensor,
    x_test: Tensor,
    *,
    y_train: Tensor,
    y_validation: Tensor,
    y_test: Tensor,
    sizes: Sequence[int],
    settings: RivalSettings,
    test_labels: Tensor | None = None,
    test_folds: np.ndarray | None = None,
    allow_duplicates: bool = True,
) -> RivalRegression:
    """Regression with a kernel of length scale ℓ at all nested sizes, ℓ and ridge chosen by the rule of the settings.

    Under the policy `zero` the best ℓ at ridge zero is chosen, under `tuned` the best pair (ℓ, ridge) of the
    two grids, both at each size and by validation or leave-one-out MSE, or marginal likelihood. ℓ is a multiple of the
    median distance within the largest training set. Distances or inner products are computed once.

    Args:
        kernel: from `kernels.rival`, or from `load_user_kernel`; if it has no length scale, the ridge alone is chosen.
        x_train: inputs, `(n_train, *shape)`.
        x_validation: `(n_validation, *shape)`.
        x_test: `(n_test, *shape)`.
        y_train: encoded targets, `(n_train, n_outputs)`.
        y_validation: `(n_validation, n_outputs)`.
        y_test: `(n_test, n_outputs)`.
        sizes: strictly increasing sample counts, the last at least 2.
        settings: both grids, rule of choice and jitter.
        test_labels: class indices, `(n_test,)`; None for regression data.
        test_folds: fold of each test sample, `(n_test,)`; None for no errors by fold.
        allow_duplicates: True leaves equal training samples to the status, JITTERED from the size on where the
            second enters; False refuses them.

    Returns:
        Errors and reports of both policies, and the length scales.

    Raises:
        ValueError: a shape or `sizes` does not fit, a target or an input is NaN; as
            DuplicateSamplesError, training samples are equal and that is not allowed.
        NoLengthScaleError: all training samples are equal.
    """
    x_train, x_validation, x_test = (
        _checked_inputs(x_name, x)
        for x_name, x in (("x_train", x_train), ("x_validation", x_validation), ("x_test", x_test))
    )
    for x_name, x in (("x_validation", x_validation), ("x_test", x_test)):
        if x.shape[1:] != x_train.shape[1:]:
            raise ValueError(
                f"{x_name} has shape {tuple(x.shape)}, but x_train {tuple(x_train.shape)}: samples must have "
                "the same shape"
            )
    targets = checked_data(
        y_train,
        y_validation,
        y_test,
        test_labels=test_labels,
        test_folds=test_folds,
        offset=None,
        n_samples=(len(x_train), len(x_validation), len(x_test)),
        select_ridge=settings.select_ridge,
        device=x_train.device,
    )
    sizes = checked_sizes(sizes, len(x_train))
    x_train, y = x_train[: sizes[-1]], targets.train[: sizes[-1]]
    if not allow_duplicates:
        check_distinct(x_train)
    iterative = settings.solver == "iterative"
    # One after the other: rounding in distances depends on all samples of an argument.
    pairs = (
        () if iterative else tuple(kernel.pairs(*x) for x in ((x_train,), (x_validation, x_train), (x_test, x_train)))
    )
    factors, median = settings.length_scales, math.nan
    if kernel.has_length_scale:
        median = median_distance(x_train)
        if median == 0:
            raise NoLengthScaleError(
                f"x_train, of shape {tuple(x_train.shape)}, has median distance 0: all samples are equal"
            )
    else:
        factors = (math.nan,)

    tables = []
    for factor in factors:
        system: KernelSystem | ProductSystem
        if iterative:
            of_samples = _TileFunction(kernel, factor * median)
            system = products_of_function(of_samples, x_train, torch.cat([x_validation, x_test]), y, sizes)
        else:
            gram, *rows = (evaluate(factor * median) for evaluate in pairs)
            precision = torch.float32 if gram.dtype == torch.float32 else torch.float64
            system = kernel_system(gram, y, torch.cat(rows), sizes=sizes, kernel_dtype=precision)
        tables.append(solve_table(system, solve_path(system, settings), targets, settings))
    table, chosen = stack_tables(tables), choose(stack_tables(tables))
    factor_of = np.repeat(factors, len(tables[0].diag_reg))

    @cache
    def extremes(factor: float, position: int) -> tuple[float, float]:
        if iterative:
            return math.nan, math.nan
        return extreme_eigenvalues(pairs[0](factor * median, sizes[position]))

    arrays = chosen_arrays(
        table, chosen, lambda candidate, position: extremes(factor_of[candidate], position), scale=1.0
    )
    length_scale = np.where(arrays["status"] == Status.SINGULAR, np.nan, factor_of[chosen])
    return RivalRegression(**arrays, length_scale=length_scale)


@dataclass(frozen=True)
class _TileFunction:
    """A kernel at one length scale, as a function of two sets of samples; of one set where both are the same tensor."""

    kernel: Rival | UserKernel
    length_scale: float

    def __call__(self, x1: Tensor, x2: Tensor) -> Tensor:
        return self.kernel.pairs(x1, None if x1 is x2 else x2)(self.length_scale)


def _checked_inputs(name: str, x: Tensor) -> Tensor:
    x = real_tensor(x, name)
    if x.dim() == 0 or (len(x) and x[:1].numel() == 0):
        raise ValueError(f"{name} is empty (shape {tuple(x.shape)}): give inputs (n, *shape)")
    n_bad = int((~torch.isfinite(x)).sum())
    if n_bad:
        raise ValueError(
            f"{name}, of shape {tuple(x.shape)}, has {n_bad} entries that are NaN or infinite: clean the inputs"
        )
    return x
