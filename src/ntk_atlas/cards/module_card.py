r"""The regime of one trained module: is it still the kernel regression that NTK theory says it is?

With θ₀ the weights that training started from, f₀ and Θ₀ the network and its NTK there, X the training samples and f
the trained network, three predictors stand beside f on test samples,

    g(x) = f₀(x) + Θ₀(x, X) Θ₀⁻¹ (y − f₀(X))          regression with the network's own initial NTK,
    ℓ(x) = f₀(x) + Θ₀(x, X) Θ₀⁻¹ (f(X) − f₀(X))       the linearized network that says on X what f says there,
    h(x) = f₀(x) + ∇f₀(x)·(θ − θ₀)                    the tangent at θ₀, gone along as far as training went.

A network that stays linear in its parameters, trained from θ₀ by gradient descent or momentum, is ℓ after any number of
steps and for any loss that is a function of its outputs: each step moves θ within the span of the gradients on X. If
it was trained to the end on squared loss, it is g as well (Lee et al. 2019, section 2.2). Optimizers that rescale
gradients entry by entry (Adam) leave that span. h asks for more, that the weights themselves stayed where the network
is linear, and holds for every optimizer and loss (lazy training: Chizat, Oyallon & Bach 2019). Modules trained on
squared loss are judged by g and ℓ, others by h.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from ntk_atlas.arrays import Status
from ntk_atlas.config.thresholds import RegimeThresholds, Threshold
from ntk_atlas.kernels import empirical_ntk, relative_drift
from ntk_atlas.networks.initial_state import InitialStateError, load_state, read_state, trainable_names
from ntk_atlas.regimes import Regime, decide
from ntk_atlas.regression import safe_cholesky

N_BOOTSTRAP = 2000
"""Resamples of the test samples behind an interval."""
LINE = 110
"""Letters of a line of a card."""
MOST_PROBES = 200
"""Training samples whose kernel says how far the kernel moved."""
STANDARD_THRESHOLDS = RegimeThresholds(
    distance=Threshold(value=0.33, reason="a third of the predictor's own error: a tenth of the squared error"),
    error_ratio=Threshold(value=1.1, reason="a tenth of the mean squared error"),
    most_diverged=Threshold(value=0.5, reason="one network"),
    most_unfinished=Threshold(value=0.5, reason="one network"),
    uneven=Threshold(value=0.01, reason="not used: one network"),
)
"""The thresholds of `config/regimes.yaml`."""


class CardInputError(ValueError):
    """What was given makes no card; the text says what is wrong and what to give."""


@dataclass(frozen=True)
class Measured:
    """A number with its 95 % interval over test samples."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


@dataclass(frozen=True)
class RegimeCard:
    """What `regime_card` found. `print(card)` says it in words.

    Attributes:
        regime: which part of NTK theory describes the module.
        n_train: training samples.
        n_test: test samples.
        n_outputs: outputs of the module.
        n_parameters: trainable parameters.
        train_error: mean squared error on training samples; for class labels the share that is wrong.
        test_error: the same on test samples.
        kernel_test_error: of regression with the initial NTK (with the final one, where the initialization is unknown).
        error_ratio: error of the module over the kernel's.
        distance_own_ntk: RMS(f − g)/RMS(g − y); None for class labels.
        distance_linearized: RMS(f − ℓ)/RMS(ℓ − y); None for class labels.
        distance_tangent: RMS(f − h)/RMS(f − f₀).
        kernel_drift: ‖Θ − Θ₀‖_F/‖Θ₀‖_F on training samples.
        is_class: whether targets are class labels.
        remarks: sentences about how the numbers came about.
    """

    regime: Regime
    n_train: int
    n_test: int
    n_outputs: int
    n_parameters: int
    train_error: float
    test_error: float
    kernel_test_error: float
    error_ratio: Measured | None
    distance_own_ntk: Measured | None
    distance_linearized: Measured | None
    distance_tangent: Measured | None
    kernel_drift: float | None
    is_class: bool = False
    remarks: tuple[str, ...] = ()
    thresholds: RegimeThresholds = STANDARD_THRESHOLDS

    def lines(self) -> list[str]:
        """The card in words, the finding first; lines of at most `LINE` letters."""
        tau, error = self.thresholds.distance.value, "misclassified" if self.is_class else "mean squared error"
        kernel = "final" if self.distance_tangent is None else "initial"
        ratio = "" if self.error_ratio is None else f", ratio {self.error_ratio}"
        said = [f"Regime: {self.regime.words}.", *self._why(tau)]
        numbers = [
            f"{name:<46}{value!s:<30}{tau:g}"
            for name, value in (
                ("to regression with its own initial NTK", self.distance_own_ntk),
                ("to its linearization", self.distance_linearized),
                ("to its tangent, per change of the output", self.distance_tangent),
            )
            if value is not None
        ]
        if numbers:
            said += ["", f"{'distance':<46}{'value [95 %]':<30}holds below", *numbers]
        if self.kernel_drift is not None:
            said.append(f"{'the kernel moved by':<46}{self.kernel_drift:.3g} of its norm")
        said += [
            "",
            f"{error} on test samples: network {self.test_error:.4g}, its {kernel} NTK {self.kernel_test_error:.4g}"
            f"{ratio}",
            f"{error} on training samples: network {self.train_error:.4g}",
            f"{self.n_train:,} training and {self.n_test:,} test samples, {_counted(self.n_outputs, 'output')}, "
            f"{_counted(self.n_parameters, 'trainable parameter')}; intervals are over the test samples alone",
            *self.remarks,
        ]
        return [line for text in said for line in (wrap(text, LINE) or [""])]

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _why(self, tau: float) -> list[str]:
        if self.distance_tangent is None:
            return [
                "Its initialization is unknown, so its movement is too: give initial_state, the weights that training "
                "started from."
            ]
        by, what = self.distance_linearized or self.distance_tangent, "tangent" if self.is_class else "linearization"
        moved = f"the network is {by} from its {what}, the threshold is {tau:g}"
        wider = (
            ". Theory has the distance fall like 1/width, which asks for about "
            f"{max(by.value / tau, 1.0):.2g} times the width; `make card` trains several widths and measures it."
        )
        if self.regime.learns:
            return [
                f"Training changed its features: {moved}.",
                "To be closer to its kernel: multiply its output by α > 1 and divide the learning rate by α², subtract "
                "f₀, or widen it" + ("." if self.is_class else wider),
            ]
        if self.regime == Regime.UNDECIDED:
            return [f"An interval crosses its threshold ({moved}): more test samples decide."]
        if self.regime == Regime.NOT_TRAINED:
            return [f"It did not reach the training error asked, and an interval crosses its threshold ({moved})."]
        richer = (
            "To learn features: multiply its output by α < 1 and divide the learning rate by α², make the initial "
            "weights of its last layer smaller, or narrow it."
        )
        if self.regime == Regime.FINITE_TIME:
            ended = (
                "its loss has no end at finite weights" if self.is_class else "training ended before regression does"
            )
            return [f"It is linear in its parameters all along: {moved}; {ended}.", richer]
        return [f"It is regression with the NTK of its initialization: {moved}.", richer]


def regime_card(
    module: nn.Module,
    x_train: Any,
    y_train: Any,
    x_test: Any,
    y_test: Any,
    *,
    initial_state: Mapping[str, Tensor] | str | Path | None = None,
    trainable: Sequence[str] | None = None,
    target_mse: float = 1e-2,
    target_error: float = 0.01,
    thresholds: RegimeThresholds = STANDARD_THRESHOLDS,
    seed: int = 0,
) -> RegimeCard:
    """The regime of a trained module: which part of NTK theory describes it, with the numbers behind it.

    Everything is computed in float64 on a copy, on the module's device, in evaluation mode. Kernels of C outputs are
    (n C) × (n C) matrices: 1,000 training samples of 10 outputs take 800 MB.

    Args:
        module: trained, maps `(n, *input_shape)` to `(n, C)` (or `(n,)`).
        x_train: training samples `(n, *input_shape)`.
        y_train: real targets `(n,)` or `(n, C)`, which the module was trained on by squared loss; or, for C > 1, class
            labels `(n,)` of integers, for a module trained on another loss.
        x_test: test samples.
        y_test: the same of test samples.
        initial_state: the weights that training started from: a `state_dict`, or a file of one (`torch.save`; a
            Lightning checkpoint too). Files are read with `weights_only=True`: nothing in them is executed. Without it
            the card has the fit of the module's final kernel, and the regime is undecided.
        trainable: patterns of names of the parameters that were trained (`head.*`, `*.lora_*`), for fine-tuning; by
            default those with `requires_grad`.
        target_mse: the training error below which a module counts as trained to the end (squared loss).
        target_error: the share of misclassified training samples below which it does (class labels).
        thresholds: of the regimes.
        seed: of the resamples of test samples.

    Returns:
        The card.

    Raises:
        CardInputError: if arrays, states or patterns do not fit the module, or its kernel is zero.
    """
    trained = deepcopy(module).eval().double()
    device = next((p.device for p in trained.parameters()), torch.device("cpu"))
    try:
        names = trainable_names(trained, trainable)
    except InitialStateError as error:
        raise CardInputError(f"trainable: {error}") from error
    if not names:
        raise CardInputError("the module has no trainable parameters: set requires_grad, or name some in `trainable`")
    x = {part: _inputs(values, device, part) for part, values in (("x_train", x_train), ("x_test", x_test))}
    with torch.no_grad():
        f = {part: _outputs(trained, x[part], part) for part in x}
    labels, y = _targets(y_train, y_test, f, device)
    generator = np.random.default_rng(seed)
    n_train, n_outputs = f["x_train"].shape
    is_class = labels["x_test"] is not None
    train_error = _error(f["x_train"], y["x_train"], labels["x_train"])
    card = partial(
        RegimeCard,
        n_train=n_train,
        n_test=len(f["x_test"]),
        n_outputs=n_outputs,
        n_parameters=sum(p.numel() for p in trained.parameters() if p.requires_grad),
        train_error=train_error,
        test_error=_error(f["x_test"], y["x_test"], labels["x_test"]),
        is_class=is_class,
        thresholds=thresholds,
    )
    if initial_state is None:
        kernel, remark = _Regression(trained, x), "Its final NTK is fitted around 0, as if f₀ were 0."
        final = kernel.predict(y["x_train"])
        return card(
            regime=Regime.UNDECIDED,
            kernel_test_error=_error(final, y["x_test"], labels["x_test"]),
            error_ratio=_ratio(f["x_test"], final, y["x_test"], labels["x_test"], generator),
            distance_own_ntk=None,
            distance_linearized=None,
            distance_tangent=None,
            kernel_drift=None,
            remarks=(remark, *kernel.remarks),
        )
    start = deepcopy(trained)
    _load(start, initial_state, trained, names)
    with torch.no_grad():
        f0 = {part: _outputs(start, x[part], part) for part in x}
    change = {part: f[part] - f0[part] for part in x}
    if not bool((change["x_test"] != 0.0).any()):
        raise CardInputError(
            "the module is its initial_state: on test samples training changed nothing; give the trained module, and "
            "as initial_state the weights before training"
        )
    kernel = _Regression(start, x)
    linear = f0["x_test"] + kernel.predict(change["x_train"])
    own = f0["x_test"] + kernel.predict(y["x_train"] - f0["x_train"])
    tangent = f0["x_test"] + _tangent(start, trained, x["x_test"])
    test = y["x_test"]
    along = _distance(f["x_test"] - tangent, change["x_test"], generator)
    linearized = None if is_class else _distance(f["x_test"] - linear, linear - test, generator)
    distance = None if is_class else _distance(f["x_test"] - own, own - test, generator)
    ratio = _ratio(f["x_test"], own, test, labels["x_test"], generator)
    # On other losses than the squared one a linear network is not regression, however long it trains.
    stays = is_class and along.high < thresholds.distance.value
    found = {
        "diverged": 0.0,
        "unfinished": float(stays or train_error > (target_error if is_class else target_mse)),
    }
    judged = {"distance_linearized": linearized or along, "distance_own_ntk": distance, "error_ratio": ratio}
    for name, measured in judged.items():
        if measured is not None:
            found |= {name: measured.value, f"{name}_low": measured.low, f"{name}_high": measured.high}
    probes = x["x_train"][: min(MOST_PROBES, n_train)]
    drift = relative_drift(empirical_ntk(trained, probes), empirical_ntk(start, probes))
    remarks = [*kernel.remarks]
    if is_class:
        remarks.append(
            "Class labels: the loss is not the squared one, whose end regression is, so the module is held against its "
            "tangent; its kernel's error is regression on one-hot targets."
        )
    return card(
        regime=Regime(int(decide(xr.Dataset(found), thresholds))),
        kernel_test_error=_error(own, test, labels["x_test"]),
        error_ratio=ratio,
        distance_own_ntk=distance,
        distance_linearized=linearized,
        distance_tangent=along,
        kernel_drift=float(drift),
        remarks=tuple(remarks),
    )


class _Regression:
    """Regression at ridge → 0 with the full NTK of a module on the training samples; outputs mix."""

    def __init__(self, module: nn.Module, x: Mapping[str, Tensor]):
        within = _matrix(empirical_ntk(module, x["x_train"], output_reduction="full"))
        factor = safe_cholesky(within)
        if factor.status == Status.SINGULAR:
            raise CardInputError(
                f"the NTK on {len(x['x_train'])} training samples is zero or not finite: the outputs do not depend on "
                "the trainable parameters, or overflow"
            )
        self.remarks = (
            (f"The NTK is nearly singular: {factor.jitter:.0e} of its mean diagonal was added.",)
            if factor.status == Status.JITTERED
            else ()
        )
        self._factor = factor.lower
        self._across = _matrix(empirical_ntk(module, x["x_test"], x["x_train"], output_reduction="full"))

    def predict(self, targets: Tensor) -> Tensor:
        """Θ(x, X) Θ⁻¹ targets `(n_test, C)`."""
        solved = torch.cholesky_solve(targets.flatten()[:, None], self._factor)
        return (self._across @ solved).view(-1, targets.shape[1])


def _matrix(kernel: Tensor) -> Tensor:
    """A full kernel `(n1, n2, C, C)` as the matrix `(n1 C, n2 C)` of samples with their outputs."""
    n1, n2, c, _ = kernel.shape
    return kernel.permute(0, 2, 1, 3).reshape(n1 * c, n2 * c).contiguous()


def _tangent(start: nn.Module, trained: nn.Module, x: Tensor) -> Tensor:
    """∇f₀(x)·(θ − θ₀), `(n, C)`."""
    at = {name: p.detach() for name, p in start.named_parameters() if p.requires_grad}
    to = dict(trained.named_parameters())
    step = {name: to[name].detach() - p for name, p in at.items()}
    along: Tensor = torch.func.jvp(
        lambda weights: _outputs_of(torch.func.functional_call(start, weights, (x,))), (at,), (step,)
    )[1]
    return along


def _outputs_of(values: Tensor) -> Tensor:
    return values[:, None] if values.dim() == 1 else values


def _outputs(module: nn.Module, x: Tensor, part: str) -> Tensor:
    try:
        values = module(x)
    except Exception as error:
        raise CardInputError(f"the module fails on {part} of shape {tuple(x.shape)}: {error}") from error
    values = _outputs_of(values)
    if values.dim() != 2 or len(values) != len(x):
        raise CardInputError(f"the module maps {part} to {tuple(values.shape)}: a card needs (n, n_outputs)")
    if not bool(torch.isfinite(values).all()):
        raise CardInputError(f"the module's outputs on {part} are not finite: it diverged")
    return values.detach()


def _inputs(values: Any, device: torch.device, name: str) -> Tensor:
    x = torch.as_tensor(np.asarray(values) if not isinstance(values, Tensor) else values).to(device)
    if x.dim() < 2 or not len(x):
        raise CardInputError(f"{name} has shape {tuple(x.shape)}: give (n_samples, *input_shape)")
    return x.double() if x.is_floating_point() else x


def _targets(
    y_train: Any, y_test: Any, f: Mapping[str, Tensor], device: torch.device
) -> tuple[dict[str, Tensor | None], dict[str, Tensor]]:
    """Labels of both parts (None for real targets), and targets `(n, C)`: one-hot and centred for labels.

    Raises:
        CardInputError: if targets do not fit the outputs.
    """
    labels: dict[str, Tensor | None] = {}
    targets: dict[str, Tensor] = {}
    for part, values in (("x_train", y_train), ("x_test", y_test)):
        y = torch.as_tensor(np.asarray(values) if not isinstance(values, Tensor) else values).to(device)
        name, (n, n_outputs) = part.replace("x", "y"), f[part].shape
        if len(y) != n:
            raise CardInputError(f"{name} has {len(y)} targets for {n} samples")
        labels[part] = None
        if n_outputs > 1 and y.dim() == 1:
            if y.is_floating_point():
                raise CardInputError(
                    f"{name} has one real number per sample, and the module {n_outputs} outputs: give targets "
                    f"(n, {n_outputs}), or class labels as integers"
                )
            if int(y.min()) < 0 or int(y.max()) >= n_outputs:
                raise CardInputError(
                    f"{name} has labels {int(y.min())} to {int(y.max())}, outputs are 0 to {n_outputs - 1}"
                )
            labels[part] = y.long()
            targets[part] = nn.functional.one_hot(y.long(), n_outputs).double() - 1.0 / n_outputs
        else:
            targets[part] = _outputs_of(y.double())
            if targets[part].shape != f[part].shape:
                raise CardInputError(
                    f"{name} has shape {tuple(y.shape)}, the module's outputs have {tuple(f[part].shape)}"
                )
        if not bool(torch.isfinite(targets[part]).all()):
            raise CardInputError(f"{name} is not finite")
    return labels, targets


def _errors(outputs: Tensor, y: Tensor, labels: Tensor | None) -> Tensor:
    """Error of each sample, `(n,)`: squared, or 1 where the class is wrong."""
    if labels is not None:
        return (outputs.argmax(1) != labels).double()
    return (outputs - y).square().mean(1)


def _error(outputs: Tensor, y: Tensor, labels: Tensor | None) -> float:
    return float(_errors(outputs, y, labels).mean())


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _distance(difference: Tensor, unit: Tensor, generator: np.random.Generator) -> Measured:
    squares = _interval(difference.square().mean(1), unit.square().mean(1), generator)
    return Measured(*(value**0.5 for value in (squares.value, squares.low, squares.high)))


def _ratio(f: Tensor, g: Tensor, y: Tensor, labels: Tensor | None, generator: np.random.Generator) -> Measured | None:
    """Error of f over that of g; None if g has none."""
    above, below = (_errors(outputs, y, labels) for outputs in (f, g))
    return _interval(above, below, generator) if bool(below.any()) else None


def _interval(above: Tensor, below: Tensor, generator: np.random.Generator) -> Measured:
    """Ratio of two means over test samples, with its percentile interval over resamples of the samples."""
    top, bottom = above.cpu().numpy(), below.cpu().numpy()
    n = len(top)
    weights = generator.multinomial(n, np.full(n, 1.0 / n), size=N_BOOTSTRAP).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = (weights @ top) / (weights @ bottom)
        low, high = np.nanquantile(resampled, (0.025, 0.975))
        return Measured(float(top.mean() / bottom.mean()), float(low), float(high))


def _load(start: nn.Module, given: Mapping[str, Tensor] | str | Path, trained: nn.Module, names: set[str]) -> None:
    """Loads the initial state into `start`.

    Raises:
        CardInputError: if it cannot be read, or is of another module.
    """
    try:
        load_state(start, read_state(given), whole=True)
    except InitialStateError as error:
        raise CardInputError(f"initial_state: {error}") from error
    here = dict(trained.named_parameters())
    for name, p in start.named_parameters():
        if name not in names and not torch.equal(p.detach(), here[name].detach()):
            raise CardInputError(
                f"{name!r} changed in training and is not trainable here: name it in `trainable`, or set its "
                "requires_grad"
            )
