"""The dictionary of files that join jobs: `cube.nc`, `functions.nc`, `scaling_laws.nc` and `output_variance.nc`."""

from ntk_atlas.arrays import Status
from ntk_atlas.cubes.variables import CELL, THEORY, File, Variable

NO_CLASS = -1
"""`probe_class` of samples without classes."""
TEST_PROBE = "_test_probe"
"""What the names of kernel measures on test samples end in where the kernel is recorded on both kinds of samples."""
NETWORK_STATUS = (Status.MISSING, Status.CONVERGED, Status.BUDGET_SPENT, Status.DIVERGED, Status.TIMED_OUT)
SOLVE_STATUS = (Status.MISSING, Status.CONVERGED, Status.JITTERED, Status.SINGULAR)

GAP_TERMS = (("network", "linearized"), ("linearized", "ntk_init"), ("ntk_init", "infinite_ntk"))
"""The gap taken apart: training beyond the linear regime; finite time and the initial output; a finite width."""
WHOLE_GAP = ("network", "infinite_ntk")
"""Their sum."""
OTHER_PAIRS = (("network", "ntk_init"), ("network", "ntk_final"), ("nngp", "infinite_ntk"))
"""Pairs that are compared besides; the first stands for two terms where there is no linearized network."""
PAIRS = (*GAP_TERMS, WHOLE_GAP, *OTHER_PAIRS)


def pair_name(first: str, second: str) -> str:
    """The part of a variable's name that names a pair."""
    return f"{first}_{second}"


_CURVE = (*CELL, "epoch")
_PREDICTED = ("…", "ridge")
_NEVER = "cell missing, or the network never got there"
_SINGULAR = "cell missing, or singular kernel"
_NO_CLASSES = "as above, or not a classification task"
_NO_SAMPLE = "as above, or the fold has no test sample"


def _error(name: str, dims: tuple[str, ...], long_name: str, missing: str = Variable.missing) -> Variable:
    return Variable(name, dims, long_name, "target²", 0.0, missing=missing)


def _share(name: str, dims: tuple[str, ...], long_name: str, missing: str = _NO_CLASSES) -> Variable:
    return Variable(name, dims, long_name, "1", 0.0, 1.0, missing)


TRAINING_CURVES = (
    _error("train_mse", _CURVE, "training error of the network, mean over samples and outputs"),
    _error("validation_mse", _CURVE, "validation error of the network"),
    _error("test_mse", _CURVE, "test error of the network"),
    _share("train_error", _CURVE, "share of training samples classified wrongly"),
    _share("test_error", _CURVE, "share of test samples classified wrongly"),
)

_DRIFT = "relative drift ‖Θ_t − Θ_0‖_F / ‖Θ_0‖_F of the probe kernel"
_ALIGNMENT = "kernel-target alignment Σ_c y_cᵀΘ_t y_c / (‖y‖² Tr Θ_t), probe samples"
_SPECTRUM = "eigenvalues of the probe kernel over the number of probe samples"
_VELOCITY = "kernel distance 1 − cosine to the checkpoint before, over the epochs since"
_WITHIN = "mean entry of the probe kernel within classes (diagonal included) over its mean diagonal"
_BETWEEN = "mean entry of the probe kernel between classes over its mean diagonal"
_AT_LOSS = "first checkpoint with `train_mse` ≤ `movement.equal_loss` × `zero_train_mse`"
_ONE_KERNEL = "probe kernel of one network: draw 0, seed 0, largest n_train"
_OF_ONE_NETWORK = ("depth", "width", "init_scale", "epoch", "probe", "probe_2")
_FLUCTUATION = "√(Σ_seeds ‖Θ_0 − Θ̄_0‖²/(S − 1))/‖Θ̄_0‖ of the initial probe kernel, Θ̄_0 its mean over S seeds"
_SHARPNESS = "η λ_max(Θ_t)/P on the P probe samples; gradient descent is stable below the attribute `limit`"
KERNEL_MEASURES = (
    Variable("kernel_drift", _CURVE, _DRIFT, "1", 0.0),
    Variable("kernel_distance", _CURVE, "1 − cosine of Θ_t and Θ_0 (probe kernel)", "1", 0.0, 2.0),
    Variable("kernel_alignment", _CURVE, _ALIGNMENT, "1", 0.0, 1.0),
    Variable("kernel_spectrum", (*_CURVE, "mode"), _SPECTRUM, "kernel", dtype="float32"),
    Variable("kernel_fluctuation", CELL[:-1], _FLUCTUATION, "1", 0.0, missing="fewer than two networks"),
    Variable("rate_lambda_max", _CURVE, _SHARPNESS, "1", 0.0),
    Variable("kernel_velocity", _CURVE, _VELOCITY, "1/epoch", 0.0, missing="as above, or the first checkpoint"),
    Variable("within_class_ratio", _CURVE, _WITHIN, missing=_NO_CLASSES),
    Variable("between_class_ratio", _CURVE, _BETWEEN, missing=_NO_CLASSES),
    Variable("epoch_at_equal_loss", CELL, _AT_LOSS, "epoch", 0, missing=_NEVER),
    _error("train_mse_at_equal_loss", CELL, "`train_mse` at that checkpoint", _NEVER),
    Variable("kernel_drift_at_equal_loss", CELL, "`kernel_drift` at that checkpoint", "1", 0.0, missing=_NEVER),
    Variable("kernel_distance_at_equal_loss", CELL, "`kernel_distance` at that checkpoint", "1", 0.0, 2.0, _NEVER),
    Variable("probe_kernel", _OF_ONE_NETWORK, _ONE_KERNEL, "kernel", dtype="float32"),
)

_ZERO = "training error of predicting zero: mean squared target of the training set"
_TEST_TOO = (
    "expected share of a draw's test samples that another draw has for test samples too; 0 if draws are disjoint"
)
_TRAIN_TOO = "expected share of a draw's training samples that another draw has for training samples too"
_SIZE = "test samples of a draw in each fold; weighted with them `test_mse_folds_*` give `test_mse_*`"
_CLASS = "class of each probe sample, by which they are ordered (regression: by the first target)"
_UNCLASSED = "not a classification task"
_FOLDS = ("draw", "test_fold")
TRAINING_SETS = (
    _error("zero_train_mse", ("n_train", "draw"), _ZERO, "never missing"),
    _share("shared_test", (), _TEST_TOO, "one draw"),
    _share("shared_train", ("n_train",), _TRAIN_TOO, "one draw"),
    Variable("test_fold_size", _FOLDS, _SIZE, "samples", 0, missing="never missing", dtype="int64"),
    Variable("probe_class", ("draw", "probe"), _CLASS, valid_min=-1, missing=_UNCLASSED, dtype="int32"),
)

_TRAINED = "float32 or float64"  # as `training.dtype` says
_LAMBDA = "largest eigenvalue of the full initial empirical NTK on the training set"
_TRIED = "at how many of the learning rates tried it diverged; it counts as diverged if at all of them"
_WRONG = "share of test samples the network gets wrong at its selected checkpoint"
TRAINING_SCALARS = (
    Variable("status", CELL, "what became of the network", dtype="int8", flags=NETWORK_STATUS),
    Variable("stop_epoch", CELL, "last epoch in which the network was trained", "epoch", 0, dtype="int64"),
    Variable("selected_epoch", CELL, "checkpoint that is the predictor `network`", "epoch", 0, dtype="int64"),
    Variable("learning_rate", CELL, "learning rate", "1", 0.0, dtype=_TRAINED),
    Variable("lambda_max", CELL, _LAMBDA, "kernel", 0.0, missing="learning rate given as a number", dtype=_TRAINED),
    Variable("n_rates_diverged", CELL, _TRIED, valid_min=0, dtype="int16"),
    _error("final_train_mse", CELL, "training error at the end of training"),
    _error("test_mse_network", CELL, "test error of the network at its selected checkpoint"),
    _error(
        "test_mse_folds_network",
        (*CELL, "test_fold"),
        "`test_mse_network` over the test samples of each fold",
        _NO_SAMPLE,
    ),
    _share("test_error_network", CELL, _WRONG),
)

PREDICTION_VARIABLES = (
    _error("test_mse_*", _PREDICTED, "test error of kernel regression with *", _SINGULAR),
    _error(
        "test_mse_folds_*", (*_PREDICTED, "test_fold"), "`test_mse_*` over the test samples of each fold", _NO_SAMPLE
    ),
    _share("test_error_*", _PREDICTED, "share of test samples that * gets wrong"),
    _error("validation_mse_*", _PREDICTED, "validation error of kernel regression with *"),
    Variable("diag_reg_*", _PREDICTED, "ridge relative to the mean diagonal of the largest Gram matrix", "1", 0.0),
    Variable("jitter_*", _PREDICTED, "relative diagonal added because the factorization failed without", "1", 0.0),
    Variable("lambda_min_*", _PREDICTED, "smallest eigenvalue of the matrix solved, NaN of iterative solves", "kernel"),
    Variable(
        "condition_number_*", _PREDICTED, "condition number of the matrix solved, NaN of iterative solves", "1", 1.0
    ),
    Variable("residual_*", _PREDICTED, "relative residual ‖(K + λI)a − y‖ / ‖y‖ of the solve", "1", 0.0),
    Variable("solve_status_*", _PREDICTED, "what became of the solve with *", dtype="int8", flags=SOLVE_STATUS),
    Variable("length_scale_*", _PREDICTED, "length scale of * in median distances; rivals that have one", "1", 0.0),
)

_LINEARIZED_EPOCH = "epoch at which the linearized network predicts"
LINEARIZED_SCALARS = (
    _error("test_mse_linearized", CELL, "test error of the linearized network", _SINGULAR),
    _error("validation_mse_linearized", CELL, "validation error of the linearized network"),
    _error("final_train_mse_linearized", CELL, "training error of the linearized network at the last epoch"),
    Variable("selected_epoch_linearized", CELL, _LINEARIZED_EPOCH, "epoch", 0, dtype="int64"),
)

GAP_VARIABLES = tuple(
    Variable(
        f"gap_{pair_name(*pair)}",
        CELL if set(pair) == {"network", "linearized"} else (*CELL, "ridge") if "nngp" not in pair else ("…", "ridge"),
        f"test error of {pair[0]} minus that of {pair[1]}",
        "target²",
        missing="as the errors that it is the difference of",
    )
    for pair in PAIRS
)

_SELECTED = "network at its selected checkpoint"
_NO_DISTANCE = "as the errors, or predictions that an older version did not keep"
_THEORY = {
    "linearized": "its linearization at initialization, trained alike",
    "own_ntk": "regression with its own initial NTK",
    "infinite_ntk": "regression with the infinite NTK",
}
DISTANCE_VARIABLES = (
    Variable("distance_*", CELL, f"root mean square of {_SELECTED} − * on test samples, over the error of the latter",
             "1", 0.0, missing=_NO_DISTANCE, names=_THEORY),
    Variable("square_distance_folds_*", (*CELL, "test_fold"), f"mean square of {_SELECTED} − * over the test samples "
             "of each fold", "target²", 0.0, missing=f"{_NO_DISTANCE}, or the fold has no test sample", names=_THEORY),
    Variable("error_ratio_*", CELL, "test error of the network over the test error of *", "1", 0.0, names=_THEORY),
)  # fmt: skip

CUBE = File(
    "cube.nc",
    "NTK Atlas cube: finite networks beside their kernels",
    (*CELL, "epoch", "mode", "ridge", "test_fold", "predictor", *THEORY),
    {
        "Training curves of the networks": TRAINING_CURVES,
        "Kernel of the probe samples along training: training samples, or test samples under `probe: test`; under "
        f"`probe: both` the same variables with `{TEST_PROBE}` at their end are of test samples": KERNEL_MEASURES,
        "One number a network": TRAINING_SCALARS,
        "What networks train on and are probed with": TRAINING_SETS,
        "Predictors, one variable each; `linearized` has errors only, and no ridge": PREDICTION_VARIABLES,
        "Linearized networks, where they are a predictor": LINEARIZED_SCALARS,
        "Distances of networks, as functions, from what NTK theory predicts ([regimes](regimes.md)), at ridge → 0 "
        "(`training.selection: best_validation`: at the tuned ridge)": DISTANCE_VARIABLES,
        "The gap between networks and kernels, of the predictors that there are": GAP_VARIABLES,
    },
    suffix=TEST_PROBE,
)

_AXES = ("…", "test_sample", "output")
_APART = "root mean square over test samples and outputs of {} − {}"
_APART_IN_FOLDS = "mean square over outputs and the test samples of each fold of {} − {}"
_ROOT = "test samples of a draw in each fold; root of the mean of `square_distance_folds_*` so weighted: `distance_*`"
_NO_FOLD = "as the predictions, or the fold has no test sample"
_X_TEST = "normalized inputs of the test samples, of up to 3 features"
_X_TRAIN = "normalized inputs of the largest training set, of up to 3 features"
_Y_TEST, _Y_TRAIN = (f"targets of the {which} samples, noise included" for which in ("test", "same"))
FUNCTION_VARIABLES = (
    Variable("test_predictions_*", _AXES, "outputs of * on the test samples", "target", dtype=_TRAINED),
    Variable("y_test", ("draw", "test_sample", "output"), _Y_TEST, "target", missing="never"),
    Variable("x_test", ("draw", "test_sample", "feature"), _X_TEST, missing="never"),
    Variable("x_train", ("draw", "train_sample", "feature"), _X_TRAIN, missing="never"),
    Variable("y_train", ("draw", "train_sample", "output"), _Y_TRAIN, "target", missing="never"),
    *(
        Variable(
            f"distance_{pair_name(*pair)}", ("…",), _APART.format(*pair), "target", 0.0, missing="as the predictions"
        )
        for pair in PAIRS
    ),
    *(
        _error(f"square_distance_folds_{pair_name(*pair)}", ("…", "test_fold"), _APART_IN_FOLDS.format(*pair), _NO_FOLD)
        for pair in PAIRS
    ),
    Variable("test_fold_size", _FOLDS, _ROOT, "samples", 0, missing="never", dtype="int64"),
)
FUNCTIONS = File(
    "functions.nc",
    "NTK Atlas: predictions on test samples, and distances between predictors as functions",
    (*CELL, "ridge", "test_fold", "predictor"),
    {"Predictions on test samples, in `functions.nc` (`regression.keep_predictions`)": FUNCTION_VARIABLES},
)


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


NETWORKS = ("depth", "width", "init_scale", "n_train", "draw")
"""Dimensions of one set of networks: seeds are what is averaged over."""

OUTPUTS = {
    "network": "trained networks",
    "linearized": "the same networks linearized at their initialization (own NTK, own f₀)",
    "infinite_ntk": "theory at infinite width (NTK and NNGP)",
}
"""Whose outputs: the names that `*` stands for."""

OUTPUT_RATIOS = (("network", "infinite_ntk"), ("linearized", "infinite_ntk"), ("network", "linearized"))
"""Pairs (above, below) of `variance_ratio_<above>_<below>`."""

_FEW = "no checkpoint at this n_train, or fewer than two networks left"
_INTERVAL = "as above, or fewer than eight networks left"

_OUTPUTS_CURVE = (*NETWORKS, "epoch")

OUTPUT_VARIANCE_VARIABLES = (
    Variable(
        "output_variance_*",
        (*_OUTPUTS_CURVE, "probe"),
        "variance over initializations of the output at a probe sample, mean over outputs: *",
        "target²",
        0.0,
        missing=_FEW,
        names=OUTPUTS,
    ),
    Variable(
        "output_mean_*",
        (*_OUTPUTS_CURVE, "probe", "output"),
        "mean over initializations of the output at a probe sample: *",
        "target",
        missing=_FEW,
        names=OUTPUTS,
    ),
    *Variable(
        "variance_ratio_*",
        _OUTPUTS_CURVE,
        "output variance averaged over the probe samples: *",
        valid_min=0.0,
        missing=_FEW,
        names={f"{above}_{below}": f"{OUTPUTS[above]}, over {OUTPUTS[below]}" for above, below in OUTPUT_RATIOS},
    ).with_ends("lower end of its interval", "upper end of its interval", _INTERVAL),
    *(
        Variable(name, NETWORKS, words, valid_min=0, missing="never", dtype="int32")
        for name, words in (
            ("n_networks", "networks that did not diverge: those measured"),
            ("n_linearized", "networks whose linearization did not diverge"),
            ("n_both", "networks behind variance_ratio_network_linearized"),
        )
    ),
    Variable("learning_rate", NETWORKS, "learning rate of all networks of the cell", valid_min=0.0, missing="never"),
)
OUTPUT_VARIANCE = File(
    "output_variance.nc",
    "NTK Atlas: variance of outputs over initializations, predicted and measured",
    (*_OUTPUTS_CURVE, *THEORY),
    {"Spread of outputs over initializations, in `output_variance.nc`": OUTPUT_VARIANCE_VARIABLES},
)
