"""Estimates with two-sided errors: the variance between draws, what draws have in common, sums and differences.

An estimate has two intervals. *For this data set*: over further draws of the same finite set, with the errors of the
replicates alone. *For new data of this kind*: over further data sets too. Draws of one finite set have samples in
common, and what those samples do to the estimate does not average out over draws:

    Var(mean over D draws) = S²/D + common,

S² the variance between draws, `common` the covariance of two draws. Claims are judged by the second.

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

Means have Student's interval, medians the exact one of order statistics.

Drifts are skewed: a network that jumps moves tenfold, and with few replicates Student's interval of their logarithms
then lies wholly below the mean in a third of all studies. The median needs no law: of n independent replicates the
number below it is binomial, so that

    P(x₍ₖ₎ > median) = P(Bin(n, ½) ≤ k − 1),

and the interval between the k-th smallest and the k-th largest has its coverage whatever the distribution (David &
Nagaraja, Order Statistics, 2003, section 7.1). Six replicates are the fewest with an interval at 95 %, from the
smallest to the largest; nine leave one out at each end.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, ndtr, ndtri, stdtr

from ntk_atlas.statistics.intervals import finite_mean, t_critical, t_quantile

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


SMALLEST = 1e-8
"""Logarithms are taken of no less: a kernel that has not moved at all moved this much."""


@dataclass(frozen=True)
class Estimate:
    """A number, its errors, and the law of (estimate − truth)/error: Student's t, normal at infinite freedom.

    Attributes:
        value: the estimate, or its logarithm.
        error_low: standard error towards smaller values, for this data set.
        error_high: standard error towards larger values, for this data set.
        n: replicates that it rests on.
        freedom: degrees of freedom of these errors; infinite for bootstrap intervals of many.
        logarithmic: `value` and errors are of the logarithm; intervals and bounds are not.
        common: variance that all replicates share because their draws have samples in common, in units of `value`².
    """

    value: float
    error_low: float
    error_high: float
    n: int
    freedom: float = math.inf
    logarithmic: bool = False
    common: float = 0.0

    @property
    def known(self) -> bool:
        """Whether there is an estimate with an error."""
        return all(math.isfinite(number) for number in (self.value, self.error_low, self.error_high, self.common))

    def interval(self, confidence: float, *, new_data: bool = True) -> tuple[float, float, float]:
        """Value, low and high end at a coverage, in the quantity's own units.

        Args:
            confidence: coverage of the two-sided interval.
            new_data: of the interval for new data of this kind; else of the one for this data set.

        Returns:
            NaN ends where there is no error.
        """
        quantile = float(t_quantile(0.5 + 0.5 * confidence, self.freedom))
        errors = self.error_low, self.error_high
        down, up = (quantile * (self._error(error) if new_data else error) for error in errors)
        return self._in_its_units(self.value, self.value - down, self.value + up)

    def p_above(self, bound: float) -> float:
        """One-sided p value of "the truth for new data is at or below `bound`": small says that it lies above."""
        return self._p(self.value - self._scaled(bound), self.error_low)

    def p_below(self, bound: float) -> float:
        """One-sided p value of "the truth for new data is at or above `bound`": small says that it lies below."""
        return self._p(self._scaled(bound) - self.value, self.error_high)

    def clearance(self, bound: float, confidence: float, *, above: bool) -> float:
        """How far the interval for new data lies beyond a bound: distance of its near end from it, in half-widths.

        Args:
            bound: in the quantity's own units.
            confidence: coverage of the two-sided interval.
            above: beyond is above the bound; else below it.

        Returns:
            (value − bound)/half-width − 1 on the scale of `value`, turned around for `above=False`: 0 where the end is
            at the bound, −1 where the value is; infinite if the error is 0, NaN without an estimate.
        """
        if not self.known:
            return math.nan
        distance = (self.value - self._scaled(bound)) * (1.0 if above else -1.0)
        error = self._error(self.error_low if above else self.error_high)
        half = float(t_quantile(0.5 + 0.5 * confidence, self.freedom)) * error
        if half == 0.0 or math.isinf(distance):
            return math.inf if distance > 0.0 else -math.inf
        return distance / half - 1.0

    def _error(self, error: float) -> float:
        """The error for new data. Its freedom stays as it is: `common` is measured on the same few draws."""
        return math.sqrt(error**2 + self.common)

    def _in_its_units(self, value: float, low: float, high: float) -> tuple[float, float, float]:
        return (_exp(value), _exp(low), _exp(high)) if self.logarithmic else (value, low, high)

    def _scaled(self, bound: float) -> float:
        if not self.logarithmic:
            return bound
        return math.log(bound) if bound > 0.0 else -math.inf

    def _p(self, distance: float, error: float) -> float:
        if not self.known:
            return math.nan
        if math.isinf(distance):
            return 0.0 if distance > 0.0 else 1.0
        error = self._error(error)
        if error == 0.0:
            return 0.0 if distance > 0.0 else 1.0
        return _cdf(-distance / error, self.freedom)


def from_interval(
    value: float, low: float, high: float, *, confidence: float, n: int, logarithmic: bool = False
) -> Estimate:
    """The estimate whose normal interval at `confidence` is (low, high).

    Args:
        value: estimate.
        low: lower end of its (bootstrap) interval.
        high: upper end.
        confidence: coverage of that interval.
        n: replicates.
        logarithmic: treat the logarithm as normal; then all three are above zero.

    Returns:
        The estimate; an end on the wrong side of the value counts as no error that way.
    """
    if logarithmic:
        value, low, high = (math.log(max(x, SMALLEST)) if math.isfinite(x) else math.nan for x in (value, low, high))
    quantile = float(ndtri(0.5 + 0.5 * confidence))
    down, up = (end if math.isnan(end) else max(end, 0.0) / quantile for end in (value - low, high - value))
    return Estimate(value, down, up, n, logarithmic=logarithmic)


def from_replicates(
    values: Sequence[float] | np.ndarray, *, logarithmic: bool = False, common: float = 0.0
) -> Estimate:
    """Mean of replicates with Student's interval, mean ± t_{n−1} s/√n.

    Args:
        values: one number per replicate; what is not finite is left out.
        logarithmic: of the logarithms, so that the mean is the geometric one.
        common: variance that all replicates share, of the logarithms if `logarithmic`.

    Returns:
        The estimate; without an error from fewer than two values.
    """
    usable = np.asarray(values, dtype=np.float64).ravel()
    usable = usable[np.isfinite(usable)]
    if logarithmic:
        usable = np.log(np.maximum(usable, SMALLEST))
    n = len(usable)
    if n < 2:
        value = float(usable[0]) if n else math.nan
        return Estimate(value, math.nan, math.nan, n, logarithmic=logarithmic, common=common)
    error = float(usable.std(ddof=1)) / math.sqrt(n)
    return Estimate(float(usable.mean()), error, error, n, float(n - 1), logarithmic, common)


def combination(estimates: Sequence[Estimate], weights: Sequence[float]) -> Estimate:
    """Σ w_i a_i of independent estimates with the errors of MOVER (Zou & Donner, Stat. Med. 27, 2008, eq. 9–10).

    The distance to the lower end is √Σ w_i² (distance of a_i to the end that lowers the sum)². Where the estimates
    are positively correlated (phases share their random numbers) the interval of a difference is too wide, never too
    narrow. Degrees of freedom are those of Welch and Satterthwaite, (Σ v_i)² / Σ (v_i²/ν_i) with v_i = w_i² times
    the squared error of a_i: a slope through five networks per width has few.

    Args:
        estimates: all on the same scale and of normal or Student's law.
        weights: one per estimate.

    Returns:
        The combination; n is the smallest. Variances that replicates share are added as those of independent estimates.
    """
    low = high = value = common = 0.0
    variances = []
    for estimate, weight in zip(estimates, weights, strict=True):
        down, up = (estimate.error_low, estimate.error_high)[:: 1 if weight >= 0.0 else -1]
        value += weight * estimate.value
        low += (weight * down) ** 2
        high += (weight * up) ** 2
        common += weight**2 * estimate.common
        variances.append(0.5 * weight**2 * (down**2 + up**2))
    fewest = min(estimate.n for estimate in estimates)
    spread = sum(v**2 / e.freedom for v, e in zip(variances, estimates, strict=True))
    freedom = sum(variances) ** 2 / spread if spread > 0.0 else math.inf
    logarithmic = estimates[0].logarithmic
    return Estimate(value, math.sqrt(low), math.sqrt(high), fewest, freedom, logarithmic, common)


def slope(estimates: Sequence[Estimate], x: Sequence[float]) -> Estimate:
    """Least-squares slope of independent estimates against x, Σ (x_i − x̄) a_i / Σ (x_i − x̄)², errors as above."""
    places = np.asarray(x, dtype=np.float64)
    centred = places - places.mean()
    return combination(estimates, list(centred / (centred**2).sum()))


@dataclass(frozen=True)
class MedianEstimate(Estimate):
    """A median of replicates; `value` is that of the sample, errors are the standard errors of the mean.

    Attributes:
        sample: the replicates, on the scale of `value`. If `n` is another number (how many replicates would decide?)
            they stand for n replicates at the same quantiles. What draws share widens them by √(1 + common/error²).
    """

    sample: tuple[float, ...] = ()

    def interval(self, confidence: float, *, new_data: bool = True) -> tuple[float, float, float]:
        """See `Estimate.interval`; an end is infinite where there are too few replicates for one."""
        if not self.known:
            return math.nan, math.nan, math.nan
        return self._in_its_units(self.value, *self._ends(confidence, new_data=new_data))

    def p_above(self, bound: float) -> float:
        """One-sided p value of "the median is at or below `bound`": P(Bin(n, ½) ≤ replicates at or below it)."""
        return self._sign_test(self._values() <= self._scaled(bound))

    def p_below(self, bound: float) -> float:
        """One-sided p value of "the median is at or above `bound`"."""
        return self._sign_test(self._values() >= self._scaled(bound))

    def clearance(self, bound: float, confidence: float, *, above: bool) -> float:
        """See `Estimate.clearance`; −1 where there are too few replicates for an end."""
        if not self.known:
            return math.nan
        end = self._ends(confidence)[0 if above else 1]
        if math.isinf(end):
            return -1.0
        distance, half = (end - self._scaled(bound)) * (1.0 if above else -1.0), abs(end - self.value)
        return distance / half if half > 0.0 and math.isfinite(distance) else math.copysign(math.inf, distance)

    def _ends(self, confidence: float, *, new_data: bool = True) -> tuple[float, float]:
        values = np.sort(self._values(new_data=new_data))
        left_out = int(np.count_nonzero(bdtr(np.arange(len(values)), len(values), 0.5) <= 0.5 * (1.0 - confidence)))
        if not left_out:
            return -math.inf, math.inf
        return float(values[left_out - 1]), float(values[-left_out])

    def _values(self, *, new_data: bool = True) -> np.ndarray:
        values = np.asarray(self.sample)
        if self.n != len(values):
            values = np.quantile(values, (np.arange(self.n) + 0.5) / self.n, method="hazen")
        error = 0.5 * (self.error_low + self.error_high)
        if not new_data or self.common == 0.0 or error == 0.0:
            return values
        return self.value + (values - self.value) * math.sqrt(1.0 + self.common / error**2)

    def _sign_test(self, against: np.ndarray) -> float:
        return float(bdtr(np.count_nonzero(against), self.n, 0.5)) if self.known else math.nan


def median_of(
    values: Sequence[float] | np.ndarray, *, logarithmic: bool = False, common: float = 0.0
) -> MedianEstimate:
    """The median of independent replicates.

    Args:
        values: one number per replicate; what is not finite is left out.
        logarithmic: bounds and interval ends are compared as logarithms; for positive measures.
        common: variance that all replicates share.

    Returns:
        The estimate; without an error from fewer than two values.
    """
    usable = np.asarray(values, dtype=np.float64).ravel()
    usable = usable[np.isfinite(usable)]
    usable = np.log(np.maximum(usable, SMALLEST)) if logarithmic else usable
    n = len(usable)
    value = float(np.median(usable)) if n else math.nan
    error = float(usable.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return MedianEstimate(value, error, error, n, math.inf, logarithmic, common, tuple(usable.tolist()))


def _cdf(t: float, freedom: float) -> float:
    return float(ndtr(t) if math.isinf(freedom) else stdtr(freedom, t))


def _exp(value: float) -> float:
    return math.exp(value) if value < 700.0 else math.inf


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rank correlation over the pairs that are finite; NaN of fewer than three."""
    from scipy.stats import spearmanr

    there = np.isfinite(x) & np.isfinite(y)
    return float(spearmanr(x[there], y[there]).statistic) if there.sum() >= 3 else float("nan")
