import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntk_atlas.scaling_laws import fit_power_law
from ntk_atlas.streams import numpy_stream

SIZES = np.array([32, 64, 128, 256, 512])


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.floats(-1.0, 3.0), st.floats(-8.0, 8.0))
def test_planted_law_is_recovered(exponent, log_amplitude):
    law = fit_power_law(SIZES, np.exp(log_amplitude - exponent * np.log(SIZES)))
    assert law.exponent == pytest.approx(exponent, abs=1e-12)
    assert law.log_amplitude == pytest.approx(log_amplitude, abs=1e-11)
    assert law.log_error(4096) == pytest.approx(log_amplitude - exponent * np.log(4096), abs=1e-11)


def test_stack_of_curves_equals_polyfit_one_by_one_with_points_missing():
    rng = numpy_stream("stack")
    errors = np.exp(rng.normal(size=(3, 4, 5)))
    errors[0, 0, 1], errors[1, 2, 4], errors[2, 3, 0], errors[2, 3, 1] = np.nan, 0.0, -1.0, np.inf
    law = fit_power_law(SIZES, errors)
    assert law.exponent.shape == (3, 4)
    for index in np.ndindex(3, 4):
        curve = errors[index]
        mask = np.isfinite(curve) & (curve > 0)
        slope, offset = np.polyfit(np.log(SIZES[mask]), np.log(curve[mask]), 1)
        assert law.exponent[index] == pytest.approx(-slope, rel=1e-9, abs=1e-10)
        assert law.log_amplitude[index] == pytest.approx(offset, rel=1e-9, abs=1e-10)
        assert law.n_used[index] == mask.sum()


def test_a_line_needs_three_sizes():
    errors = np.array([[1.0, 0.5, np.nan, np.nan, np.nan], [1.0, 0.5, 0.3, np.nan, np.nan]])
    law = fit_power_law(SIZES, errors)
    assert np.isnan(law.exponent[0]) and np.isnan(law.log_amplitude[0])
    assert np.isfinite(law.exponent[1])
    np.testing.assert_array_equal(law.n_used, [2, 3])


def test_constant_error_has_exponent_zero():
    assert fit_power_law(SIZES, np.full(5, 0.3)).exponent == pytest.approx(0.0, abs=1e-14)


def test_no_sizes_at_all():
    assert np.isnan(fit_power_law(np.array([]), np.empty((2, 0))).exponent).all()
