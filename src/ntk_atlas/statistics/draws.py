"""Variance between draws: pooled over cells, and what draws of one finite data set have in common.

Draws that are permutations of N samples share samples. A sample that is easy to predict lowers the error of every draw
in which it is a test sample, so the mean over D draws varies between data sets by more than S²/D (for repeated splits:
Nadeau & Bengio, Mach. Learn. 52, 2003):

    Var(mean) = S²/D + common,   common = covariance of two draws.

Test samples' part of `common` is measured. Every sample of the data set belongs to one of K folds, the same in every
draw. With u_dg the influence of fold g on the statistic of draw d (linearized: what leaving the fold out changes),

    common_test = K/(K − 1) Σ_g mean over pairs d ≠ d' of u_dg u_d'g,

which is unbiased to first order: influences of different samples are uncorrelated, and those of the same sample in two
draws have its own effect in common. Training samples' part is taken as a tenth of its bound S² n_train/N where the
statistic is one of test errors (`_TRAINING_SHARE`), and as the bound itself for statistics without folds. How often the
intervals cover the truth in simulated populations: `tests/theory/test_new_data_coverage.py`.
"""

import numpy as np

from ntk_atlas.statistics.student import finite_mean, t_critical

_TRAINING_SHARE = 0.1
"""First-order part of the training samples in what the variance between draws leaves; simulated: 0 to .3 for ratios of
errors, 0 to .6 for single errors."""


def common_variance(
    values: np.ndarray,
    fold_share: np.ndarray | None,
    shared_train: float,
    *,
    noise: float = 0.0,
) -> float:
    """Covariance of a statistic of two draws, from the samples that they share.

    Args:
        values: the statistic per draw, from the whole test set and without each fold, `(1 + K, n_draws)`; without
            folds `(1, n_draws)`.
        fold_share: share of a draw's test samples in each fold, `(n_draws, 1 + K)`, zero first; None without folds.
        shared_train: expected share of a draw's training samples that another draw has too.
        noise: part of the variance between draws that is known to be of networks, not of samples.

    Returns:
        The variance that all draws share, at least 0; 0 for fewer than two draws.
    """
    values = np.asarray(values, dtype=np.float64)
    usable = np.isfinite(values).all(0)
    whole, left = values[0, usable], values[1:, usable]
    n_draws = len(whole)
    if n_draws < 2:
        return 0.0
    training = shared_train if np.isfinite(shared_train) else 0.0
    between = max(float(whole.var(ddof=1)) - noise, 0.0)
    if fold_share is None:
        return between * training / (1.0 - training) if training < 1.0 else float("nan")
    influence = (whole - left) * (1.0 - np.asarray(fold_share)[usable, 1:].T)
    pairs = (influence.sum(1) ** 2 - (influence**2).sum(1)).sum() / (n_draws * (n_draws - 1))
    n_folds = len(influence)
    return max(float(pairs) * n_folds / (n_folds - 1), 0.0) + _TRAINING_SHARE * training * between


def for_new_data(
    interval: tuple[float, float, float], common: float, n_draws: int, confidence: float
) -> tuple[float, float]:
    """Ends of a t interval over draws after the variance that draws share is added to its own.

    Args:
        interval: value, low and high end for this data set.
        common: variance that draws share.
        n_draws: draws of the interval.
        confidence: its coverage.

    Returns:
        value ∓ √((value − end)² + t²_{D−1} common).
    """
    value, low, high = interval
    extra = float(t_critical(n_draws, confidence)) ** 2 * common
    return value - float(np.hypot(value - low, extra**0.5)), value + float(np.hypot(high - value, extra**0.5))


def pooled_spread(cells: np.ndarray, n: np.ndarray, uneven: float) -> tuple[np.ndarray, np.ndarray]:
    """Variance between replicates and its degrees of freedom, of each cell; NaN and 0 where it has fewer than two."""
    with np.errstate(invalid="ignore"):
        residuals = cells - finite_mean(cells)[:, None]
    squares = np.where(np.isfinite(residuals), residuals, 0.0) ** 2
    own = np.where(n > 1, squares.sum(-1) / np.maximum(n - 1, 1), np.nan)
    freedom = np.maximum(n - 1, 0).astype(float)
    if (n > 1).sum() < 2 or _uneven(cells[n > 1], uneven):
        return own, freedom
    pooled = squares[n > 1].sum() / freedom[n > 1].sum()
    whole = residuals[n == cells.shape[1]]
    share = effective_cells(whole) if len(whole) > 1 else 1.0
    return np.where(n > 1, pooled, np.nan), np.where(n > 1, share * (cells.shape[1] - 1.0), 0.0)


def effective_cells(residuals: np.ndarray) -> float:
    """(tr Σ)²/tr(Σ²) of cells' residuals `(n_cells, n_replicates)`: from 1 (all alike) to n_cells (independent).

    Both traces are estimated without bias for normal residuals (Srivastava, J. Japan Statist. Soc. 35, 2005).
    """
    m = residuals.shape[1] - 1.0  # degrees of freedom
    if m < 2.0:
        return 1.0
    gram = residuals.T @ residuals / m
    trace, square = float(np.trace(gram)), float((gram**2).sum())
    of_square = m**2 / ((m - 1.0) * (m + 2.0)) * (square - trace**2 / m)
    squared_trace = m**2 / ((m - 1.0) * (m + 2.0)) * ((m + 1.0) / m * trace**2 - 2.0 * square / m)
    if of_square <= 0.0 or squared_trace <= 0.0:
        return float(len(residuals)) if squared_trace > 0.0 else 1.0
    return float(np.clip(squared_trace / of_square, 1.0, len(residuals)))


def _uneven(cells: np.ndarray, level: float) -> bool:
    from scipy.stats import levene

    if cells.shape[1] < 3:
        return False
    groups = [cell[np.isfinite(cell)] for cell in cells]
    groups = [group for group in groups if len(group) > 2]
    return len(groups) > 1 and bool(levene(*groups, center="median").pvalue < level)
