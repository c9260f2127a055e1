"""A cube and its scaling laws with planted numbers, shaped like those of a study; for tests only."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ntk_atlas.folds import N_FOLDS

CELL = ("depth", "width", "init_scale", "n_train", "draw", "seed")
KERNEL_DIMS = {
    "ntk_init": CELL,
    "ntk_final": CELL,
    "infinite_ntk": ("depth", "init_scale", "n_train", "draw"),
    "nngp": ("depth", "init_scale", "n_train", "draw"),
}
EXPONENTS = {
    "network": 0.62, "ntk_init": 0.40, "ntk_final": 0.55, "infinite_ntk": 0.44, "nngp": 0.38,
    "laplace": 0.47, "matern_3_2": 0.45, "matern_5_2": 0.43, "rbf": 0.35,
}  # fmt: skip
ALL_PREDICTORS = ("network", "ntk_init", "ntk_final", "infinite_ntk", "nngp", "laplace", "matern_5_2", "rbf")


def synthetic_cube(
    generator: np.random.Generator,
    *,
    depth: Sequence[int] = (1, 2, 4),
    width: Sequence[int] = (32, 128, 512),
    init_scale: Sequence[float] = (1.0, 2.0, 3.0),
    n_train: Sequence[int] = (32, 64, 128, 256, 512),
    draws: int = 4,
    seeds: int = 3,
    epoch: Sequence[int] = (0, 1, 3, 10, 30, 100, 300),
    n_probe: int = 24,
    predictors: Sequence[str] = ALL_PREDICTORS,
    classification: bool = True,
) -> xr.Dataset:
    """A cube whose learning curves are noisy power laws and whose kernels drift more the narrower the network."""
    cube = xr.Dataset(
        coords={
            "depth": np.array(depth),
            "width": np.array(width),
            "init_scale": np.array(init_scale, dtype=float),
            "n_train": np.array(n_train),
            "draw": np.arange(draws),
            "seed": np.arange(seeds),
            "epoch": np.array(epoch),
            "ridge": ["zero", "tuned"],
            "mode": np.arange(n_probe),
            "predictor": list(predictors),
            "sigma_w": ("init_scale", np.sqrt(init_scale)),
            "lambda": (("depth", "width"), (np.array(depth)[:, None] + 1) / np.array(width)[None]),
            "chi_1": ("init_scale", np.array(init_scale) / 2.0),
            "xi_1": ("init_scale", [np.inf if s == 2.0 else 1.0 / abs(np.log(s / 2.0)) for s in init_scale]),
            "phase": (
                "init_scale",
                ["critical" if s == 2.0 else "ordered" if s < 2.0 else "chaotic" for s in init_scale],
            ),
        }
    )
    for name in predictors:
        mse = learning_curve(cube, name, generator)
        cube[f"test_mse_{name}"] = mse
        cube[f"test_error_{name}"] = np.minimum(0.6 * mse, 0.9) if classification else xr.full_like(mse, np.nan)
    _add_training(cube, generator)
    _add_kernels(cube, generator)
    _add_movement(cube, generator, classification=classification)
    cube.attrs = {"title": "synthetic"}
    return with_folds(cube)


def with_folds(cube: xr.Dataset, *, fold_size: int = 4, spread: float = 0.1) -> xr.Dataset:
    """Adds `test_mse_folds_*` with the relative standard deviation `spread` around each `test_mse_*` of a cube."""
    generator = np.random.default_rng(0)
    cube = cube.assign_coords(test_fold=np.arange(N_FOLDS))
    cube["test_fold_size"] = ("draw", "test_fold"), np.full((cube.sizes["draw"], N_FOLDS), fold_size)
    for name in [str(name) for name in cube.data_vars if str(name).startswith("test_mse_")]:
        apart = generator.standard_normal((*cube[name].shape, N_FOLDS))
        factor = xr.DataArray(
            1.0 + spread * (apart - apart.mean(-1, keepdims=True)), dims=(*cube[name].dims, "test_fold")
        )
        cube[f"test_mse_folds_{name.removeprefix('test_mse_')}"] = cube[name] * factor
    return cube


def learning_curve(cube: xr.Dataset, name: str, generator: np.random.Generator) -> xr.DataArray:
    """A power law of n with noise that the draws share and, for networks, noise of each seed."""
    dims = (
        CELL
        if name == "network"
        else KERNEL_DIMS.get(name, CELL if name.startswith("ntk_epoch_") else ("n_train", "draw"))
    )
    exponent = EXPONENTS.get(name, 0.5)
    curve = 1.4 * (cube["n_train"] / 10.0) ** -exponent
    if "init_scale" in dims:
        curve = curve * (1.0 + 0.15 * np.abs(cube["init_scale"] - 2.0)) * (1.0 + 0.06 * cube["depth"])
    if "width" in dims:
        curve = curve * (1.0 + 2.0 * cube["lambda"])
    curve = curve.expand_dims({dim: cube[dim] for dim in dims if dim not in curve.dims}).transpose(*dims)
    noise = 0.03 * generator.standard_normal([curve.sizes[dim] for dim in dims])
    curve = curve.drop_vars(["lambda", "phase", "sigma_w", "chi_1", "xi_1"], errors="ignore") * np.exp(noise)
    if name == "network":
        return curve
    ridge = xr.DataArray([1.3, 1.0], {"ridge": cube["ridge"]}, "ridge")
    return (curve * ridge).transpose(*dims, "ridge")


def _add_training(cube: xr.Dataset, generator: np.random.Generator) -> None:
    shape = tuple(cube.sizes[dim] for dim in (*CELL, "epoch"))
    fall = np.exp(-np.arange(shape[-1]) / 2.0)
    cube["train_mse"] = ((*CELL, "epoch"), fall * np.exp(0.05 * generator.standard_normal(shape)))
    cube["status"] = (CELL, np.zeros(shape[:-1], dtype=np.int8))
    cube["final_train_mse"] = cube["train_mse"].isel(epoch=-1, drop=True)


def _add_kernels(cube: xr.Dataset, generator: np.random.Generator) -> None:
    dims = (*CELL, "epoch")
    shape = tuple(cube.sizes[dim] for dim in dims)
    noise = xr.DataArray(np.exp(0.1 * generator.standard_normal(shape)), {dim: cube[dim] for dim in dims}, dims)
    time = cube["epoch"] / (20.0 + cube["epoch"])
    drift = time * cube["lambda"] ** 0.5 * (1.0 + cube["init_scale"]) / 2.0 * noise
    drift = drift.drop_vars(["lambda", "phase", "sigma_w", "chi_1", "xi_1"], errors="ignore").transpose(*dims)
    cube["kernel_drift"] = drift
    cube["kernel_distance"] = 0.5 * drift**2
    cube["kernel_alignment"] = np.minimum(0.12 * noise**0.3 + 0.3 * drift, 0.95).transpose(*dims)
    spectrum = (1.0 + cube["mode"]) ** -1.8 * noise**3 * (1.0 + drift * np.exp(-cube["mode"] / 4.0) * 4.0)
    cube["kernel_spectrum"] = spectrum.transpose(*dims, "mode").astype(np.float32)


def _add_movement(cube: xr.Dataset, generator: np.random.Generator, *, classification: bool) -> None:
    """Class blocks that sharpen with the drift, movement at equal loss, errors of deep ordered networks that stay."""
    drift = cube["kernel_drift"]
    cube["kernel_velocity"] = 0.5 * drift.diff("epoch") ** 2 / cube["epoch"].diff("epoch")
    cube["within_class_ratio"] = np.minimum(0.6 + 0.4 * drift, 1.0) if classification else drift * np.nan
    cube["between_class_ratio"] = 0.5 / (1.0 + 3.0 * drift) if classification else drift * np.nan
    n_probe, n_draws = cube.sizes["mode"], cube.sizes["draw"]
    classes = np.arange(n_probe) * 2 // n_probe if classification else np.full(n_probe, -1)
    cube["probe_class"] = ("draw", "probe"), np.tile(classes, (n_draws, 1))
    cube["zero_train_mse"] = ("n_train", "draw"), np.ones((cube.sizes["n_train"], n_draws))
    one = drift.isel(n_train=-1, draw=0, seed=0, drop=True)
    same = xr.DataArray(classes[:, None] == classes[None], dims=("probe", "probe_2"))
    noise = xr.DataArray(0.05 * generator.standard_normal((n_probe, n_probe)), dims=("probe", "probe_2"))
    kernel = xr.where(same, 0.6 + 0.4 * np.minimum(one, 1.0), 0.5 / (1.0 + 3.0 * one)) + noise + noise.T
    kernel = (kernel + 0.4 * xr.DataArray(np.eye(n_probe), dims=("probe", "probe_2"))) * 40.0 * cube["init_scale"]
    axes = ("depth", "width", "init_scale", "epoch", "probe", "probe_2")
    cube["probe_kernel"] = kernel.drop_vars("draw", errors="ignore").transpose(*axes)
    slow = np.exp(-cube["depth"] * np.abs(np.log(cube["chi_1"])) * (cube["chi_1"] < 1.0))
    final = np.exp(-5.0 * slow) * cube["final_train_mse"] / cube["final_train_mse"].mean()
    cube["final_train_mse"] = final.transpose(*CELL)
    cube["train_error"] = (0.5 * np.minimum(final, 1.0) + 0.0 * cube["train_mse"]).transpose(*CELL, "epoch")
    if not classification:
        cube["train_error"] = cube["train_error"] * np.nan
    reached = (cube["train_mse"] <= 0.1).argmax("epoch")
    for name, values in (
        ("kernel_drift", drift),
        ("kernel_distance", 0.5 * drift**2),
        ("train_mse", cube["train_mse"]),
    ):
        cube[f"{name}_at_equal_loss"] = values.isel(epoch=reached).drop_vars("epoch").where(reached > 0)
    cube["epoch_at_equal_loss"] = cube["epoch"].isel(epoch=reached).drop_vars("epoch").where(reached > 0)
    cube["n_rates_diverged"] = xr.zeros_like(cube["status"], dtype=np.int16)
    condition = 10.0 * cube["chi_1"] ** -cube["depth"].astype(float) * (1.0 + cube["n_train"] / 100.0)
    ridge = xr.DataArray([1.0, 0.5], {"ridge": cube["ridge"]}, "ridge")
    condition = (condition * ridge).expand_dims(draw=cube["draw"])
    cube["condition_number_infinite_ntk"] = condition.transpose("depth", "init_scale", "n_train", "draw", "ridge")


def diverge(cube: xr.Dataset, **cells: object) -> xr.Dataset:
    """Copies the cube with the networks at `cells` (labels of any dimensions) diverged: status 2, values NaN."""
    cube = cube.copy(deep=True)
    for name, values in cube.data_vars.items():
        if all(dim in values.dims for dim in CELL) and name != "final_train_mse":
            if values.dtype.kind == "i":
                values.loc[cells] = 2 if name == "status" else 1
            elif "epoch" in values.dims:
                values.loc[cells | {"epoch": cube["epoch"].values[1:]}] = np.nan
            else:
                values.loc[cells] = np.nan
    return cube


def synthetic_laws(cube: xr.Dataset, *, metric: str = "mse", ridge: str = "tuned", n_train_min: int = 0) -> xr.Dataset:
    """Power laws of the cube's curves, fitted by plain least squares a draw; values repeated along unused axes."""
    axes = ("depth", "width", "init_scale")
    sizes = cube["n_train"].values
    used = sizes >= n_train_min
    names = [str(name) for name in cube["predictor"].values]
    fits = {name: _fit(cube, name, metric=metric, ridge=ridge, used=used) for name in names}
    dims = ("predictor", *axes)
    exponent = np.stack([fit[0] for fit in fits.values()])
    log_amplitude = np.stack([fit[1] for fit in fits.values()])
    laws = xr.Dataset(
        coords={"predictor": names}
        | {dim: cube[dim].drop_vars("lambda", errors="ignore") for dim in (*axes, "n_train")}
    )
    _put(laws, "exponent", dims, exponent)
    laws["amplitude"] = dims, np.exp(log_amplitude.mean(-1))
    log_sizes = np.where(used, np.log(sizes), np.nan)[:, None]
    _put(laws, "law_error", (*dims, "n_train"), log_amplitude[..., None, :] - exponent[..., None, :] * log_sizes)
    for end in ("", "_low", "_high"):
        laws[f"law_error{end}"] = np.exp(laws[f"law_error{end}"])
    _put(laws, "floor_exponent", dims, 1.25 * exponent)
    _put(laws, "irreducible_error", dims, np.exp(log_amplitude) * sizes[-1] ** -exponent * 0.3)
    laws["floor_identifiable"] = dims, np.arange(exponent[..., 0].size).reshape(exponent.shape[:-1]) % 3 != 0
    laws["n_points"] = dims, np.full(exponent.shape[:-1], used.sum())
    laws["note"] = dims, np.full(exponent.shape[:-1], "")
    if "network" in names:
        difference = exponent[[names.index("network")]] - exponent
        difference[names.index("network")] = np.nan
        _put(laws, "exponent_difference", dims, difference)
    laws.attrs = {"metric": metric, "ridge": ridge, "n_train_min": n_train_min}
    return laws


def _fit(cube: xr.Dataset, name: str, *, metric: str, ridge: str, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exponent and log amplitude of each draw, `(depth, width, init_scale, draw)`."""
    values = np.log(cube[f"test_{metric}_{name}"])
    values = values.sel(ridge=ridge) if "ridge" in values.dims else values
    values = values.mean("seed") if "seed" in values.dims else values
    values = values.isel(n_train=np.flatnonzero(used))
    dims = ("depth", "width", "init_scale", "draw", "n_train")
    values = values.expand_dims({dim: cube[dim] for dim in dims if dim not in values.dims}).transpose(*dims).values
    x = np.log(cube["n_train"].values[used])
    centred = x - x.mean()
    slope = (values * centred).sum(-1) / (centred**2).sum()
    return -slope, values.mean(-1) - slope * x.mean()


def _put(laws: xr.Dataset, name: str, dims: tuple[str, ...], by_draw: np.ndarray) -> None:
    """Mean over draws, and mean ± 2 standard errors; no interval from a single draw."""
    n = by_draw.shape[-1]
    half = 2.0 * by_draw.std(-1, ddof=1) / np.sqrt(n) if n > 1 else np.full(by_draw.shape[:-1], np.nan)
    mean = by_draw.mean(-1)
    laws[name] = dims, mean
    laws[f"{name}_low"] = dims, mean - half
    laws[f"{name}_high"] = dims, mean + half
