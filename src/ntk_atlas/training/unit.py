"""What a unit of training gets and gives: networks of one (cell, draw), trained together."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from ntk_atlas.arrays import LabelledArrays


@dataclass(frozen=True)
class UnitData:
    """Inputs `(n, *input_shape)`, targets `(n, C)` in original units, class indices `(n,)` if there are."""

    x_train: Tensor
    y_train: Tensor
    x_validation: Tensor
    y_validation: Tensor
    x_test: Tensor
    y_test: Tensor
    x_probe: Tensor
    """Samples whose kernel is recorded."""
    x_outputs: Tensor | None = None
    """Samples whose outputs are recorded; None for those of the kernel."""
    labels_train: Tensor | None = None
    labels_validation: Tensor | None = None
    labels_test: Tensor | None = None
    test_folds: np.ndarray | None = None
    """Fold of each test sample, `(n_test,)`."""


@dataclass(frozen=True)
class TrainedUnit:
    """S trained members at E scheduled epochs, as NumPy arrays.

    Errors and predictions are in units of the original targets. A member that stopped keeps its state, so
    later epochs repeat it; one that diverged, at every learning rate tried, is NaN from its divergence on.
    """

    DIMS: ClassVar[dict[str, tuple[str, ...]]] = {
        "train_mse": ("epoch",),
        "validation_mse": ("epoch",),
        "test_mse": ("epoch",),
        "train_error": ("epoch",),
        "test_error": ("epoch",),
        "probe_kernels": ("epoch", "probe", "probe_2"),
        "probe_predictions": ("epoch", "output_probe", "output"),
        "status": (),
        "stop_epoch": (),
        "selected_epoch": (),
        "learning_rate": (),
        "lambda_max": (),
        "n_rates_diverged": (),
        "final_train_mse": (),
        "selected_test_mse": (),
        "selected_test_mse_folds": ("test_fold",),
        "selected_test_error": (),
        "test_predictions": ("test_sample", "output"),
        "weights": ("weight_epoch", "parameter"),
    }
    """What is kept of a unit, with the dimensions beside the members."""

    epochs: np.ndarray
    """`(E,)` scheduled epochs, 0 first."""
    train_loss: np.ndarray
    """`(S, E)` training loss, divided by target_scale² if it is a squared one."""
    train_mse: np.ndarray
    """`(S, E)` mean squared error over samples and outputs; so the next two."""
    validation_mse: np.ndarray
    test_mse: np.ndarray
    train_error: np.ndarray
    """`(S, E)` share of wrong classes, NaN for regression; so the next two."""
    validation_error: np.ndarray
    test_error: np.ndarray
    probe_kernels: np.ndarray
    """`(S, E, P, P)` empirical NTK of the probe samples, mean over outputs, in the training's precision."""
    probe_predictions: np.ndarray
    """`(S, E, P', C)` outputs on the P' samples `x_outputs`, less the initial ones if they are subtracted."""
    weights: np.ndarray
    """`(S, W, n_params)` weights at `weight_epochs`."""
    weight_epochs: np.ndarray
    """`(W,)`."""
    status: np.ndarray
    """`(S,)` `ntk_atlas.arrays.Status` codes."""
    stop_epoch: np.ndarray
    """`(S,)` epoch at which a member stopped or diverged, else the last."""
    learning_rate: np.ndarray
    """`(S,)` η, for the loss 1/(2n) Σ‖f − target_scale·y‖²."""
    lambda_max: np.ndarray
    """`(S,)` largest eigenvalue of the full Gram of the NTK that the learning rate is a share of: the initial one, or
    that at infinite width; NaN for an absolute learning rate."""
    target_scale: float
    """What targets were multiplied by for training."""
    selected_epoch: np.ndarray
    """`(S,)` epoch whose network is the predictor `network`."""
    test_predictions: np.ndarray
    """`(S, n_test, C)` its outputs."""
    selected_test_mse: np.ndarray
    """`(S,)`."""
    selected_test_mse_folds: np.ndarray
    """`(S, N_FOLDS)` over the test samples of each fold; NaN without any."""
    selected_test_error: np.ndarray
    """`(S,)`."""
    n_rates_diverged: np.ndarray
    """`(S,)` at how many of the learning rates tried the network diverged; all arrays are those of the best rate."""
    seconds: float
    """Wall time."""

    @property
    def final_train_mse(self) -> np.ndarray:
        """`(S,)` training error at the last epoch."""
        return self.train_mse[:, -1]

    def labelled(self) -> LabelledArrays:
        """What is kept of the unit; members are along `seed`."""
        variables = {name: (("seed", *dims), getattr(self, name)) for name, dims in self.DIMS.items()}
        return LabelledArrays.of(variables, epoch=self.epochs, weight_epoch=self.weight_epochs)
