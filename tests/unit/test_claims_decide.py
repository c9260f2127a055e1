"""Estimates, Holm's method, and the logic of verdicts."""

import itertools
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from ntk_atlas.judging import Comparison, Region, decide, decide_any, holm
from ntk_atlas.statistics import Estimate, combination, from_interval, from_replicates, median_of, slope

NORMAL = {"n": 100, "confidence": 0.95}


def verdict(*comparisons: tuple[Estimate, Region], trained: bool = False, least: int = 5):
    named = [Comparison(f"number {i}", estimate, region, trained) for i, (estimate, region) in enumerate(comparisons)]
    return decide(named, confidence=0.95, least_replicates=least)


def normal(value: float, error: float = 1.0) -> Estimate:
    return Estimate(value, error, error, n=100)


def test_replicates_give_students_interval():
    values = np.array([1.0, 4.0, 2.0, 7.0, np.nan])
    estimate = from_replicates(values)
    expected = stats.t.interval(0.9, 3, values[:4].mean(), stats.sem(values[:4]))
    np.testing.assert_allclose(estimate.interval(0.9), [3.5, *expected])
    assert estimate.n == 4
    one_sided = stats.ttest_1samp(values[:4], 2.0, alternative="greater").pvalue
    assert estimate.p_above(2.0) == pytest.approx(one_sided)
    assert estimate.p_below(2.0) == pytest.approx(1 - one_sided)


def test_logarithmic_replicates_are_geometric_and_survive_no_movement_at_all():
    values = np.array([0.1, 0.2, 0.4])
    assert from_replicates(values, logarithmic=True).interval(0.95)[0] == pytest.approx(0.2)
    still = from_replicates(np.zeros(5), logarithmic=True)
    assert still.p_below(0.1) == 0.0 and still.p_above(0.1) == 1.0 and still.interval(0.95)[2] < 1e-7


def test_an_interval_comes_back_as_it_went_in():
    for logarithmic in (False, True):
        estimate = from_interval(2.0, 1.5, 3.5, **NORMAL, logarithmic=logarithmic)
        np.testing.assert_allclose(estimate.interval(0.95), [2.0, 1.5, 3.5])
        wider = estimate.interval(0.99)
        assert wider[1] < 1.5 and wider[2] > 3.5


@settings(deadline=None, derandomize=True)
@given(st.floats(-3, 3), st.floats(0.1, 3), st.floats(-5, 5), st.floats(0.6, 0.99))
def test_p_values_and_intervals_say_the_same(value, error, bound, confidence):
    estimate = normal(value, error)
    _, low, high = estimate.interval(confidence)
    level = 0.5 * (1 - confidence)
    assert (estimate.p_above(bound) <= level) == (low >= bound) or abs(low - bound) < 1e-9
    assert (estimate.p_below(bound) <= level) == (high <= bound) or abs(high - bound) < 1e-9


def test_differences_of_skewed_estimates_cover_as_promised():
    """MOVER on two variance estimates, whose intervals are far from symmetric."""
    rng, truth, n, covered = np.random.default_rng(5), np.array([4.0, 1.0]), 12, 0
    repeats = 2000
    quantiles = stats.chi2.ppf([0.975, 0.025], n - 1)
    for _ in range(repeats):
        found = rng.normal(0, np.sqrt(truth), (n, 2)).var(0, ddof=1)
        ends = found[:, None] * (n - 1) / quantiles
        parts = [from_interval(v, *end, **NORMAL) for v, end in zip(found, ends, strict=True)]
        _, low, high = combination(parts, [1.0, -1.0]).interval(0.95)
        covered += low <= 3.0 <= high
    assert 0.935 < covered / repeats < 0.975


def test_slope_is_least_squares_with_propagated_errors():
    x, y = np.array([0.1, 0.2, 0.5]), np.array([1.0, 1.3, 3.0])
    fitted = slope([normal(v, 0.2) for v in y], x)
    assert fitted.value == pytest.approx(np.polyfit(x, y, 1)[0])
    assert fitted.error_low == pytest.approx(0.2 / np.sqrt(((x - x.mean()) ** 2).sum()))


def test_a_slope_through_few_replicates_covers_as_promised():
    """Five networks at each of three widths: normal quantiles would cover 91.5 %, Welch's degrees of freedom 95 %."""
    generator, x, truth = np.random.default_rng(4), np.log([64.0, 128.0, 256.0]), -0.5
    covered = 0
    for _ in range(2000):
        samples = truth * x[:, None] + np.array([[0.2], [0.3], [0.25]]) * generator.standard_normal((3, 5))
        _, low, high = slope([from_replicates(row) for row in samples], x).interval(0.95)
        covered += low <= truth <= high
    assert 0.935 <= covered / 2000 <= 0.97


def test_a_combination_of_one_has_the_degrees_of_freedom_of_that_one():
    one = from_replicates([1.0, 2.0, 4.0, 5.0])
    assert combination([one], [2.0]).freedom == pytest.approx(3.0)
    assert combination([one, Estimate(1.0, 0.0, 0.0, 9)], [1.0, 1.0]).freedom == pytest.approx(3.0)
    assert combination([one, one], [1.0, -1.0]).freedom == pytest.approx(6.0)
    assert combination([Estimate(1.0, 0.1, 0.1, 9)], [1.0]).freedom == np.inf


def slow_holm(p, level):
    """Closed testing with Bonferroni's test of every intersection: what Holm's method is a short cut for."""
    m = len(p)
    sets = [s for r in range(1, m + 1) for s in itertools.combinations(range(m), r)]
    rejected = {s: min(p[i] for i in s) <= level / len(s) for s in sets}
    return [all(rejected[s] for s in sets if i in s) for i in range(m)]


@settings(deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=5))
def test_holm_is_closed_testing(p):
    assert list(holm(p, 0.05)) == slow_holm(p, 0.05)


def test_all_must_hold_and_one_failure_suffices():
    positive = Region(lower=0.0)
    assert verdict((normal(5), positive), (normal(3), positive)).word == "supported"
    assert verdict((normal(5), positive), (normal(1), positive)).word == "inconclusive"
    assert verdict((normal(5), positive), (normal(-4), positive)).word == "not supported"
    assert verdict((normal(-1), positive)).word == "inconclusive", "a missing significance supports nothing"


def test_support_needs_no_correction_and_rejection_does():
    positive = Region(lower=0.0)
    assert verdict(*[(normal(2.0), positive)] * 9).word == "supported"
    assert verdict((normal(-2.0), positive)).word == "not supported"
    found = verdict((normal(-2.0), positive), *[(normal(9.0), positive)] * 8)
    assert found.word == "inconclusive" and found.low < -4.5 and found.high > 0.0, "the interval shown is Holm's"


def test_two_sided_regions():
    inside, outside = Region(-1.0, 1.0), Region(-1.0, 1.0, outside=True)
    for value, error, words in (
        (0.0, 0.2, ("supported", "not supported")),
        (0.0, 2.0, ("inconclusive", "inconclusive")),
        (2.0, 0.2, ("not supported", "supported")),
        (-2.0, 0.2, ("not supported", "supported")),
        (1.0, 0.2, ("inconclusive", "inconclusive")),
    ):
        found = tuple(verdict((normal(value, error), region)).word for region in (inside, outside))
        assert found == words, value
    assert (str(inside), str(outside)) == ("-1 … 1", "outside -1 … 1")
    assert (str(Region(lower=0.25)), str(Region(upper=0.1))) == ("> 0.25", "< 0.1")


def test_the_comparison_shown_is_the_one_furthest_from_holding():
    found = verdict((normal(9), Region(lower=0)), (normal(3), Region(lower=0)), (normal(6), Region(lower=0)))
    assert found.comparison.label == "number 1" and "number 1 is 3 [" in found.reason and "3 of 3" in found.reason


def test_few_replicates_neither_support_nor_reject():
    few, many = from_replicates([3.0, 3.1, 3.2]), from_replicates(np.arange(6) * 0.1 + 3.0)
    positive, negative = Region(lower=0.0), Region(upper=0.0)
    assert verdict((few, positive), trained=True).word == "inconclusive"
    assert verdict((few, negative), trained=True).word == "inconclusive"
    assert "rests on 3 replicate(s), 5 are needed" in verdict((few, positive), trained=True).reason
    assert verdict((few, positive)).word == "supported", "bootstrap estimates have networks, not replicates"
    assert verdict((many, positive), (few, positive), trained=True).word == "inconclusive"
    assert verdict((many, negative), (few, positive), trained=True).word == "not supported"


def test_nothing_to_go_by():
    single = from_replicates([3.0])
    found = verdict((single, Region(lower=0.0)))
    assert found.word == "inconclusive" and np.isnan(found.value) and "rests on 1 replicate(s)" in found.reason
    assert verdict((normal(5), Region(lower=0.0)), (single, Region(lower=0.0))).word == "inconclusive"
    with pytest.raises(ValueError, match="without comparisons"):
        verdict()


@pytest.mark.parametrize("truth", [0.0, -0.3])
def test_false_support_is_as_rare_as_promised(truth):
    """Draws of a number at or below its threshold: support in no more than 2.5 % of studies."""
    rng = np.random.default_rng(11)
    words = [verdict((from_replicates(rng.normal(truth, 1, 5)), Region(lower=0.0))).word for _ in range(2000)]
    assert words.count("supported") / 2000 < 0.025 + 3 * np.sqrt(0.025 * 0.975 / 2000)


def test_false_rejection_of_a_true_compound_is_as_rare_as_promised():
    """Six numbers exactly at their thresholds, the worst case for "at least one fails"."""
    rng, region = np.random.default_rng(12), Region(lower=0.0)
    words = [verdict(*[(from_replicates(rng.normal(0, 1, 6)), region) for _ in range(6)]).word for _ in range(1500)]
    assert words.count("not supported") / 1500 < 0.025 + 3 * np.sqrt(0.025 * 0.975 / 1500)


def test_what_does_not_decide_keeps_a_verdict_open_and_turns_none():
    inside, outside, below = normal(-5.0), normal(5.0), Region(upper=0.0)
    rate = Comparison("rate", outside, below, decides=False)

    def words(*limits: Estimate) -> str:
        named = [Comparison(f"limit {i}", limit, below) for i, limit in enumerate(limits)]
        return decide([*named, rate], confidence=0.95, least_replicates=5).word

    assert words(inside, inside) == "inconclusive"
    found = decide([Comparison("limit", normal(2.0), below), rate], confidence=0.95, least_replicates=5)
    assert found.word == "not supported" and found.comparison.label == "limit"
    assert found.low == pytest.approx(2.0 - stats.norm.ppf(0.975)), (
        "one comparison decides: Holm has nothing to correct"
    )
    kept = Comparison("rate", inside, below, decides=False)
    found = decide([Comparison("limit", normal(-7.0), below), kept], confidence=0.95, least_replicates=5)
    assert found.word == "supported" and found.comparison.label == "limit", "the number that decides is the one shown"


def replicated(value: float, spread: float, n: int, common: float = 0.0) -> Estimate:
    """Replicates whose mean and standard deviation are exactly these."""
    grid = np.linspace(-1.0, 1.0, n)
    return from_replicates(value + spread * grid / grid.std(ddof=1), common=common)


def test_a_verdict_has_both_intervals_and_is_judged_by_that_for_new_data():
    alone, shared = replicated(1.0, 1.0, 9), replicated(1.0, 1.0, 9, common=0.25)
    here = 1.0 + stats.t.ppf([0.025, 0.975], 8) / 3.0
    total = 1.0 / 9.0 + 0.25
    new = 1.0 + stats.t.ppf([0.025, 0.975], 8) * np.sqrt(total)
    found = verdict((alone, Region(lower=0.0)))
    np.testing.assert_allclose([found.low, found.high, found.low_this_data, found.high_this_data], [*here, *here])
    assert found.word == "supported" and "for new data" not in found.reason
    found = verdict((shared, Region(lower=0.0)))
    np.testing.assert_allclose([found.low, found.high, found.low_this_data, found.high_this_data], [*new, *here])
    assert found.word == "inconclusive"
    assert (
        f"[{new[0]:.3g}, {new[1]:.3g}] for new data, [{here[0]:.3g}, {here[1]:.3g}] for this data set" in found.reason
    )


Z = stats.norm.ppf(0.975)


@pytest.mark.parametrize(
    ("comparisons", "word", "nearness"),
    [
        # The interval ends at 3 − z: so far from 0 in half-widths z.
        ([(3.0, Region(lower=0.0))], "supported", 3.0 / Z - 1.0),
        ([(3.0, Region(lower=0.0)), (2.2, Region(lower=0.0))], "supported", 2.2 / Z - 1.0),
        ([(3.0, Region(upper=0.0))], "not supported", 3.0 / Z - 1.0),
        # One of the two fails: rejected at half the level.
        ([(3.0, Region(upper=0.0)), (-9.0, Region(upper=0.0))], "not supported", 3.0 / stats.norm.ppf(0.9875) - 1.0),
        # Both fail: only if both turned would the word change.
        ([(3.0, Region(upper=0.0)), (4.0, Region(upper=0.0))], "not supported", 4.0 / stats.norm.ppf(0.9875) - 1.0),
        ([(1.5, Region(lower=0.0))], "inconclusive", 1.0 - 1.5 / Z),
        ([(-1.5, Region(lower=0.0))], "inconclusive", 1.0 - 1.5 / Z),
        # Both would have to hold; the second is further from it.
        ([(1.5, Region(lower=0.0)), (1.0, Region(lower=0.0))], "inconclusive", 1.0 - 1.0 / Z),
        # Between: the nearer bound; beyond: the bound that it has passed.
        ([(0.5, Region(-3.0, 4.0))], "supported", 3.5 / Z - 1.0),
        ([(7.0, Region(-3.0, 4.0))], "not supported", 3.0 / Z - 1.0),
        ([(7.0, Region(-3.0, 4.0, outside=True))], "supported", 3.0 / Z - 1.0),
    ],
)
def test_how_near_a_verdict_is_to_another_word(comparisons, word, nearness):
    found = verdict(*((normal(value), region) for value, region in comparisons))
    assert (found.word, found.nearness) == (word, pytest.approx(nearness))


def test_nearness_of_a_claim_that_one_comparison_supports():
    """Its opposite is that all lie within the margin: supported by one beyond it at Holm's level."""
    margin = Region(-1.0, 1.0, outside=True)

    def found(*values: float):
        named = [Comparison(str(value), normal(value, 0.3), margin) for value in values]
        return decide_any(named, confidence=0.95, least_replicates=5)

    one = found(3.0, 0.0)
    assert (one.word, one.nearness) == ("supported", pytest.approx(2.0 / (0.3 * stats.norm.ppf(0.9875)) - 1.0))
    none = found(0.1, 0.0)
    assert (none.word, none.nearness) == ("not supported", pytest.approx(0.9 / (0.3 * Z) - 1.0))


def test_nearness_counts_half_widths_of_the_interval_for_new_data():
    wide = Estimate(3.0, 0.6, 0.6, n=100, common=0.64)
    found = verdict((wide, Region(lower=0.0)))
    assert found.nearness == pytest.approx(3.0 / Z - 1.0)


def test_without_enough_replicates_nothing_is_near():
    few = from_replicates([3.0, 3.1, 3.2])
    assert np.isnan(verdict((few, Region(lower=0.0)), trained=True).nearness)
    both = verdict((replicated(-1.0, 1.0, 6), Region(lower=0.0)), (few, Region(lower=0.0)), trained=True)
    assert both.nearness == pytest.approx(1.0 - 1.0 / (stats.t.ppf(0.9875, 5) / np.sqrt(6))), "only rejection is left"


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.floats(-9, 9), st.sampled_from(["above", "between", "beyond"])), min_size=1, max_size=4))
def test_a_definite_word_stands_until_intervals_are_wider_by_its_nearness(numbers):
    regions = {"above": Region(lower=0.0), "between": Region(-1.0, 1.0), "beyond": Region(-1.0, 1.0, outside=True)}

    def found(error: float):
        return verdict(*((normal(value, error), regions[kind]) for value, kind in numbers))

    first = found(1.0)
    assert first.nearness >= 0.0
    if first.word != "inconclusive":
        widened = (1.0 + first.nearness) * np.array([1.0 - 1e-9, 1.0 + 1e-9])
        assert [found(error).word for error in widened] == [first.word, "inconclusive"]


def least_draws(distance: float, spread: float, level: float = 0.025) -> int:
    return next(d for d in range(2, 5000) if stats.t.ppf(1 - level, d - 1) * spread / np.sqrt(d) <= distance)


def test_an_open_verdict_says_how_many_draws_would_decide_it():
    positive = Region(lower=0.0)
    expected = least_draws(0.5, 1.0)
    assert expected == 18
    above = verdict((replicated(0.5, 1.0, 6), positive), trained=True)
    assert above.word == "inconclusive" and f"{expected} draws would decide it if the value stayed 0.5" in above.reason
    below = verdict((replicated(-0.5, 1.0, 6), positive), (replicated(9.0, 1.0, 6), positive), trained=True)
    assert f"{least_draws(0.5, 1.0, 0.0125)} draws would decide it if the value stayed -0.5" in below.reason
    slowest = verdict((replicated(0.5, 1.0, 6), positive), (replicated(0.3, 1.0, 6), positive), trained=True)
    assert f"{least_draws(0.3, 1.0)} draws would decide it if the value stayed 0.3" in slowest.reason, (
        "all must come to hold"
    )
    networks = verdict((normal(1.0), positive))
    assert "385 networks would decide it if the value stayed 1" in networks.reason, "100 · 1.96²"
    assert "would decide" not in verdict((normal(3.0), positive)).reason
    assert "would decide" not in verdict((normal(-3.0), positive)).reason


def test_what_would_decide_is_said_of_the_replicates_of_each_number():
    """More of the untrained networks beside trained ones are not draws; a claim may name its replicates."""
    positive = Region(lower=0.0)
    untrained, trained = Comparison("u", normal(1.0), positive), partial(Comparison, "t", trained=True)
    keys = {"confidence": 0.95, "least_replicates": 5}

    def reason(*comparisons):
        return decide(comparisons, **keys).reason

    sure, unsure = (trained(replicated(x, 1.0, 6), positive) for x in (9.0, 0.5))
    assert "385 networks would decide it" in reason(untrained, sure)
    both = reason(untrained, unsure)
    assert "385 networks would decide it if the value stayed 1, and 18 draws would decide it" in both
    named = replace(unsure, replicates="networks of a cell")
    assert "18 networks of a cell would decide it" in reason(named, sure)
    assert "draws" not in reason(Comparison("u", normal(-1.0), positive), sure)


def test_where_draws_share_too_much_only_a_larger_data_set_decides():
    positive = Region(lower=0.0)
    shared = verdict((replicated(0.5, 0.3, 6, common=0.1), positive), trained=True)
    assert "no number of draws would decide it, a data set" in shared.reason
    factor = float(shared.reason.split("a data set ")[1].split()[0])
    # With x times the data and draws the variance is (0.3²/6 + 0.1)/x, and Student's quantile has 6x − 1 degrees.
    expected = optimize.brentq(lambda x: stats.t.ppf(0.975, 6 * x - 1) ** 2 * (0.015 + 0.1) / x - 0.25, 1.0, 9.0)
    assert factor == pytest.approx(expected, rel=0.05) and factor > 2.0
    some = verdict((replicated(0.5, 1.0, 6, common=0.02), positive), trained=True)
    draws = int(some.reason.split(" draws would decide it")[0].split()[-1])
    assert draws > least_draws(0.5, 1.0), "what is common makes draws worth less"
    near = verdict((replicated(1e-4, 1.0, 6), positive), trained=True)
    assert "0.0001 is so near the threshold that 1,000 draws would not decide it" in near.reason


def test_a_comparison_that_is_open_decides_nothing_and_its_reason_is_said():
    above, below = (from_replicates([x, x + 0.01, x - 0.01, x + 0.02, x]) for x in (1.0, -1.0))
    region, keys = Region(lower=0.0), {"confidence": 0.95, "least_replicates": 5}
    good = Comparison("a", above, region, trained=True)
    for estimate in (above, below):
        gated = Comparison("b", estimate, region, trained=True, open="the budget bends it")
        alone, beside = decide([gated], **keys), decide([good, gated], **keys)
        assert alone.word == beside.word == "inconclusive"
        assert alone.reason.startswith("0 of 1 comparisons hold; b: the budget bends it; measured, not judged: b is")
        assert beside.reason.startswith("1 of 2 comparisons hold; b: the budget bends it; of the others")
    rejecting = Comparison("c", below, region, trained=True)
    gated = Comparison("b", above, region, trained=True, open="the budget bends it")
    assert decide([gated, rejecting], **keys).word == "not supported", "what is judged still counts"


def test_the_interval_of_a_rejection_lies_outside_even_where_medians_fail_at_a_later_step():
    """Seven networks all beyond a bound have p = 1/128: enough for Holm's third step of five, not for his first two."""
    region, inside = Region(upper=0.1), replicated(-9.0, 1.0, 7)
    median, sure = median_of([0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1]), replicated(5.0, 1.0, 7)
    found = verdict(*((e, region) for e in (median, sure, sure, inside, inside)), trained=True)
    assert found.word == "not supported" and "3 fail" in found.reason
    assert found.low > 0.1 and found.value == pytest.approx(5.0)


def test_medians_of_too_few_say_how_many_would_do():
    """Five values have no interval at 95 % whatever they are; the smallest of six does for one that is above all."""
    found = verdict((median_of([0.5, 0.6, 0.7, 0.8, 0.9]), Region(upper=0.1)), trained=True)
    assert found.word == "inconclusive" and "6 draws would decide it if the value stayed 0.7" in found.reason


def test_what_no_number_of_draws_would_decide_is_not_promised():
    """A comparison that does not decide and lies outside of its region keeps the verdict open, whatever the draws."""
    near, off = replicated(0.5, 1.0, 6), replicated(-3.0, 1.0, 6)
    named = [Comparison("a", near, Region(lower=0.0), True), Comparison("rate", off, Region(lower=0.0), True, False)]
    found = decide(named, confidence=0.95, least_replicates=5)
    assert found.word == "inconclusive" and "decide it" not in found.reason
