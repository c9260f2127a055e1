"""The chapter of `scaling_laws.nc`."""

from ntk_atlas.cubes.dictionary.variable import THEORY, File, Variable

METRICS = ("mse", "error")
"""Test errors that have laws; data without classes have the first only."""
LAW_CELL = ("predictor", "depth", "width", "init_scale")
"""What a law is of, the error apart."""
FIELDS = {
    "exponent": "exponent α of err = A n^−α",
    "exponent_low": "lower end of its interval over draws",
    "exponent_high": "upper end of its interval over draws",
    "amplitude": "amplitude A, the error extrapolated to n = 1",
    "amplitude_low": "lower end of its interval over draws",
    "amplitude_high": "upper end of its interval over draws",
    "irreducible_error": "E of err = E + A n^−α",
    "irreducible_error_low": "lower end of its interval over draws",
    "irreducible_error_high": "upper end of its interval over draws",
    "floor_exponent": "exponent α of err = E + A n^−α",
    "floor_exponent_low": "lower end of its interval over draws",
    "floor_exponent_high": "upper end of its interval over draws",
    "floor_identifiable": "1 where E and α of the law with floor can be told apart",
    "aicc_difference": "AICc of the pure law minus that of the law with floor; positive favours the floor",
    "holdout_predicted": "error at the largest n_train, predicted from the smaller ones",
    "holdout_low": "lower end of its prediction interval over draws",
    "holdout_high": "upper end of its prediction interval over draws",
    "holdout_measured": "error measured at the largest n_train",
    "n_points": "learning-curve points fitted, all draws and seeds",
    "n_left_out": "points left out: missing, not finite, or zero",
}
"""Fields of a `ScalingFit` that are kept, with their meaning."""
NEW_DATA = {
    "exponent_new_data_low": "lower end of the interval of `exponent` for new data of this kind: draws share samples",
    "exponent_new_data_high": "upper end of that interval",
    "exponent_difference_new_data_low": "lower end of the interval of `exponent_difference` for new data of this kind",
    "exponent_difference_new_data_high": "upper end of that interval",
}
"""Intervals that allow for what draws have in common; the others are for further draws of this data set."""
LAW_ERRORS = {
    "law_error": "error by the pure law at each n_train that it was fitted to",
    "law_error_low": "lower end of its interval over draws",
    "law_error_high": "upper end of its interval over draws",
}
"""What is drawn as a line and its band, over n_train as well."""
DIFFERENCES = {
    "exponent_difference": "exponent of the network minus that of the kernel, paired by draw",
    "exponent_difference_low": "lower end of its interval over draws",
    "exponent_difference_high": "upper end of its interval over draws",
}
_UNITS = dict.fromkeys(("amplitude", "irreducible_error", "holdout", "law_error"), "target² or 1, by `metric`")
_ALWAYS_THERE = ("n_points", "n_left_out", "floor_identifiable")


def _variable(name: str, dims: tuple[str, ...], meaning: str, missing: str) -> Variable:
    units = next((unit for start, unit in _UNITS.items() if name.startswith(start)), "1")
    return Variable(name, ("metric", *dims), meaning, units, missing=missing)


LAW_VARIABLES = (
    *(
        _variable(name, LAW_CELL, meaning, "never" if name in _ALWAYS_THERE else "not identifiable: `note` says why")
        for name, meaning in FIELDS.items()
    ),
    *(
        _variable(
            name, (*LAW_CELL, "n_train"), meaning, "not fitted: outside the range, or no error there; ends: one draw"
        )
        for name, meaning in LAW_ERRORS.items()
    ),
    *(
        _variable(name, LAW_CELL, meaning, "the network itself, or either exponent is missing")
        for name, meaning in DIFFERENCES.items()
    ),
    *(
        _variable(name, LAW_CELL, meaning, "no interval, or an error without parts of test sets (`metric` error)")
        for name, meaning in NEW_DATA.items()
    ),
    Variable(
        "note",
        ("metric", *LAW_CELL),
        "what is not identifiable or was left out, in words",
        missing="never",
        dtype="text",
    ),
)
LAWS = File(
    "scaling_laws.nc",
    "scaling laws of test error against n_train",
    ("metric", *LAW_CELL, "n_train", *THEORY),
    {"Scaling laws, in `scaling_laws.nc`": LAW_VARIABLES},
)
