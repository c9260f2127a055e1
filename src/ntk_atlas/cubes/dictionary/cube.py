"""The chapter of `cube.nc`, and of `functions.nc`: what networks and predictors do on the same cells."""

from ntk_atlas.cubes.dictionary.variable import CELL, THEORY, File, Variable
from ntk_atlas.status import Status

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


_NEVER = "cell missing, or the network never got there"
_SINGULAR = "cell missing, or singular kernel"

TRAINING_CURVES = (
    Variable(
        "train_mse", (*CELL, "epoch"), "training error of the network, mean over samples and outputs", "target²", 0.0
    ),
    Variable("validation_mse", (*CELL, "epoch"), "validation error of the network", "target²", 0.0),
    Variable("test_mse", (*CELL, "epoch"), "test error of the network", "target²", 0.0),
    Variable(
        "train_error",
        (*CELL, "epoch"),
        "share of training samples classified wrongly",
        "1",
        0.0,
        1.0,
        "as above, or not a classification task",
    ),
    Variable(
        "test_error",
        (*CELL, "epoch"),
        "share of test samples classified wrongly",
        "1",
        0.0,
        1.0,
        "as above, or not a classification task",
    ),
)

KERNEL_MEASURES = (
    Variable("kernel_drift", (*CELL, "epoch"), "relative drift ‖Θ_t − Θ_0‖_F / ‖Θ_0‖_F of the probe kernel", "1", 0.0),
    Variable("kernel_distance", (*CELL, "epoch"), "1 − cosine of Θ_t and Θ_0 (probe kernel)", "1", 0.0, 2.0),
    Variable(
        "kernel_alignment",
        (*CELL, "epoch"),
        "kernel-target alignment Σ_c y_cᵀΘ_t y_c / (‖y‖² Tr Θ_t), probe samples",
        "1",
        0.0,
        1.0,
    ),
    Variable(
        "kernel_spectrum",
        (*CELL, "epoch", "mode"),
        "eigenvalues of the probe kernel over the number of probe samples",
        "kernel",
        dtype="float32",
    ),
    Variable(
        "kernel_velocity",
        (*CELL, "epoch"),
        "kernel distance 1 − cosine to the checkpoint before, over the epochs since",
        "1/epoch",
        0.0,
        missing="as above, or the first checkpoint",
    ),
    Variable(
        "within_class_ratio",
        (*CELL, "epoch"),
        "mean entry of the probe kernel within classes (diagonal included) over its mean diagonal",
        missing="as above, or not a classification task",
    ),
    Variable(
        "between_class_ratio",
        (*CELL, "epoch"),
        "mean entry of the probe kernel between classes over its mean diagonal",
        missing="as above, or not a classification task",
    ),
    Variable(
        "epoch_at_equal_loss",
        CELL,
        "first checkpoint with `train_mse` ≤ `movement.equal_loss` × `zero_train_mse`",
        "epoch",
        0,
        missing=_NEVER,
    ),
    Variable("train_mse_at_equal_loss", CELL, "`train_mse` at that checkpoint", "target²", 0.0, missing=_NEVER),
    Variable("kernel_drift_at_equal_loss", CELL, "`kernel_drift` at that checkpoint", "1", 0.0, missing=_NEVER),
    Variable(
        "kernel_distance_at_equal_loss", CELL, "`kernel_distance` at that checkpoint", "1", 0.0, 2.0, missing=_NEVER
    ),
    Variable(
        "probe_kernel",
        ("depth", "width", "init_scale", "epoch", "probe", "probe_2"),
        "probe kernel of one network: draw 0, seed 0, largest n_train",
        "kernel",
        dtype="float32",
    ),
)

TRAINING_SETS = (
    Variable(
        "zero_train_mse",
        ("n_train", "draw"),
        "training error of predicting zero: mean squared target of the training set",
        "target²",
        0.0,
        missing="never missing",
    ),
    Variable(
        "shared_test",
        (),
        "expected share of a draw's test samples that another draw has for test samples too; 0 if draws are disjoint",
        "1",
        0.0,
        1.0,
        missing="one draw",
    ),
    Variable(
        "shared_train",
        ("n_train",),
        "expected share of a draw's training samples that another draw has for training samples too",
        "1",
        0.0,
        1.0,
        missing="one draw",
    ),
    Variable(
        "test_fold_size",
        ("draw", "test_fold"),
        "test samples of a draw in each fold; weighted with them `test_mse_folds_*` give `test_mse_*`",
        "samples",
        0,
        missing="never missing",
        dtype="int64",
    ),
    Variable(
        "probe_class",
        ("draw", "probe"),
        "class of each probe sample, by which they are ordered (regression: by the first target)",
        valid_min=-1,
        missing="not a classification task",
        dtype="int32",
    ),
)

TRAINING_SCALARS = (
    Variable("status", CELL, "what became of the network", dtype="int8", flags=NETWORK_STATUS),
    Variable("stop_epoch", CELL, "last epoch in which the network was trained", "epoch", 0, dtype="int64"),
    Variable("selected_epoch", CELL, "checkpoint that is the predictor `network`", "epoch", 0, dtype="int64"),
    Variable("learning_rate", CELL, "learning rate", "1", 0.0, dtype="float32 or float64"),
    Variable(
        "lambda_max",
        CELL,
        "largest eigenvalue of the full initial empirical NTK on the training set",
        "kernel",
        0.0,
        missing="learning rate given as a number",
        dtype="float32 or float64",
    ),
    Variable(
        "n_rates_diverged",
        CELL,
        "at how many of the learning rates tried it diverged; it counts as diverged if at all of them",
        valid_min=0,
        dtype="int16",
    ),
    Variable("final_train_mse", CELL, "training error at the end of training", "target²", 0.0),
    Variable("test_mse_network", CELL, "test error of the network at its selected checkpoint", "target²", 0.0),
    Variable(
        "test_mse_folds_network",
        (*CELL, "test_fold"),
        "`test_mse_network` over the test samples of each fold",
        "target²",
        0.0,
        missing="as above, or the fold has no test sample",
    ),
    Variable(
        "test_error_network",
        CELL,
        "share of test samples the network gets wrong at its selected checkpoint",
        "1",
        0.0,
        1.0,
        "as above, or not a classification task",
    ),
)

PREDICTION_VARIABLES = (
    Variable(
        "test_mse_*",
        ("…", "ridge"),
        "test error of kernel regression with *",
        "target²",
        0.0,
        missing=_SINGULAR,
    ),
    Variable(
        "test_mse_folds_*",
        ("…", "ridge", "test_fold"),
        "`test_mse_*` over the test samples of each fold",
        "target²",
        0.0,
        missing="as above, or the fold has no test sample",
    ),
    Variable(
        "test_error_*",
        ("…", "ridge"),
        "share of test samples that * gets wrong",
        "1",
        0.0,
        1.0,
        "as above, or not a classification task",
    ),
    Variable("validation_mse_*", ("…", "ridge"), "validation error of kernel regression with *", "target²", 0.0),
    Variable("diag_reg_*", ("…", "ridge"), "ridge relative to the mean diagonal of the largest Gram matrix", "1", 0.0),
    Variable("jitter_*", ("…", "ridge"), "relative diagonal added because the factorization failed without", "1", 0.0),
    Variable(
        "lambda_min_*", ("…", "ridge"), "smallest eigenvalue of the matrix solved, NaN of iterative solves", "kernel"
    ),
    Variable(
        "condition_number_*", ("…", "ridge"), "condition number of the matrix solved, NaN of iterative solves", "1", 1.0
    ),
    Variable("residual_*", ("…", "ridge"), "relative residual ‖(K + λI)a − y‖ / ‖y‖ of the solve", "1", 0.0),
    Variable("solve_status_*", ("…", "ridge"), "what became of the solve with *", dtype="int8", flags=SOLVE_STATUS),
    Variable("length_scale_*", ("…", "ridge"), "length scale of * in median distances; rivals that have one", "1", 0.0),
)

LINEARIZED_SCALARS = (
    Variable("test_mse_linearized", CELL, "test error of the linearized network", "target²", 0.0, missing=_SINGULAR),
    Variable("validation_mse_linearized", CELL, "validation error of the linearized network", "target²", 0.0),
    Variable(
        "final_train_mse_linearized", CELL, "training error of the linearized network at the last epoch", "target²", 0.0
    ),
    Variable(
        "selected_epoch_linearized", CELL, "epoch at which the linearized network predicts", "epoch", 0, dtype="int64"
    ),
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
        "The gap between networks and kernels, of the predictors that there are": GAP_VARIABLES,
    },
    suffix=TEST_PROBE,
)

_AXES = ("…", "test_sample", "output")
FUNCTION_VARIABLES = (
    Variable("test_predictions_*", _AXES, "outputs of * on the test samples", "target", dtype="float32 or float64"),
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
        dtype="int64",
    ),
)  # fmt: skip


FUNCTIONS = File(
    "functions.nc",
    "NTK Atlas: predictions on test samples, and distances between predictors as functions",
    (*CELL, "ridge", "test_fold", "predictor"),
    {"Predictions on test samples, in `functions.nc` (`regression.keep_predictions`)": FUNCTION_VARIABLES},
)
