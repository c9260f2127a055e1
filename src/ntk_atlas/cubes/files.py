"""The NetCDF files of an experiment: written whole or not at all, opened in whichever version they are, read by name.

Labelled arrays are what xarray has. Draws of one data set may share samples (`statistics.draws`): errors of predictors
are read on whole test sets, and without each fold.
"""

from collections.abc import Hashable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from pydantic import ValidationError

from ntk_atlas.arrays import LabelledArray, LabelledArrays, Status, is_passing, whole_file
from ntk_atlas.config.analyses import MovementSettings, ScalingSettings
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.cubes.dictionary import CUBE
from ntk_atlas.cubes.variables import SCHEMA_VERSION, File


def write_netcdf(dataset: xr.Dataset, path: Path) -> None:
    """Writes compressed NetCDF-4 with checksums under a temporary name and renames it.

    Args:
        dataset: attributes must be text or numbers; NetCDF has no other kinds.
        path: the file; its folder is made.
    """
    numeric = {name for name, variable in dataset.variables.items() if variable.dtype.kind in "fiub"}
    encoding: dict[Hashable, dict[str, int]] = {name: {"fletcher32": True} for name in numeric if dataset[name].ndim}
    encoding |= {name: {"fletcher32": True, "zlib": True, "complevel": 4} for name in numeric if dataset[name].ndim > 1}
    with whole_file(path) as temporary:
        dataset.to_netcdf(temporary, engine="netcdf4", encoding=encoding)


def read_netcdf(path: Path, *, drop: tuple[str, ...] = ()) -> xr.Dataset:
    """Reads a file into memory and closes it.

    Args:
        path: the file.
        drop: variables that are not read.

    Returns:
        The dataset, with integer codes left as they were written.
    """
    with xr.open_dataset(path, engine="netcdf4", drop_variables=drop) as dataset:
        return dataset.load()


def described(dataset: xr.Dataset, file: File, attributes: Mapping[str, object]) -> xr.Dataset:
    """The dataset with what the dictionary says of its kind of file and of each variable in it.

    Args:
        dataset: the contents of the file; its attributes are set in place.
        file: the kind of file; variables that it has no row for keep their attributes.
        attributes: of the file, besides those of its kind.
    """
    for name, row in file.attributes_of(map(str, dataset.variables)).items():
        dataset[name].attrs = row
    dataset.attrs = file.head | dict(attributes)
    return dataset


def to_xarray(contents: LabelledArrays) -> xr.Dataset:
    """The same arrays and attributes for xarray; values are not copied."""
    arrays = {name: (array.dims, array.values, dict(array.attributes)) for name, array in contents.arrays.items()}
    coordinates = {name: arrays.pop(name) for name in contents.coordinates}
    return xr.Dataset(arrays, coordinates, dict(contents.attributes))


def from_xarray(dataset: xr.Dataset) -> LabelledArrays:
    """The same arrays without xarray; attributes are left out."""
    return LabelledArrays(
        {
            str(name): LabelledArray(tuple(map(str, array.dims)), array.values)
            for name, array in dataset.variables.items()
        }
    )


LEFT_OUT = "left_out"
"""Dimension of a statistic computed from whole test sets (place 0) and without each fold (places 1 … K)."""
FOLD_SHARE, SHARED_TRAIN = "fold_share", "shared_train"
_UNKNOWN_SHARES = (
    "This cube does not say what its draws have in common: intervals are for further draws of its data set, and may be "
    "too short for new data."
)


class CubeError(ValueError):
    """A file is no cube that can be read, and what to do about it."""


def _damaged(path: Path, error: Exception) -> str:
    return f"{path} is no NetCDF file, or a damaged one ({error}): copy it anew, or remove it and run its study again"


def open_cube(path: str | Path) -> xr.Dataset:
    """Opens the cube of an experiment, as `docs/cube.md` describes it.

    Args:
        path: a `cube.nc`.

    Returns:
        The cube; values are read when they are asked for. A cube from before `schema_version` is translated: attributes
        of variables could have other words, ξ₁ could be missing and `n_cells` count networks; where the cube does not
        say what draws have in common, its `notices` say so.

    Raises:
        FileNotFoundError: if there is no file.
        OSError: if it cannot be read for reasons that lie around it: rights, a file server.
        CubeError: if the file cannot be read, is no cube, or is of a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: `make run` writes results/<experiment>/{CUBE.name}")
    try:
        cube = xr.open_dataset(path, engine="netcdf4")
    except OSError as error:
        if is_passing(error):  # rights, a file server: the file may be sound
            raise
        raise CubeError(_damaged(path, error)) from error
    except ValueError as error:
        raise CubeError(_damaged(path, error)) from error
    if cube.attrs.get("title") != CUBE.title:
        title = cube.attrs.get("title", "a file without a title")
        cube.close()
        raise CubeError(
            f"{path} is no cube but {title!r}: the cube of an experiment is its {CUBE.name}; "
            "other NetCDF files are opened by xarray.open_dataset"
        )
    version = int(cube.attrs.get("schema_version", 0))
    if version > SCHEMA_VERSION:
        written = str(cube.attrs.get("versions", "")).split(", ")
        newer = next((name for name in written if name.startswith("ntk-atlas ")), "a newer ntk-atlas")
        cube.close()
        raise CubeError(
            f"{path} was written by {newer} and has schema version {version}; this version reads cubes up to "
            f"{SCHEMA_VERSION}: update ntk-atlas, or open the file by xarray.open_dataset and read its attributes"
        )
    return cube if version == SCHEMA_VERSION else _from_before_versions(cube)


def _from_before_versions(cube: xr.Dataset) -> xr.Dataset:
    """A cube without `schema_version` as one of version 1; names and values of what it has were the same."""
    if "xi_1" not in cube.coords:
        with np.errstate(divide="ignore"):
            cube = cube.assign_coords(xi_1=1.0 / abs(np.log(cube["chi_1"])))
    for name, row in CUBE.attributes_of(map(str, cube.variables)).items():
        cube[name].attrs |= row
    if "n_networks" not in cube.attrs:
        cells = [cube.sizes[dim] for dim in ("depth", "width", "init_scale", "n_train")]
        cube.attrs |= {"n_cells": int(np.prod(cells)), "n_networks": cube["status"].size}
    if "shared_test" not in cube and cube.sizes["draw"] > 1:
        said = str(cube.attrs.get("notices", ""))
        cube.attrs["notices"] = "\n".join(filter(None, (said, _UNKNOWN_SHARES)))
    cube.attrs |= CUBE.head
    return cube


def experiment_settings(cube: xr.Dataset) -> ExperimentSettings:
    """The settings in the attribute `config` of a cube.

    Raises:
        KeyError: if it has none.
        ValueError: if they are not settings of this version of the package.
    """
    try:
        return ExperimentSettings.model_validate_json(cube.attrs["config"])
    except ValidationError as error:
        first = error.errors()[0]
        named = [part for part in str(cube.attrs.get("versions", "")).split(", ") if part.startswith("ntk-atlas ")]
        raise ValueError(
            f"the settings in this file are not of this version of ntk-atlas ({'.'.join(map(str, first['loc']))}: "
            f"{first['msg']}); it was written by {named[0] if named else 'a version that it does not name'}: read it "
            "with that version, or run its study again"
        ) from error


def scaling_settings(cube: xr.Dataset) -> ScalingSettings:
    """What learning curves and intervals of a cube are about; the defaults if the cube does not say."""
    return experiment_settings(cube).scaling if "config" in cube.attrs else ScalingSettings()


def movement_settings(cube: xr.Dataset) -> MovementSettings:
    """At which training error movement is compared; the default if the cube does not say."""
    return experiment_settings(cube).movement if "config" in cube.attrs else MovementSettings()


def compared_ridge(settings: ExperimentSettings) -> str:
    """The ridge of the kernels that networks are compared with: what theory says of how they were trained.

    Networks trained to the end interpolate as kernels do at ridge → 0; those stopped at the best validation error are
    compared with the ridge of the best validation error.
    """
    return "tuned" if settings.training.selection == "best_validation" else "zero"


def stand_ins_of(source: xr.Dataset) -> tuple[str, ...]:
    """Kernels of a cube, or of its laws, that are not of the networks' architecture and are called stand-ins."""
    return tuple(str(source.attrs.get("stand_ins", "")).split())


def predictor_values(
    cube: xr.Dataset, predictor: str, field: str = "test_mse", *, ridge: str = "tuned"
) -> xr.DataArray:
    """One field of one predictor, over the dimensions it depends on.

    Args:
        cube: a cube.
        predictor: a name on the cube's `predictor` coordinate.
        field: `test_mse`, `test_error`, or any other field of `docs/cube.md`.
        ridge: `tuned` or `zero`; the network has none.

    Returns:
        The values, without the `ridge` dimension.

    Raises:
        KeyError: if the cube has no such predictor or field; the message lists those it has.
    """
    name = f"{field}_{predictor}"
    if name not in cube.data_vars:
        known = ", ".join(str(value) for value in cube["predictor"].values)
        raise KeyError(f"the cube has no {name}; its predictors are {known}")
    values = cube[name]
    return values.sel(ridge=ridge) if "ridge" in values.dims else values


def errors_without_folds(cube: xr.Dataset, predictor: str, *, ridge: str = "tuned") -> xr.DataArray:
    """Test MSE of a predictor on whole test sets and without each fold of test samples.

    Args:
        cube: a cube.
        predictor: the predictor.
        ridge: of kernels.

    Returns:
        `test_mse_<predictor>` with the leading dimension `left_out`: 0 is the whole test set. Arithmetic keeps what
        `common_variance` needs: the coordinates `fold_share` (draw, left_out), the share of the left-out samples, and
        `shared_train`. Draws that share no sample, and cubes without folds, have the whole test set alone.
    """
    whole = predictor_values(cube, predictor, "test_mse", ridge=ridge)
    folds = f"test_mse_folds_{predictor}"
    if folds not in cube or not draws_overlap(cube):
        return _with_shared_train(whole, cube).expand_dims(LEFT_OUT)
    parts = predictor_values(cube, predictor, "test_mse_folds", ridge=ridge)
    return without_folds(whole, parts, cube)


def without_folds(whole: xr.DataArray, parts: xr.DataArray, cube: xr.Dataset) -> xr.DataArray:
    """A mean over test samples, on the whole test sets and without each fold.

    Args:
        whole: the mean over all test samples of a draw.
        parts: the mean over each fold (`test_fold`); NaN where a draw has no sample there.
        cube: has `test_fold_size` and `shared_train`.

    Returns:
        As `errors_without_folds`: (m e − m_g e_g)/(m − m_g).
    """
    size = cube["test_fold_size"].astype(float)
    share = size / size.sum("test_fold")
    left = (whole - share * parts.fillna(0.0)) / (1.0 - share)
    left = left.rename(test_fold=LEFT_OUT).assign_coords({LEFT_OUT: np.arange(1, size.sizes["test_fold"] + 1)})
    joined = xr.concat([whole.expand_dims({LEFT_OUT: [0]}), left], dim=LEFT_OUT, coords="minimal", compat="override")
    shares = np.concatenate([np.zeros_like(share.values[..., :1]), share.values], axis=-1)
    return _with_shared_train(joined.assign_coords({FOLD_SHARE: (_renamed(share.dims), shares)}), cube)


def draws_overlap(cube: xr.Dataset) -> bool:
    """Whether two draws can have a sample in common."""
    shared = [float(cube[name].max()) for name in ("shared_test", SHARED_TRAIN) if name in cube]
    return any(np.isfinite(value) and value > 0.0 for value in shared)


def fold_shares(values: xr.DataArray) -> np.ndarray | None:
    """Share of a draw's test samples in each left-out fold, `(n_draws, 1 + K)`; None of values without folds.

    Values of whole test sets that were picked from `errors_without_folds` have the coordinate, but no folds.
    """
    share = values.coords.get(FOLD_SHARE)
    if share is None or LEFT_OUT not in share.dims:
        return None
    share = share if "draw" in share.dims else share.expand_dims(draw=values.sizes["draw"])
    shares: np.ndarray = share.transpose("draw", LEFT_OUT).values
    return shares


def _with_shared_train(values: xr.DataArray, cube: xr.Dataset) -> xr.DataArray:
    if SHARED_TRAIN not in cube:
        return values
    shared = cube[SHARED_TRAIN]
    shared = shared if set(shared.dims) <= set(values.dims) else shared.max()
    return values.assign_coords({SHARED_TRAIN: shared.variable})


def _renamed(dims: tuple[Hashable, ...]) -> tuple[Hashable, ...]:
    return tuple(LEFT_OUT if dim == "test_fold" else dim for dim in dims)


def summary_table(cube: xr.Dataset) -> pd.DataFrame:
    """Counts of networks by what became of them.

    Args:
        cube: the cube.

    Returns:
        One line a (init_scale, depth, width) and one for all: networks, how many reached the training error asked
        (`target_mse`), ended their budget above it, diverged, were timed out or are missing, the share of the trained
        that reached it, and the median training error at the end.
    """
    lines = []
    for scale in cube["init_scale"].values:
        for depth in cube["depth"].values:
            for width in cube["width"].values:
                cell = cube.sel(init_scale=scale, depth=depth, width=width)
                keys = {"phase": cell["phase"].item(), "init_scale": scale, "depth": depth, "width": width}
                lines.append(keys | _counts(cell))
    for phase in dict.fromkeys(cube["phase"].values.tolist()):
        chosen = cube.isel(init_scale=cube["phase"].values == phase)
        lines.append({"phase": phase, "init_scale": "all", "depth": "all", "width": "all"} | _counts(chosen))
    lines.append({"phase": "all", "init_scale": "all", "depth": "all", "width": "all"} | _counts(cube))
    return pd.DataFrame(lines)


def _counts(cell: xr.Dataset) -> dict[str, float]:
    status = cell["status"]
    count = {flag: int((status == int(flag)).sum()) for flag in Status}
    trained = status.size - count[Status.MISSING] - count[Status.TIMED_OUT]
    return {
        "networks": status.size,
        "reached target": count[Status.CONVERGED],
        "budget spent": count[Status.BUDGET_SPENT],
        "diverged": count[Status.DIVERGED],
        "timed out": count[Status.TIMED_OUT],
        "missing": count[Status.MISSING],
        "share that reached it": count[Status.CONVERGED] / trained if trained else float("nan"),
        "median final training MSE": float(cell["final_train_mse"].median()),
    }
