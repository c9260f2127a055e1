import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from ntk_atlas.scaling_laws import (
    aicc,
    centred_log_sizes,
    draw_exponents,
    fit_floor_law,
    floor_interval,
    score_t,
    zero_floor_t,
)
from ntk_atlas.scaling_laws.laws import Held, curve, jacobian, solve
from ntk_atlas.streams import numpy_stream

SIZES = np.array([64, 128, 256, 512, 1024, 2048, 4096])
X = centred_log_sizes(SIZES)


def planted(exponent, log_amplitude, log_ratio):
    """Log errors and E of a law whose E is exp(log_ratio) of its decaying part at the middle size."""
    floor = np.exp(log_amplitude - exponent * np.log(SIZES).mean() + log_ratio)
    return np.log(floor + np.exp(log_amplitude) * SIZES**-exponent), floor


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.floats(0.15, 2.0), st.floats(-8.0, 8.0), st.floats(-2.5, 2.0))
def test_planted_law_is_recovered_without_noise(exponent, log_amplitude, log_ratio):
    log_errors, floor = planted(exponent, log_amplitude, log_ratio)
    law = fit_floor_law(SIZES, log_errors)
    assert law.converged
    assert law.exponent == pytest.approx(exponent, rel=1e-6)
    assert law.irreducible_error == pytest.approx(floor, rel=1e-6)
    assert law.log_amplitude == pytest.approx(log_amplitude, abs=1e-5)
    assert law.mean_squared_residual < 1e-20


def test_error_of_the_fit_shrinks_with_the_noise():
    log_errors, floor = planted(0.5, 0.0, -1.0)
    wiggle = numpy_stream("wiggle").normal(size=(20, len(SIZES)))
    off = []
    for scale in (1e-2, 1e-3, 1e-4):
        law = fit_floor_law(SIZES, log_errors + scale * wiggle)
        off.append([np.abs(law.exponent - 0.5).max(), np.abs(law.irreducible_error / floor - 1.0).max()])
    np.testing.assert_allclose(np.array(off[1]) / off[2], 10.0, rtol=0.1)
    assert np.all(np.array(off[2]) < 2e-3)


@pytest.mark.parametrize("scale", [1e-10, 1e-8, 1e-6, 1e-5, 1e-4])
def test_small_noise_moves_the_fit_to_first_order(scale):
    # The cost's own rounding hides the last steps of the search, and they are not needed.
    rng = numpy_stream("first order")
    exponent, level, log_ratio = rng.uniform([0.3, -6.0, -1.0], [1.5, 3.0, 1.0], size=(300, 3)).T
    clean = np.stack([level, np.log(exponent), level + log_ratio], axis=-1)
    noise = scale * rng.normal(size=(300, len(SIZES)))
    law = fit_floor_law(SIZES, curve(clean, X) + noise)
    assert law.converged.all()
    moved = (np.linalg.pinv(jacobian(clean, X)) @ noise[..., None])[..., 0]
    assert np.abs(moved).max() > 20 * scale
    np.testing.assert_allclose(law.theta - clean, moved, rtol=0.0, atol=2e-3 * scale + 1000.0 * scale**2 + 1e-11)


def test_a_search_that_is_cut_short_has_not_converged(monkeypatch):
    monkeypatch.setattr("ntk_atlas.scaling_laws.laws.MAX_STEPS", 3)
    y = planted(0.5, 0.0, -1.0)[0] + 0.1 * numpy_stream("short").normal(size=(50, len(SIZES)))
    assert not fit_floor_law(SIZES, y).converged.any()


def test_search_finds_the_minimum_that_scipy_finds_from_many_starts():
    rng = numpy_stream("twin")
    for exponent, log_ratio in ((0.3, 0.0), (0.6, -1.5), (1.2, 1.0), (0.4, -3.0)):
        y = planted(exponent, 0.5, log_ratio)[0] + 0.05 * rng.normal(size=len(SIZES))
        law = fit_floor_law(SIZES, y)
        assert law.converged
        ends = [
            least_squares(
                lambda theta, y=y: np.log(np.exp(theta[2]) + np.exp(theta[0] - np.exp(theta[1]) * X)) - y,
                (y.mean(), np.log(start), y.min() - gap),
                xtol=1e-14, ftol=1e-14, gtol=1e-14,
            )
            for start in (0.1, 0.5, 1.5) for gap in (0.1, 1.0, 4.0)
        ]  # fmt: skip
        best = min(ends, key=lambda end: end.cost)
        assert law.mean_squared_residual == pytest.approx(2 * best.cost / len(SIZES), rel=1e-8, abs=1e-12)
        if law.irreducible_error > 0:
            assert law.exponent == pytest.approx(np.exp(best.x[1]), rel=1e-4)


def test_stack_equals_one_by_one():
    y = planted(0.5, 0.0, -1.0)[0] + 0.1 * numpy_stream("batch").normal(size=(2, 3, len(SIZES)))
    stacked = fit_floor_law(SIZES, y)
    assert stacked.exponent.shape == (2, 3)
    for index in np.ndindex(2, 3):
        assert stacked.exponent[index] == pytest.approx(float(fit_floor_law(SIZES, y[index]).exponent), rel=1e-10)


def test_pure_law_and_downward_bend_end_at_zero_floor_with_the_pure_exponent():
    bent = 1.0 - 0.4 * X - 0.05 * X**2
    law = fit_floor_law(SIZES, bent)
    assert law.irreducible_error == 0.0
    assert law.converged
    assert law.exponent == pytest.approx(0.4 * 1.0, abs=1e-10)  # X² is even about the centre of these sizes
    assert law.log_amplitude == pytest.approx(float(bent.mean() + 0.4 * np.log(SIZES).mean()), abs=1e-9)


def test_error_times_c_leaves_the_exponent_and_scales_the_floor():
    y = planted(0.5, 0.0, -1.0)[0] + 0.05 * numpy_stream("unit").normal(size=len(SIZES))
    law, scaled = fit_floor_law(SIZES, y), fit_floor_law(SIZES, y + np.log(1e-6))
    assert scaled.exponent == pytest.approx(float(law.exponent), rel=1e-9)
    assert scaled.irreducible_error == pytest.approx(1e-6 * float(law.irreducible_error), rel=1e-9)


def test_jacobian_is_the_derivative_of_the_curve():
    theta = np.array([[0.3, -0.5, -1.0], [-1.0, 0.4, -30.0]])
    J = jacobian(theta, X)
    for i in range(3):
        step = np.zeros(3)
        step[i] = 1e-6
        difference = (curve(theta + step, X) - curve(theta - step, X)) / 2e-6
        np.testing.assert_allclose(J[..., i], difference, atol=1e-8)
    assert np.all(J[1, :, 2] > 0)  # no cancellation however small the floor


@pytest.mark.parametrize(("fixed", "value"), [(1, np.log(0.8)), (2, -1.6)])
def test_held_coordinate_stays_and_the_others_are_optimal(fixed, value):
    y = planted(0.5, 0.0, -1.0)[0][None] + 0.05 * numpy_stream("held").normal(size=(1, len(SIZES)))
    y = y - y.mean()
    theta, cost, converged = solve(X, y, Held(fixed, np.array([value])))
    assert converged[0]
    assert theta[0, fixed] == value
    for i in {0, 1, 2} - {fixed}:
        for step in (-1e-3, 1e-3):
            moved = theta.copy()
            moved[0, i] += step
            assert ((curve(moved, X) - y) ** 2).sum() > cost[0]


def test_score_statistic_vanishes_at_the_estimate_and_grows_away_from_it():
    law_y, floor = planted(0.5, 0.0, 0.0)
    curves = law_y + 0.03 * numpy_stream("score").normal(size=(4, len(SIZES)))
    law = fit_floor_law(SIZES, curves.mean(0))
    estimate = np.log(law.exponent)
    t = score_t(X, curves, fixed=1, value=estimate + np.array([-0.3, -0.1, 0.0, 0.1, 0.3]))
    assert abs(t[2]) < 1e-4
    assert np.all(np.diff(np.abs(t[:3])) < 0) and np.all(np.diff(np.abs(t[2:])) > 0)
    assert zero_floor_t(X, curves) > 5
    low, high = floor_interval(X, curves, estimate=float(law.irreducible_error), confidence=0.95)
    assert 0 < low < law.irreducible_error < high
    assert low < floor < high


def test_test_of_zero_floor_is_the_t_test_of_the_bend():
    """At E = 0 the statistic is a one-sample t of each draw's component along n^α beside a straight line."""
    curves = 0.3 - 0.4 * X + 0.02 * numpy_stream("bend").normal(size=(5, len(SIZES)))
    slope = -(curves.mean(0) @ X) / (X @ X)
    line = np.stack([np.ones_like(X), X], axis=-1)
    bend = np.exp(slope * X)
    bend = bend - line @ np.linalg.lstsq(line, bend)[0]
    along = curves @ bend
    expected = along.mean() / (along.std(ddof=1) / np.sqrt(5))
    assert zero_floor_t(X, curves) == pytest.approx(expected, rel=1e-5)


def test_linearized_draw_exponents_average_to_the_estimate_and_agree_with_leaving_one_out():
    curves = planted(0.5, 0.0, 0.0)[0] + 1e-4 * numpy_stream("influence").normal(size=(4, len(SIZES)))
    law = fit_floor_law(SIZES, curves.mean(0))
    draws = draw_exponents(law, X, curves)
    assert draws.mean() == pytest.approx(float(law.exponent), rel=1e-12)
    without = fit_floor_law(SIZES, np.stack([np.delete(curves, d, axis=0).mean(0) for d in range(4)])).exponent
    np.testing.assert_allclose(4 * law.exponent - 3 * without - law.exponent, draws - law.exponent, rtol=0.02)


def test_aicc_by_hand_and_where_it_does_not_exist():
    assert aicc(np.float64(0.01), 8, 3) == pytest.approx(8 * np.log(0.01) + 8 + 2 * 4 * 5 / 3, rel=1e-12)
    assert np.isnan(aicc(np.float64(0.01), 5, 3))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="at least 5 sizes, got 4"):
        fit_floor_law(SIZES[:4], np.zeros(4))
    with pytest.raises(ValueError, match="must be finite"):
        fit_floor_law(SIZES, np.full(7, np.nan))
