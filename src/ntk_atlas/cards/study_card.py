"""The card of one model by training it: which small study answers, and what its map says of the model.

`make card` writes the study as an overlay that the user can keep, runs it and prints the card.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ntk_atlas.config.thresholds import RegimeThresholds
from ntk_atlas.datasets import SOURCES, DataError, inspect_dataset, read_table
from ntk_atlas.datasets.sources.file import read_array
from ntk_atlas.regimes import FrontierStatus, Regime, frontier_of, is_given

TABLES = (".csv", ".tsv", ".parquet", ".csv.gz", ".tsv.gz", ".txt")
ARRAYS = (".npz", ".nc")
MOST_CLASSES = 20
LEAST_TRAINED = 16
WORTHWHILE = 128
"""Training samples worth having in draws that share none."""
SIZES = ((512, 400, 5), (512, 400, 3), (256, 400, 3), (128, 400, 3), (128, 300, 2), (64, 200, 2), (32, 150, 2))
"""Largest n_train, epochs and draws, from the best card to the quickest."""


@dataclass(frozen=True)
class CardRequest:
    """What a card is asked about.

    Attributes:
        data: a file (`.csv`, `.tsv`, `.parquet`, `.npz`, `.nc`), or the name of a source (`digits`, `cifar10`, ...).
        network: `my_net.py:build`, or a family (`fully_connected`, `convolutional`).
        target: column or array to predict; of a source's data there is one.
        task: `classes`, `binary` or `regression`; None tells it from the targets.
        depth: hidden layers.
        width: of the model that the card is about; others are trained around it.
        init_scale: σ_w².
        activation: of a built-in family.
        initial_state: file of weights that a network of the user's own starts from, as in fine-tuning.
        trainable: patterns of names of its parameters that train; empty for those that the factory leaves trainable.
        n_train: training samples; None takes as many as the time allows.
        minutes: that the study may take.
    """

    data: str
    network: str = "fully_connected"
    target: str | None = None
    task: str | None = None
    depth: int = 2
    width: int = 128
    init_scale: float = 2.0
    activation: str = "relu"
    initial_state: str | None = None
    trainable: tuple[str, ...] = ()
    n_train: int | None = None
    minutes: float = 3.0

    @property
    def is_own(self) -> bool:
        """Whether the network is the user's own."""
        return ":" in self.network


def card_dataset(request: CardRequest) -> dict[str, Any]:
    """The section `dataset` of the study that answers a request; sizes of its test and validation sets are not set.

    Args:
        request: see there; of a file the targets are read to tell the task.

    Returns:
        Keys of the section.

    Raises:
        DataError: if there is no such source or file, the target is not named, or the task cannot be told.
    """
    suffix = next((s for s in (*TABLES, *ARRAYS) if request.data.lower().endswith(s)), None)
    if suffix is None and request.data in SOURCES.names():
        if request.target is not None:
            raise DataError(f"TARGET={request.target}: {request.data} has one target; leave TARGET out")
        found: dict[str, Any] = {"source": request.data}
        if request.task is not None:
            found["task"] = request.task
        if request.network == "convolutional" and "as_images" in SOURCES.get(request.data).settings.model_fields:
            found["as_images"] = True
        return found
    path = Path(request.data)
    if suffix is None:
        raise DataError(
            f"DATA={request.data} is no file of data ({', '.join((*TABLES[:3], *ARRAYS))}) and no source "
            f"({', '.join(sorted(set(SOURCES.names()) - {'file'}))}): give one"
        )
    if not path.is_file():
        raise DataError(f"DATA={request.data}: there is no such file")
    if suffix in TABLES:
        table = read_table(path)
        if request.target is None or request.target not in table.columns:
            problem = "TARGET is missing" if request.target is None else f"there is no column {request.target!r}"
            raise DataError(f"{path}: {problem}; give TARGET=, one of {', '.join(list(table.columns)[:30])}")
        column = table.columns[request.target]
        values = np.asarray(column.values)[~np.asarray(column.missing, bool)]
        is_text = column.kind != "number"
    else:
        values = read_array(path, request.target or "y")
        is_text = values.dtype.kind in "USO"
    found = {"source": "file", "path": str(path), "y": request.target or "y", "task": request.task}
    if request.task is None:
        found["task"] = _task(values, is_text, path, found["y"])
    if found["task"] == "binary":
        found["positive_classes"] = _classes(values)[-1:]
    return found


def _task(values: np.ndarray, is_text: bool, path: Path, target: str) -> str:
    """What targets mean: words and few consecutive integers are classes, other numbers are real.

    Raises:
        DataError: if whole numbers may be either.
    """
    if values.ndim > 1:
        return "regression"
    distinct = np.unique(values.astype(str) if is_text else values)
    if is_text or (len(distinct) == 2 and _whole(distinct)):
        return "binary" if len(distinct) == 2 else "classes"
    if not _whole(distinct) or len(distinct) > MOST_CLASSES:
        return "regression"
    if len(distinct) == int(distinct[-1]) - int(distinct[0]) + 1 and int(distinct[0]) in (0, 1):
        return "classes"
    shown = ", ".join(f"{value:g}" for value in distinct[:6])
    raise DataError(
        f"{path}: {target} has {len(distinct)} different whole numbers, {shown}, …: they may be classes "
        "or amounts; say which by TASK=classes or TASK=regression"
    )


def _whole(values: np.ndarray) -> bool:
    numbers = values.astype(np.float64)
    return bool((numbers == np.rint(numbers)).all())


def _classes(values: np.ndarray) -> list[int | str]:
    if values.dtype.kind in "USO" and not all(isinstance(value, int | float) for value in values.tolist()):
        return sorted({str(value) for value in values})
    return sorted({int(value) for value in values})


def card_experiments(request: CardRequest, widths: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Studies that answer a request, from the best to the quickest.

    Args:
        request: see there.
        widths: to train: three or more around the model's, from whose law the width follows from which theory holds;
            one where the network knows no width.

    Yields:
        An experiment, as in a config file.

    Raises:
        DataError: see `card_dataset`, and if there are too few samples.
    """
    dataset = card_dataset(request)
    model = SOURCES.get(dataset["source"]).settings
    size = inspect_dataset(model(**dataset, n_validation=1, n_test=1))
    n_samples = size.n_samples if size.split == "drawn" else size.n_pool
    asked = request.n_train
    n_pool = n_samples - sum(_held_out(n_samples).values()) if size.split == "drawn" else size.n_pool
    if n_pool < (asked or LEAST_TRAINED):
        raise DataError(
            f"DATA={request.data} has {n_samples:,} samples, of which {n_pool:,} are left for training: a card needs "
            f"{asked or LEAST_TRAINED:,}; give more data" + (" or a smaller N" if asked else "")
        )
    network: dict[str, Any] = {"factory": request.network}
    if request.initial_state is not None:
        network["initial_state"] = request.initial_state
    if request.trainable:
        network["trainable"] = list(request.trainable)
    predictors = ["linearized", "ntk_init", "ntk_final"]
    if not request.is_own:
        network = {"architecture": request.network, "activation": request.activation, "parameterization": "ntk"}
        predictors.append("infinite_ntk")
    for most, epochs, draws in SIZES:
        # Draws that share no sample are independent data; where that leaves too few to train on, draws overlap.
        apart = n_samples // draws
        held_out = _held_out(apart if apart - sum(_held_out(apart).values()) >= (asked or WORTHWHILE) else n_samples)
        n = asked or min(most, (apart if held_out == _held_out(apart) else n_samples) - sum(held_out.values()), n_pool)
        yield {
            "dataset": dataset | held_out,
            "grid": {
                "depth": [request.depth],
                "width": list(widths),
                "init_scale": [request.init_scale],
                "n_train": sorted({max(n // 4, min(LEAST_TRAINED, n)), n}),
                "draws": draws,
                "seeds": 1,
            },
            "network": network,
            "training": {
                "optimizer": "momentum",
                "learning_rate": {"relative": 0.5},
                "max_epochs": epochs,
                "initial_output": "subtract",
                "selection": "final",
                "checkpoints": {"epochs": "log", "n_log": 6, "n_probe": min(20, max(n // 4, min(LEAST_TRAINED, n)))},
            },
            "regression": {"predictors": predictors},
            "show": ["regime_map", "learning_curves", "kernel_drift"],
        }


def _held_out(n_samples: int) -> dict[str, int]:
    """Validation and test samples out of so many."""
    return {"n_validation": max(4, min(128, n_samples // 8)), "n_test": max(8, min(512, n_samples // 4))}


def widths_around(request: CardRequest) -> list[int]:
    """Widths from a quarter of the model's to four times it, whose law says how wide it would have to be.

    Weights that were trained before have one width.
    """
    if request.initial_state is not None:
        return [request.width]
    return sorted({max(1, request.width // 4), request.width, 2 * request.width, 4 * request.width})


def card_lines(found: xr.Dataset, cube: xr.Dataset, request: CardRequest, thresholds: RegimeThresholds) -> list[str]:
    """The card in words, some twenty lines, the finding first.

    Args:
        found: the map of regimes of the study, `regimes.nc`.
        cube: its cube.
        request: what was asked about.
        thresholds: of the regimes.

    Returns:
        Lines.
    """
    n = int(found["n_train"].values[-1])
    width = request.width if request.width in found["width"].values else int(found["width"].values[0])
    cell = found.sel(depth=request.depth, init_scale=request.init_scale, n_train=n)
    one = cell.sel(width=width)
    regime, tau = Regime(int(one["regime"])), thresholds.distance.value
    said = [f"Regime at width {width}, depth {request.depth}, σ_w² = {request.init_scale:g}, n = {n}: {regime.words}."]
    said += [_why(regime), "", f"{'distance':<44}{'value [95 %]':<30}holds below"]
    for name, words in (
        ("distance_infinite_ntk", "to the infinite NTK"),
        ("distance_own_ntk", "to its own initial NTK"),
        ("distance_linearized", "to its linearization, trained alike"),
    ):
        if name in one and np.isfinite(one[name]):
            said.append(f"{words:<44}{_three(one, name):<30}{tau:g}")
    if "kernel_drift" in cube:
        drift = cube["kernel_drift"].sel(depth=request.depth, width=width, init_scale=request.init_scale, n_train=n)
        said.append(f"{'its kernel moved by':<44}{float(drift.isel(epoch=-1).mean()):.3g} of its norm")
    network = cube["test_mse_network"].sel(depth=request.depth, width=width, init_scale=request.init_scale, n_train=n)
    said += [
        f"{'mean squared error over that of its kernel':<44}{_three(one, 'error_ratio')}",
        f"{'mean squared error on test samples':<44}{float(network.mean()):.4g}",
        "",
    ]
    if found.sizes["width"] > 1:
        said += ["At other widths:"]
        said += [
            f"  {int(w):>6}  {Regime(int(cell['regime'].sel(width=w))).words}"
            for w in found["width"].values
            if w != width
        ]
        said += _how_wide(found, request, n)
    said += ["", *_advice(regime, request)]
    return said


def _three(one: xr.Dataset, name: str) -> str:
    value, low, high = (float(one[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"


def _why(regime: Regime) -> str:
    if regime == Regime.INFINITE_NTK:
        return "Regression with the infinite NTK predicts it: its kernel is not random, and moves too little to matter."
    if regime in (Regime.OWN_NTK, Regime.OWN_NTK_AT_LEAST):
        return "It is regression with its own initial kernel, which is random at this width."
    if regime == Regime.FINITE_TIME:
        return "It is linear in its parameters all along, and training ended before regression does."
    if regime.learns:
        return "Training moved its kernel: it has left its linearization."
    if regime == Regime.DIVERGED:
        return "Training diverged: lower the learning rate."
    if regime == Regime.NOT_TRAINED:
        return "It did not reach the training error asked: nothing can be said about what theory predicts of the end."
    return "Its intervals cross the threshold: more draws decide."


def _how_wide(found: xr.Dataset, request: CardRequest, n: int) -> Iterator[str]:
    for kernel, words in (("infinite_ntk", "the infinite NTK"), ("own_ntk", "its own initial NTK")):
        one = frontier_of(found, kernel)
        if "status" not in one:
            continue
        one = one.sel(depth=request.depth, init_scale=request.init_scale, n_train=n)
        if is_given(one):
            value, low, high = (float(one[f"frontier{end}"]) for end in ("", "_low", "_high"))
            yield f"How wide for {words} to hold at n = {n}: {value:.0f} [{low:.0f}, {high:.0f}]."
        else:
            yield f"How wide for {words} to hold at n = {n}: {FrontierStatus(int(one['status'])).words}."


def _advice(regime: Regime, request: CardRequest) -> Iterator[str]:
    lazier = "network.output_scale above 1, or a larger width"
    richer = "network.output_scale below 1, or a smaller width"
    if not request.is_own:
        richer = "network.output_scale or network.last_layer_scale below 1, or a smaller width"
    if regime.learns or regime in (Regime.UNDECIDED, Regime.NOT_TRAINED, Regime.DIVERGED):
        yield f"To be closer to its kernel: {lazier}."
    if not regime.learns:
        yield f"To learn features: {richer}."
