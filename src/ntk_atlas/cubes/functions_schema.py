"""The data dictionary of `functions.nc`; `docs/cube.md` is generated from it, the file takes its attributes from it."""

import xarray as xr

from ntk_atlas.cubes.gap import PAIRS, pair_name
from ntk_atlas.cubes.schema import COORDINATES, Variable

FUNCTION_COORDINATES = ("depth", "width", "init_scale", "n_train", "draw", "seed", "ridge")
"""Dimensions that predictions may have, samples and outputs apart, in this order."""
_AXES = ("…", "test_sample", "output")
FUNCTION_VARIABLES = (
    Variable("test_predictions_*", _AXES, "outputs of * on the test samples", "target", missing="cell missing, network "
             "diverged, or kernel singular"),
    Variable("y_test", ("draw", "test_sample", "output"), "targets of the test samples, noise included", "target",
             missing="never"),
    Variable("x_test", ("draw", "test_sample", "feature"), "normalized inputs of the test samples, of up to 3 features",
             "1", missing="never"),
    Variable("x_train", ("draw", "train_sample", "feature"), "normalized inputs of the largest training set, of up to "
             "3 features", "1", missing="never"),
    Variable("y_train", ("draw", "train_sample", "output"), "targets of the same samples, noise included", "target",
             missing="never"),
    *(
        Variable(
            f"distance_{pair_name(*pair)}",
            ("…",),
            f"root mean square over test samples and outputs of {pair[0]} − {pair[1]}",
            "target",
            0.0,
            missing="as the predictions",
        )
        for pair in PAIRS
    ),
    *(
        Variable(
            f"square_distance_folds_{pair_name(*pair)}",
            ("…", "test_fold"),
            f"mean square over outputs and the test samples of each fold of {pair[0]} − {pair[1]}",
            "target²",
            0.0,
            missing="as the predictions, or the fold has no test sample",
        )
        for pair in PAIRS
    ),
    Variable(
        "test_fold_size",
        ("draw", "test_fold"),
        "test samples of a draw in each fold; root of the mean of `square_distance_folds_*` so weighted: `distance_*`",
        "samples",
        0,
        missing="never",
    ),
)  # fmt: skip


def describe_functions(functions: xr.Dataset) -> xr.Dataset:
    """The dataset with the attributes of its variables."""
    known = {variable.name: variable for variable in (*COORDINATES, *FUNCTION_VARIABLES)}
    for name in functions.variables:
        if name in known:
            functions[name].attrs = known[str(name)].attributes()
        elif str(name).startswith("test_predictions_"):
            attributes = known["test_predictions_*"].attributes()
            predictor = str(name).removeprefix("test_predictions_")
            functions[name].attrs = attributes | {"long_name": f"outputs of {predictor} on the test samples"}
    return functions
