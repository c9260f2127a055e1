"""A6: variance of trained networks over that of theory, at the last epoch."""

from ntk_atlas.claims import Claim, Threshold
from ntk_atlas.study.claim_needs import OUTPUT_VARIANCE, two_cells

CLAIM = Claim(
    statement=(
        "NTK theory predicts the variance of outputs over initializations for shallow wide networks in all phases, and "
        "fails for deep narrow ones in at least one, the more so the larger L/M."
    ),
    statistic=(
        "Variance over initializations of trained outputs on test points over that of the infinite-width theory, at "
        "the last epoch: shallow and wide, deep and narrow, and its trend in L/M"
    ),
    compared=(
        (
            "variance of trained outputs over theory's, last epoch: shallowest widest cell, every init scale",
            "1/1.3 … 1.3",
        ),
        (
            "deepest narrowest cell: **at least one** init scale (Bonferroni), the one that fails most is named",
            "outside 1/1.3 … 1.3",
        ),
        (
            (
                "slope in L/M of the logarithm of its ratio over all cells; it can keep the verdict open, and rejects "
                "nothing"
            ),
            "> 0",
        ),
    ),
    source="abstract; where the theory fails is our reading",
    thresholds={
        # Ratio of variances, either way, up to which theory holds.
        "factor": Threshold(
            value=1.3,
            reason=(
                "The variance of 100 networks is known to some 15 %, averaged over correlated test points; a margin "
                "below that could not be shown to hold."
            ),
        ),
        # Fewest networks a cell.
        "least_networks": Threshold(
            value=24,
            reason="The bootstrap of a variance from fewer networks covers too little.",
        ),
    },
    needs=(
        OUTPUT_VARIANCE,
        two_cells,
    ),
    trained=False,
)

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.cubes.files import SHARED_TRAIN
from ntk_atlas.judging.decision import Comparison, Measurement, NotJudgedError, Region, remarks
from ntk_atlas.judging.evidence import ONE_DRAW, Evidence, at_largest_n, cell_estimate, cell_text, need
from ntk_atlas.statistics.estimates import Estimate, combination, from_interval, slope

RATIO, OWN, MIDDLE = (
    f"variance_ratio_{pair}" for pair in ("network_infinite_ntk", "network_linearized", "linearized_infinite_ntk")
)
_ENOUGH_DRAWS = 5
"""From so many on, draws are the replicates; below, networks are."""


@dataclass(frozen=True)
class LargestOf(Estimate):
    """max_k max(r_k, 1/r_k) of ratios r_k: how far the one furthest from 1 is, as a factor.

    It is above a factor if one of the ratios is beyond it, by Bonferroni's correction for their number, and below if
    all are within, an intersection–union test that needs none.

    Attributes:
        ratios: the ratios, logarithmic; `value`, errors and `n` are those of the furthest.
        place: which of them it is.
    """

    ratios: tuple[Estimate, ...] = ()
    place: int = 0

    @classmethod
    def of(cls, ratios: Sequence[Estimate]) -> "LargestOf":
        """The largest of ratios."""
        place = int(np.argmax([abs(ratio.value) if ratio.known else -1.0 for ratio in ratios]))
        first = ratios[place] if ratios[place].value >= 0.0 else _negative(ratios[place])
        return cls(
            first.value,
            first.error_low,
            first.error_high,
            first.n,
            first.freedom,
            True,
            first.common,
            tuple(ratios),
            place,
        )

    @property
    def known(self) -> bool:
        """Whether all ratios are."""
        return all(ratio.known for ratio in self.ratios)

    def interval(self, confidence: float, *, new_data: bool = True) -> tuple[float, float, float]:
        """See `Estimate.interval`: from the largest corrected low end to the largest high end."""
        tail = 0.5 * (1.0 - confidence) / len(self.ratios)
        corrected = [self._factor(r.interval(1.0 - 2.0 * tail, new_data=new_data)) for r in self._scaled_ratios()]
        plain = [self._factor(r.interval(confidence, new_data=new_data)) for r in self._scaled_ratios()]
        low, high = max(ends[0] for ends in corrected), max(ends[1] for ends in plain)
        return float(np.exp(self.value)), low, high

    def p_above(self, bound: float) -> float:
        """See `Estimate.p_above`."""
        beyond = Region(1.0 / bound, bound, outside=True)
        return min(1.0, len(self.ratios) * min(beyond.p_holds(ratio) for ratio in self._scaled_ratios()))

    def p_below(self, bound: float) -> float:
        """See `Estimate.p_below`."""
        return max(Region(1.0 / bound, bound).p_holds(ratio) for ratio in self._scaled_ratios())

    def clearance(self, bound: float, confidence: float, *, above: bool) -> float:
        """See `Estimate.clearance`."""
        if above:
            tail = 0.5 * (1.0 - confidence) / len(self.ratios)
            beyond = Region(1.0 / bound, bound, outside=True)
            return max(beyond.clearance(ratio, 1.0 - 2.0 * tail) for ratio in self._scaled_ratios())
        return min(Region(1.0 / bound, bound).clearance(ratio, confidence) for ratio in self._scaled_ratios())

    def _scaled_ratios(self) -> list[Estimate]:
        """The ratios at `n` replicates and `common`: other numbers than theirs ask what so many would give."""
        own = self.ratios[self.place]
        shrink, less = (own.n / self.n) ** 0.5, self.common / own.common if own.common > 0.0 else 1.0
        return [
            replace(r, error_low=shrink * r.error_low, error_high=shrink * r.error_high, common=less * r.common)
            for r in self.ratios
        ]

    @staticmethod
    def _factor(interval: tuple[float, float, float]) -> tuple[float, float]:
        """Ends of max(r, 1/r) from those of r: 1 where the interval has 1 in it."""
        _, low, high = interval
        return max(low, 1.0 / high, 1.0) if high > 0.0 else 1.0, max(high, 1.0 / low if low > 0.0 else np.inf)


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """Variance of trained networks over that of theory, at the last epoch.

    Within a factor at the shallowest and widest cell, for every init scale: where theory should hold. Beyond it at the
    deepest and narrowest cell, for at least one init scale, the one named that fails most: where it should not. There
    the logarithm of the ratio, turned so that it is above zero at that cell, must grow with L/M over all cells; that
    trend can keep the verdict open and does not reject the claim, which says where theory fails and not how. The middle
    terms, network over its own linearization and linearization over theory, say why it fails.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    if evidence.output_variance is None:
        raise NotJudgedError("not run", "the file of `output_variance` is not there: run the study anew")
    data, cube = at_largest_n(evidence.output_variance), at_largest_n(evidence.cube)
    need(data, RATIO)
    if SHARED_TRAIN in cube.coords:
        data = data.assign_coords({SHARED_TRAIN: float(cube[SHARED_TRAIN])})
    factor = thresholds.factor.value
    easy, hard = {"depth": 0, "width": data.sizes["width"] - 1}, {"depth": data.sizes["depth"] - 1, "width": 0}
    cells = [(easy | {"init_scale": scale}, Region(1.0 / factor, factor)) for scale in range(data.sizes["init_scale"])]
    deep = [hard | {"init_scale": scale} for scale in range(data.sizes["init_scale"])]
    fewest = min(int(data["n_networks"].isel(cell).min()) for cell in [cell for cell, _ in cells] + deep)
    if fewest < thresholds.least_networks.value:
        raise NotJudgedError(
            "inconclusive",
            f"{fewest} finite networks in a cell, {thresholds.least_networks.value:g} are needed: add grid.seeds",
        )
    confidence = evidence.interval_confidence("output_variance")
    of = "draws" if data.sizes["draw"] >= _ENOUGH_DRAWS else "networks"
    comparisons = [
        Comparison(
            f"variance of networks over theory at {cell_text(data, cell)}",
            _ratio(data, RATIO, cell, confidence),
            region,
            replicates=of,
        )
        for cell, region in cells
    ]
    ratios = [_ratio(data, RATIO, cell, confidence) for cell in deep]
    largest = LargestOf.of(ratios)
    beyond = deep[largest.place]
    where = f"{cell_text(data, beyond)}{_phase_text(data, beyond['init_scale'])}"
    label = f"largest factor between variance of networks and theory, {len(deep)} init scales, at {where}"
    comparisons.append(Comparison(label, largest, Region(lower=factor), replicates=of))
    trend = _trend(data, beyond["init_scale"], np.sign(ratios[largest.place].value), confidence)
    label = f"slope in L/M of the logarithm of that factor at {cell_text(data, {'init_scale': beyond['init_scale']})}"
    comparisons.append(Comparison(label, trend, Region(lower=0.0), decides=False, replicates=of))
    variables = [name for name in (RATIO, OWN, MIDDLE) if name in data]
    parts = [
        f"{words} {_ratio(data, name, beyond, confidence).interval(confidence)[0]:.3g}"
        for name, words in ((OWN, "network over its linearization"), (MIDDLE, "linearization over theory"))
        if name in data
    ]
    middle = f"at {cell_text(data, beyond)}: {', '.join(parts)}" if parts else ""
    return Measurement(comparisons, variables, remarks(middle, _draws_text(data.sizes["draw"])))


def _draws_text(n_draws: int) -> str:
    if n_draws == 1 or n_draws >= _ENOUGH_DRAWS:
        return ONE_DRAW if n_draws == 1 else ""
    return f"{n_draws} draws: the interval is over networks only, of these splits of the data"


def _phase_text(data: xr.Dataset, scale: int) -> str:
    return f", {data['phase'].values[scale]}" if "phase" in data.coords else ""


def _trend(data: xr.Dataset, scale: int, sign: float, confidence: float) -> Estimate:
    """Slope of sign · log ratio in λ = (depth + 1)/width over all cells at one init scale."""
    parts, x = [], []
    for depth in range(data.sizes["depth"]):
        for width in range(data.sizes["width"]):
            ratio = _ratio(data, RATIO, {"depth": depth, "width": width, "init_scale": scale}, confidence)
            plain = replace(ratio, logarithmic=False)
            parts.append(plain if sign > 0.0 else _negative(plain))
            x.append((float(data["depth"].values[depth]) + 1.0) / float(data["width"].values[width]))
    return slope(parts, x)


def _negative(estimate: Estimate) -> Estimate:
    return replace(estimate, value=-estimate.value, error_low=estimate.error_high, error_high=estimate.error_low)


def _ratio(data: xr.Dataset, name: str, place: dict[str, int], confidence: float) -> Estimate:
    """The ratio at the last epoch that has one: t over draws if there are enough, else the bootstrap over networks.

    With few draws the mean of their logarithms has the errors of its networks only; draws have networks of their own.
    """
    values, low, high = (data[f"{name}{suffix}"].isel(place) for suffix in ("", "_low", "_high"))
    last = int(np.flatnonzero(values.notnull().all("draw").values)[-1]) if bool(values.notnull().any()) else -1
    values, low, high = (array.isel(epoch=last) for array in (values, low, high))
    if len(values) >= _ENOUGH_DRAWS:
        return cell_estimate(values.expand_dims("seed"), logarithmic=True)
    networks = data["n_networks"].isel(place).values
    draws = [
        from_interval(*ends, confidence=confidence, n=int(n), logarithmic=True)
        for *ends, n in zip(values.values, low.values, high.values, networks, strict=True)
    ]
    mean = combination(draws, [1.0 / len(draws)] * len(draws))
    return Estimate(mean.value, mean.error_low, mean.error_high, int(networks.sum()), logarithmic=True)
