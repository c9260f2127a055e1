"""Movement of kernels: against loops over networks, at equal loss, and where nothing can move."""

import numpy as np
import pytest
import torch
import xarray as xr

from ntk_atlas.config import NetworkSettings, TrainingSettings
from ntk_atlas.cubes import assemble, kernel_movement, movement_at_equal_loss, row_measures, velocities
from ntk_atlas.families import build_networks
from ntk_atlas.streams import numpy_stream, torch_stream
from ntk_atlas.training import UnitData, train_unit

EPOCHS = (0, 1, 3, 10, 40)
LABELS = np.array([[0, 0, 0, 1, 1, 2], [0, 1, 1, 1, 2, 2]])


def row(*, scales: int | None = 2, sizes=(8, 16), seeds=3) -> xr.Dataset:
    """A row of random positive kernels; with `scales` init scales, or none."""
    names = ("init_scale", "n_train", "draw", "seed", "epoch")[0 if scales else 1 :]
    shape = ((scales,) if scales else ()) + (len(sizes), len(LABELS), seeds, len(EPOCHS))
    factors = numpy_stream("movement", len(shape)).standard_normal((*shape, 6, 9))
    kernels = (factors @ np.swapaxes(factors, -1, -2)).astype(np.float32)
    coords = {"n_train": list(sizes), "draw": [0, 1], "seed": range(seeds), "epoch": list(EPOCHS)}
    coords |= {"init_scale": [1.0, 2.0][:scales]} if scales else {}
    return xr.Dataset({"probe_kernels": ((*names, "probe", "probe_2"), kernels)}, coords=coords)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return 1.0 - (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())


def loop(data: xr.Dataset, name: str, labels: np.ndarray) -> np.ndarray:
    """The measure by its definition, one network and one checkpoint after the other."""
    kernels = data["probe_kernels"].transpose(..., "draw", "seed", "epoch", "probe", "probe_2").values.astype(float)
    result = np.full(kernels.shape[:-2], np.nan)
    for place in np.ndindex(*result.shape):
        k, network, t = kernels[place], place[:-1], place[-1]
        earlier = [s for s in range(t) if np.isfinite(kernels[(*network, s)]).all()]
        if not np.isfinite(k).all():
            continue
        if name == "kernel_velocity":
            if earlier:
                elapsed = EPOCHS[t] - EPOCHS[earlier[-1]]
                result[place] = distance(kernels[(*network, earlier[-1])], k) / elapsed
            continue
        classes = labels[place[-3]]
        entries = [
            k[i, j] for i in range(6) for j in range(6) if (classes[i] == classes[j]) == name.startswith("within")
        ]
        result[place] = np.mean(entries) / np.mean(np.diag(k))
    return result


@pytest.mark.parametrize("scales", [None, 2])
@pytest.mark.parametrize("name", ["kernel_velocity", "within_class_ratio", "between_class_ratio"])
def test_measures_are_those_of_a_loop(name, scales, monkeypatch):
    data = row(scales=scales)
    kernels = data["probe_kernels"]
    kernels[{"n_train": 0, "draw": 1, "seed": 2, "epoch": slice(2, None)}] = np.nan  # diverged
    kernels[{"n_train": 1, "epoch": 2}] = np.nan  # no such checkpoint at this size
    kernels[{"n_train": 0, "draw": 0, "seed": 0}] = np.nan  # missing
    monkeypatch.setattr(assemble, "BLOCK_ENTRIES", 2 * len(EPOCHS) * 36)  # two networks at a time, of three
    measured = kernel_movement(data, LABELS)[name]
    assert measured.dims == kernels.dims[:-2]
    expected = loop(data, name, LABELS)
    assert np.isnan(expected).any() and np.isfinite(expected).any()
    np.testing.assert_allclose(measured.values, expected, rtol=1e-6, atol=1e-12)


def test_the_number_of_networks_at_a_time_changes_nothing(monkeypatch):
    data = row()
    targets = numpy_stream("targets").standard_normal((2, 6, 1))
    whole = kernel_movement(data, LABELS).merge(row_measures(data, targets))
    monkeypatch.setattr(assemble, "BLOCK_ENTRIES", 1)
    single = kernel_movement(data, LABELS).merge(row_measures(data, targets))
    xr.testing.assert_allclose(single, whole, rtol=1e-6)  # the spectrum is float32
    first = data["probe_kernels"].isel(init_scale=0, n_train=0, draw=1, seed=2).values.astype(float)
    y = targets[1, :, 0]
    expected = [y @ k @ y / (y @ y * np.trace(k)) for k in first]
    place = {"init_scale": 0, "n_train": 0, "draw": 1, "seed": 2}
    np.testing.assert_allclose(whole["kernel_alignment"].isel(place), expected, rtol=1e-10)


def test_the_kernel_kept_is_that_of_the_first_network_at_the_largest_size():
    data = row(sizes=(16, 8))  # the largest is not the last
    kept = kernel_movement(data, LABELS)["probe_kernel"]
    assert kept.dims == ("init_scale", "epoch", "probe", "probe_2") and kept.dtype == np.float32
    np.testing.assert_array_equal(kept.values, data["probe_kernels"].values[:, 0, 0, 0])
    assert not {"n_train", "draw", "seed"} & set(kept.coords)


def test_regression_data_have_no_class_ratios_and_keep_their_velocity():
    measured = kernel_movement(row(), None)
    assert np.isnan(measured["within_class_ratio"]).all() and np.isnan(measured["between_class_ratio"]).all()
    assert np.isfinite(measured["kernel_velocity"].isel(epoch=slice(1, None))).all()


def test_velocity_does_not_feel_the_scale_of_kernels_and_is_inverse_to_the_unit_of_time():
    kernels = torch.as_tensor(row(scales=None)["probe_kernels"].values[0, 0], dtype=torch.float64)
    epochs = np.array(EPOCHS)
    slow = velocities(kernels, epochs)
    assert torch.isnan(slow[:, 0]).all()
    growth = torch.tensor([1.0, 3.0, 0.1, 7.0, 2.0], dtype=torch.float64)[None, :, None, None]
    torch.testing.assert_close(velocities(kernels * growth, epochs), slow, equal_nan=True)
    torch.testing.assert_close(velocities(kernels, 10 * epochs) * 10, slow, equal_nan=True)
    still = kernels[:, :1].expand(-1, len(EPOCHS), -1, -1)
    torch.testing.assert_close(velocities(still, epochs)[:, 1:], torch.zeros(3, 4, dtype=torch.float64))


def equal_loss_cube() -> xr.Dataset:
    """Four networks: gets there, never gets there, diverges before it does, diverges after it did."""
    error = np.array(
        [[1.0, 0.5, 0.05, 0.01], [1.0, 0.9, 0.8, 0.7], [1.0, 0.6, *[np.nan] * 2], [1.0, 0.1, 0.05, np.nan]]
    )
    drift = np.cumsum(np.ones_like(error), axis=1) - 1.0
    drift = np.where(np.isnan(error), np.nan, drift)
    dims = ("n_train", "draw", "seed", "epoch")
    return xr.Dataset(
        {
            "train_mse": (dims, np.stack([error, 4.0 * error])[:, None]),
            "kernel_drift": (dims, np.stack([drift, 10.0 * drift])[:, None]),
            "kernel_distance": (dims, np.stack([drift, drift])[:, None] / 100.0),
            "zero_train_mse": (("n_train", "draw"), [[1.0], [4.0]]),
        },
        coords={"n_train": [10, 20], "draw": [0], "seed": range(4), "epoch": [0, 2, 8, 32]},
    )


def test_equal_loss_is_the_first_checkpoint_below_never_reached_is_nan():
    cube = equal_loss_cube()
    at = movement_at_equal_loss(cube, 0.1)
    for i, factor in enumerate((1.0, 10.0)):  # targets twice as large: the threshold is in target², so the same epochs
        cell = at.isel(n_train=i, draw=0)
        np.testing.assert_array_equal(cell["epoch_at_equal_loss"], [8, np.nan, np.nan, 2])
        np.testing.assert_array_equal(cell["kernel_drift_at_equal_loss"], factor * np.array([2, np.nan, np.nan, 1]))
        np.testing.assert_array_equal(cell["kernel_distance_at_equal_loss"], np.array([2, np.nan, np.nan, 1]) / 100)
        error = cell["train_mse_at_equal_loss"].values / cube["zero_train_mse"].values[i]
        np.testing.assert_allclose(error, [0.05, np.nan, np.nan, 0.1])
    np.testing.assert_array_equal(movement_at_equal_loss(cube, 1.0)["kernel_drift_at_equal_loss"], 0.0)
    assert np.isnan(movement_at_equal_loss(cube, 1e-9)["epoch_at_equal_loss"]).all()


@pytest.mark.parametrize("equal_loss", [0.03, 0.3, 0.75])
def test_equal_loss_against_a_loop(equal_loss):
    generator = numpy_stream("equal loss")
    dims, shape = ("depth", "n_train", "draw", "seed", "epoch"), (2, 2, 3, 4, 7)
    fall = np.exp(np.cumsum(generator.normal(-0.5, 1.0, shape), -1))  # not monotone
    drift = generator.uniform(size=shape)
    coords = {"epoch": [0, 1, 2, 4, 8, 16, 32]}
    zero = generator.uniform(0.5, 2.0, (2, 3))
    fields = {"train_mse": fall, "kernel_drift": drift, "kernel_distance": drift}
    cube = xr.Dataset({name: (dims, v) for name, v in fields.items()}, coords)
    cube["zero_train_mse"] = (("n_train", "draw"), zero)
    at = movement_at_equal_loss(cube, equal_loss)
    for place in np.ndindex(*shape[:-1]):
        below = np.flatnonzero(fall[place] <= equal_loss * zero[place[1], place[2]])
        expected = drift[place][below[0]] if len(below) else np.nan
        np.testing.assert_equal(at["kernel_drift_at_equal_loss"].values[place], expected)
        epoch = at["epoch_at_equal_loss"].values[place]
        np.testing.assert_equal(epoch, coords["epoch"][below[0]] if len(below) else np.nan)


def test_the_kernel_of_a_linear_model_does_not_move():
    """Depth 0: f is linear in its parameters, so drift and velocity are zero while the loss falls."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(20, 4, generator=generator, dtype=torch.float64)
    y = x @ torch.randn(4, 1, generator=generator, dtype=torch.float64)
    settings = NetworkSettings(activation="relu", parameterization="standard")
    networks = build_networks(
        settings, depth=0, width=8, init_scale=2.0, input_shape=(4,), n_outputs=1,
        generators=[torch_stream("linear", seed) for seed in range(2)], dtype=torch.float64,
    )  # fmt: skip
    data = UnitData(x_train=x, y_train=y, x_validation=x, y_validation=y, x_test=x, y_test=y, x_probe=x[:6])
    training = TrainingSettings(
        optimizer="sgd", learning_rate={"relative": 0.5}, max_epochs=8, dtype="float64",
        checkpoints={"epochs": [0, 1, 8], "n_probe": 6},
    )  # fmt: skip
    unit = train_unit(
        networks, data, settings=training, target_scale=1.0, n_epochs=8, batch_labels=[("b", 0), ("b", 1)]
    )
    dims = ("n_train", "draw", "seed", "epoch")
    kernels = xr.DataArray(unit.probe_kernels[None, None], dims=(*dims, "probe", "probe_2"))
    trained = xr.Dataset({"probe_kernels": kernels, "train_mse": (dims, unit.train_mse[None, None])})
    trained = trained.assign_coords(n_train=[20], draw=[0], seed=[0, 1], epoch=unit.epochs)
    trained["zero_train_mse"] = (("n_train", "draw"), [[float((y**2).mean())]])
    targets = y[:6].numpy()[None]
    moved = trained.merge(row_measures(trained, targets)).merge(kernel_movement(trained, None))
    assert (moved["train_mse"].isel(epoch=-1) < 0.5 * moved["train_mse"].isel(epoch=0)).all()
    np.testing.assert_allclose(moved["kernel_drift"], 0.0, atol=1e-12)
    np.testing.assert_allclose(moved["kernel_velocity"].isel(epoch=slice(1, None)), 0.0, atol=1e-12)
    at = movement_at_equal_loss(moved, 0.9)
    assert np.isfinite(at["epoch_at_equal_loss"]).all()
    np.testing.assert_allclose(at["kernel_drift_at_equal_loss"], 0.0, atol=1e-12)
    torch.testing.assert_close(  # and the kernel recorded is that of the model: x·x' + 1
        torch.as_tensor(unit.probe_kernels[0, -1]), x[:6] @ x[:6].T + 1.0, rtol=1e-10, atol=1e-10
    )
