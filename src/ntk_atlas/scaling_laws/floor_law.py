"""The law with an irreducible error, err = E + A n^−α, fitted in log space."""

from dataclasses import dataclass

import numpy as np

from ntk_atlas.scaling_laws.floor_solver import at_zero, jacobian, solve
from ntk_atlas.scaling_laws.power_law import fit_power_law

MIN_SIZES = 5
"""Fewest sizes that three parameters and a residual with two degrees of freedom need."""


@dataclass(frozen=True, eq=False)
class FloorLaw:
    """Fits of a stack of learning curves; every array has the leading shape of the curves."""

    exponent: np.ndarray
    """α > 0."""
    log_amplitude: np.ndarray
    """log A, natural logarithm."""
    irreducible_error: np.ndarray
    """E ≥ 0; exactly 0 where the best fit is the pure law."""
    mean_squared_residual: np.ndarray
    """Mean squared log residual over the sizes."""
    converged: np.ndarray
    """Whether the gradient vanished at the best of the ends that the starts led to."""
    theta: np.ndarray
    """The solver's coordinates `(..., 3)`, see `floor_solver`."""


def centred_log_sizes(n_train: np.ndarray) -> np.ndarray:
    """Returns log n minus its mean, the abscissa of all floor-law fits."""
    x = np.log(np.asarray(n_train, dtype=np.float64))
    centred: np.ndarray = x - x.mean()
    return centred


def fit_floor_law(n_train: np.ndarray, log_errors: np.ndarray) -> FloorLaw:
    """Fits log err = log(E + A n^−α), E ≥ 0, α > 0, by least squares from a grid of starts.

    Log space weighs relative errors alike at every size; `logaddexp` keeps the sum stable; the mean, not the sum,
    of squares is reported so that fits with different numbers of sizes compare.

    Args:
        n_train: training sizes `(n_sizes,)`, at least five.
        log_errors: `(..., n_sizes)`, all finite.

    Returns:
        The fits, of shape `(...)`.

    Raises:
        ValueError: if there are fewer than five sizes or a log error is not finite.
    """
    y = np.asarray(log_errors, dtype=np.float64)
    if y.shape[-1] < MIN_SIZES:
        raise ValueError(f"a law with irreducible error needs at least {MIN_SIZES} sizes, got {y.shape[-1]}")
    if not np.isfinite(y).all():
        raise ValueError("log errors must be finite; leave out sizes with missing or zero errors first")
    x = centred_log_sizes(n_train)
    flat = y.reshape(-1, y.shape[-1])
    level = flat.mean(-1)  # in relative units, so that error × c gives the same search
    theta, cost, converged = solve(x, flat - level[:, None])
    zero = at_zero(theta, flat - level[:, None])
    pure = fit_power_law(n_train, np.exp(flat - level[:, None]))
    exponent = np.where(zero & (pure.exponent > 0.0), pure.exponent, np.exp(theta[:, 1]))
    theta[:, 0] += level
    theta[:, 2] += level
    log_amplitude = theta[:, 0] + exponent * np.log(n_train).mean()
    shape = y.shape[:-1]
    return FloorLaw(
        exponent=exponent.reshape(shape),
        log_amplitude=log_amplitude.reshape(shape),
        irreducible_error=np.where(zero, 0.0, np.exp(theta[:, 2])).reshape(shape),
        mean_squared_residual=(cost / y.shape[-1]).reshape(shape),
        converged=converged.reshape(shape),
        theta=theta.reshape(*shape, 3),
    )


def aicc(mean_squared_residual: np.ndarray, n_sizes: int, n_parameters: int) -> np.ndarray:
    """Akaike's criterion with the small-sample correction, S log MSR + 2k + 2k(k + 1)/(S − k − 1).

    k counts the law's parameters and the residual variance. The residuals are those of the curve averaged over
    draws; their correlation between sizes is not modelled, so the criterion describes and does not test.

    Args:
        mean_squared_residual: mean squared log residual.
        n_sizes: S, the sizes fitted.
        n_parameters: 2 for the pure law, 3 for the law with irreducible error.

    Returns:
        The criterion; NaN where S ≤ k + 1, for then it does not exist.
    """
    k = n_parameters + 1
    if n_sizes <= k + 1:
        return np.full_like(np.asarray(mean_squared_residual, dtype=np.float64), np.nan)
    rounding = 1e-24  # residuals below this are rounding and tell nothing about which law is better
    return n_sizes * np.log(mean_squared_residual + rounding) + 2 * k + 2 * k * (k + 1) / (n_sizes - k - 1)


def draw_exponents(law: FloorLaw, x: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """Each draw's exponent by linearization at the common fit; their mean is the common exponent.

    A fit per draw would be biased where a single draw hardly identifies the floor; the linear influence of a draw
    on the common fit is not, and keeps the draws of two predictors paired.

    Args:
        law: fit of the mean curve over draws, of shape `(...)`.
        x: centred log sizes `(n_sizes,)`.
        curves: log errors, one curve a draw, `(..., n_draws, n_sizes)`; NaN for a draw that was not fitted.

    Returns:
        Exponents `(..., n_draws)`; NaN where the fit did not converge or has E = 0, where it has no such derivative.
    """
    J = jacobian(law.theta, x)
    common = np.nanmean(curves, axis=-2, keepdims=True)
    influence = (curves - common) @ np.linalg.pinv(J)[..., 1, :, None]
    smooth = law.converged & (law.irreducible_error > 0.0)
    return np.where(smooth[..., None], law.exponent[..., None] * (1.0 + influence[..., 0]), np.nan)
