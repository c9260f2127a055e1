"""Variance between replicates, pooled over the cells of a study that the same draws serve."""

import numpy as np

from ntk_atlas.statistics.student import finite_mean


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
