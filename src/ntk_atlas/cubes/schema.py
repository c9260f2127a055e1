"""The data dictionary of the cube: every variable, its dimensions, unit and meaning.

`docs/cube.md` is generated from these tables, and assembly takes attributes from them, so that the document, the
file and the code cannot differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from ntk_atlas.cubes.gap import PAIRS, pair_name
from ntk_atlas.status import Status

CELL = ("depth", "width", "init_scale", "n_train", "draw", "seed")
"""Dimensions of one network."""

NO_CLASS = -1
"""`probe_class` of samples without classes."""
TEST_PROBE = "_test_probe"
"""What the names of kernel measures on test samples end in where the kernel is recorded on both kinds of samples."""
NETWORK_STATUS = (Status.MISSING, Status.CONVERGED, Status.BUDGET_SPENT, Status.DIVERGED, Status.TIMED_OUT)
SOLVE_STATUS = (Status.MISSING, Status.CONVERGED, Status.JITTERED, Status.SINGULAR)


@dataclass(frozen=True)
class Variable:
    """One row of the data dictionary.

    Attributes:
        name: name in the file; `*` stands for the name of a predictor.
        dims: its dimensions.
        long_name: what it is.
        units: its unit; `1` for pure numbers.
        valid_min: smallest possible value, if there is one.
        valid_max: largest possible value, if there is one.
        missing: what NaN (or −1) says.
    """

    name: str
    dims: tuple[str, ...]
    long_name: str
    units: str = "1"
    valid_min: float | None = None
    valid_max: float | None = None
    missing: str = "cell missing, network diverged, or kernel singular"

    def attributes(self) -> dict[str, str | float]:
        """The attributes that the variable carries in the file."""
        attributes: dict[str, str | float] = {"long_name": self.long_name, "units": self.units}
        if self.valid_min is not None:
            attributes["valid_min"] = self.valid_min
        if self.valid_max is not None:
            attributes["valid_max"] = self.valid_max
        return attributes


COORDINATES = (
    Variable("depth", ("depth",), "hidden layers; 0 is a linear model", valid_min=0),
    Variable("width", ("width",), "units of each hidden layer", valid_min=1),
    Variable("init_scale", ("init_scale",), "σ_w²: weight variance times fan-in", valid_min=0.0),
    Variable("n_train", ("n_train",), "training samples", valid_min=1),
    Variable(
        "draw",
        ("draw",),
        "draw of the data (docs/conventions.md): split, nested training sets, and the networks' streams",
    ),
    Variable("seed", ("seed",), "network: initial weights and batch order, independent in every draw"),
    Variable("epoch", ("epoch",), "checkpoint: Trainer epochs done; 0 is initialization", valid_min=0),
    Variable("mode", ("mode",), "rank of an eigenvalue of the probe kernel, largest first", valid_min=0),
    Variable("ridge", ("ridge",), "`zero`: ridge → 0; `tuned`: chosen on validation or by leave-one-out"),
    Variable("test_fold", ("test_fold",), "group of samples of the data set, the same in every draw", valid_min=0),
    Variable("predictor", ("predictor",), "names of all predictors in this cube"),
    Variable("sigma_w", ("init_scale",), "σ_w, the square root of init_scale", valid_min=0.0),
    Variable("lambda", ("depth", "width"), "weight layers over width, (depth + 1)/width", valid_min=0.0),
    Variable("chi_1", ("init_scale",), "χ₁: factor by which squared gradients grow a layer", valid_min=0.0),
    Variable("xi_1", ("init_scale",), "depth scale ξ₁ = 1/|log χ₁|: infinite at the critical point", "layers", 0.0),
    Variable("phase", ("init_scale",), "ordered (χ₁ < 1), critical (χ₁ = 1) or chaotic (χ₁ > 1)"),
)

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

_NEVER = "cell missing, or the network never got there"

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
    ),
    Variable(
        "probe_class",
        ("draw", "probe"),
        "class of each probe sample, by which they are ordered (regression: by the first target)",
        valid_min=-1,
        missing="not a classification task",
    ),
)

TRAINING_SCALARS = (
    Variable("status", CELL, "what became of the network"),
    Variable("stop_epoch", CELL, "last epoch in which the network was trained", "epoch", 0),
    Variable("selected_epoch", CELL, "checkpoint that is the predictor `network`", "epoch", 0),
    Variable("learning_rate", CELL, "learning rate", "1", 0.0),
    Variable(
        "lambda_max",
        CELL,
        "largest eigenvalue of the full initial empirical NTK on the training set",
        "kernel",
        0.0,
        missing="learning rate given as a number",
    ),
    Variable(
        "n_rates_diverged",
        CELL,
        "at how many of the learning rates tried it diverged; it counts as diverged if at all of them",
        valid_min=0,
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
        missing="cell missing, or singular kernel",
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
    Variable("solve_status_*", ("…", "ridge"), "what became of the solve with *"),
    Variable("length_scale_*", ("…", "ridge"), "length scale of * in median distances; rivals that have one", "1", 0.0),
)

LINEARIZED_SCALARS = (
    Variable(
        "final_train_mse_linearized", CELL, "training error of the linearized network at the last epoch", "target²", 0.0
    ),
    Variable("selected_epoch_linearized", CELL, "epoch at which the linearized network predicts", "epoch", 0),
)
"""What only the predictor `linearized` has; its errors are named as every predictor's, without a ridge."""


GAP_VARIABLES = tuple(
    Variable(
        f"gap_{pair_name(*pair)}",
        (*CELL, *(("ridge",) if set(pair) != {"network", "linearized"} else ()))
        if "nngp" not in pair
        else ("depth", "init_scale", "n_train", "draw", "ridge"),
        f"test error of {pair[0]} minus that of {pair[1]}",
        "target²",
        missing="as the errors that it is the difference of",
    )
    for pair in PAIRS
)


def status_attributes(flags: Sequence[IntEnum]) -> dict[str, object]:
    """CF's description of an integer flag."""
    import numpy as np

    return {
        "flag_values": np.array([int(flag) for flag in flags], dtype=np.int8),
        "flag_meanings": " ".join(flag.name.lower() for flag in flags),
    }


def dictionary_markdown() -> str:
    """The data dictionary as Markdown tables; `docs/cube.md` holds it between its markers."""
    parts = (
        ("Coordinates", COORDINATES),
        ("Training curves of the networks", TRAINING_CURVES),
        (
            "Kernel of the probe samples along training: training samples, or test samples under `probe: test`; "
            f"under `probe: both` the same variables with `{TEST_PROBE}` at their end are of test samples",
            KERNEL_MEASURES,
        ),
        ("One number a network", TRAINING_SCALARS),
        ("What networks train on and are probed with", TRAINING_SETS),
        ("Predictors, one variable each; `linearized` has errors only, and no ridge", PREDICTION_VARIABLES),
        ("Linearized networks, where they are a predictor", LINEARIZED_SCALARS),
        ("The gap between networks and kernels, of the predictors that there are", GAP_VARIABLES),
    )
    return tables_markdown(parts)


def tables_markdown(parts: Sequence[tuple[str, Sequence[Variable]]]) -> str:
    """One Markdown table a part, each a title and its variables."""
    lines = []
    for title, variables in parts:
        lines += [
            f"### {title}",
            "",
            "| variable | dimensions | meaning | unit | NaN (or −1) means |",
            "|---|---|---|---|---|",
        ]
        for v in variables:
            gap = "–" if title.startswith("Coordinates") else v.missing
            lines.append(f"| `{v.name}` | {', '.join(v.dims)} | {v.long_name} | {v.units} | {gap} |")
        lines.append("")
    return "\n".join(lines)
