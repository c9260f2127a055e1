"""The rules of decision on planted replicates: regions one-sided and two-sided, all of them or one at least.

Spreads are those of the shipped studies at their quick size: ten draws in equivalence, five or six elsewhere.
"""

from collections.abc import Callable, Sequence

import numpy as np
from worlds.world import THRESHOLD, World, decided

from ntk_atlas.judging import Region
from ntk_atlas.statistics import from_interval, from_replicates, slope

MARGIN = Region(-0.1, 0.1, outside=True)
"""C1's: a change of a tenth of the error."""
EQUAL = Region(1.0 / 1.1, 1.1)
"""C2's: errors within a tenth."""
MOVES = Region(lower=0.2)
"""A3's."""

Noise = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def normal(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return generator.standard_normal(shape)


def skewed(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Gamma noise of mean 0, variance 1 and skewness 1."""
    return 0.5 * generator.gamma(4.0, 1.0, shape) - 2.0


def exponential(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Exponential noise of mean 0, variance 1 and skewness 2."""
    return generator.exponential(1.0, shape) - 1.0


def heavy(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Student's t with three degrees of freedom."""
    return generator.standard_t(3.0, shape)


def uneven(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Replicates whose spreads differ by a factor of three."""
    return generator.standard_normal(shape) * np.geomspace(1.0, 3.0, shape[-1]) / 1.9


def all_of(
    truths: Sequence[float], spread: float, draws: int, region: Region, *,
    noise: Noise = normal, logarithmic: bool = False, any_of: bool = False, shared: float = 0.0,
):  # fmt: skip
    """Comparisons of means over draws, which have `shared` in common; truths of logarithms are given as they are."""
    middle = np.log(truths) if logarithmic else np.asarray(truths, dtype=float)

    def word(generator: np.random.Generator) -> str:
        values = middle[:, None] + spread * noise(generator, (len(middle), draws))
        values = values + shared * generator.standard_normal((len(middle), 1))
        values = np.exp(values) if logarithmic else values
        estimates = [from_replicates(row, logarithmic=logarithmic, common=shared**2) for row in values]
        return decided(estimates, region, any_of=any_of)

    return word


def variance_slope(truth: float, networks: int = 2000):
    """Var log Θ of untrained networks at four depths with the normal interval of a variance, and its slope in λ."""
    ratio = np.array([0.06, 0.11, 0.16, 0.31])

    def word(generator: np.random.Generator) -> str:
        true = 0.02 + truth * ratio
        found = true * generator.chisquare(networks - 1, len(ratio)) / (networks - 1)
        error = 1.96 * np.sqrt(2.0 / networks)
        parts = [from_interval(v, v * (1 - error), v * (1 + error), confidence=0.95, n=networks) for v in found]
        return decided([slope(parts, ratio)], Region(lower=1.0))

    return word


def width_slope(truth: float):
    """Exponent in the width of the distance of five networks at each of three widths from the limit."""
    x, spreads = np.log([64.0, 128.0, 256.0]), np.array([[0.2], [0.3], [0.25]])

    def word(generator: np.random.Generator) -> str:
        samples = truth * x[:, None] + spreads * generator.standard_normal((3, 5))
        return decided([slope([from_replicates(row) for row in samples], x)], Region(-0.65, -0.35))

    return word


SUPPORTED, REJECTED = ("supported",), ("not supported",)
_T = "t intervals of six exponential logarithms; what is as skewed, movement, is judged by medians"
_C1 = {"spread": 0.08, "draws": 10, "region": MARGIN, "any_of": True}
_C2 = {"spread": 0.06, "draws": 10, "region": EQUAL, "logarithmic": True}
_A3 = {"spread": 0.4, "draws": 6, "region": MOVES, "logarithmic": True}

WORLDS = (
    World("one of two", "no change", all_of([0.0, 0.0], **_C1), REJECTED),
    World("one of two", "one at the margin", all_of([0.1, 0.0], **_C1), THRESHOLD),
    World("one of two", "one at twice the margin", all_of([0.2, 0.0], **_C1), SUPPORTED, powerful=True),
    World("one of two", "one at the margin, spreads differ", all_of([0.1, 0.0], **_C1, noise=uneven), THRESHOLD),
    World("one of two", "one at the margin, skewed", all_of([0.1, 0.0], **_C1, noise=skewed), THRESHOLD, skewed=True),
    World("one of two", "one at the margin, draws share", all_of([0.1, 0.0], **_C1, shared=0.05), THRESHOLD),
    World("all of three", "ratio 1", all_of([1.0] * 3, **_C2), SUPPORTED, powerful=True),
    World("all of three", "one ratio at the margin", all_of([1.1, 1.0, 1.0], **_C2), THRESHOLD),
    World("all of three", "all ratios at the margin", all_of([1.1] * 3, **_C2), THRESHOLD),
    World("all of three", "one ratio at twice the margin", all_of([1.21, 1.0, 1.0], **_C2), REJECTED),
    World("all of three", "all at the margin, skewed", all_of([1.1] * 3, **_C2, noise=skewed), THRESHOLD, skewed=True),
    World("all of three", "all at the margin, draws share", all_of([1.1] * 3, **_C2, shared=0.04), THRESHOLD),
    World("one mean", "well below the threshold", all_of([0.05], **_A3), REJECTED),
    World("one mean", "at the threshold", all_of([0.2], **_A3), THRESHOLD),
    World("one mean", "at twice the threshold", all_of([0.4], **_A3), SUPPORTED, powerful=True),
    World("one mean", "at the threshold, heavy tails", all_of([0.2], **_A3, noise=heavy), THRESHOLD),
    World("one mean", "at the threshold, skewed", all_of([0.2], **_A3, noise=skewed), THRESHOLD, skewed=True),
    World("one mean", "at the threshold, exponential", all_of([0.2], **_A3, noise=exponential), THRESHOLD, beyond=_T),
    World("slope of Var log Θ", "at the threshold", variance_slope(1.0), THRESHOLD),
    World("slope of Var log Θ", "none", variance_slope(0.0), REJECTED),
    World("slope of Var log Θ", "at twice the threshold", variance_slope(2.0), SUPPORTED, powerful=True),
    World("exponent in the width", "five networks a width, at the margin", width_slope(-0.35), THRESHOLD),
    World("exponent in the width", "five networks a width, −1/2", width_slope(-0.5), SUPPORTED),
)
