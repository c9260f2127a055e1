"""Kernels of checkpoints regressed on other samples than they were trained on, and along all epochs."""

import numpy as np
import pytest
from test_stages import HUGE, experiment, trained

from ntk_atlas.config import GridSettings, RegressionSettings, curve_names, predictor_label, stand_ins
from ntk_atlas.datasets import make_draw
from ntk_atlas.jobs import job_slice
from ntk_atlas.jobs.parts import as_tensor
from ntk_atlas.jobs.parts.row_networks import row_networks
from ntk_atlas.jobs.regress_empirical import empirical_predictions, regress_row
from ntk_atlas.kernels import empirical_ntk
from ntk_atlas.study import load_study

SIZES = (6, 9, 12)
ALL = ("ntk_init", "ntk_final", "ntk_epoch_2", "ntk_epochs", "ntk_pretrained_6", "ntk_pretrained_9")


def regressed(folder, *, regression=None, **keys):
    settings = experiment(
        n_train=SIZES,
        regression={"predictors": ALL, "ridge_grid": (1e-3, HUGE), "epoch_n_train": "all", **(regression or {})},
        **keys,
    )
    joined, stores, digests, dataset, train = trained(settings, folder)
    spec = job_slice("regress_empirical", settings, train.row.name)
    found = empirical_predictions(spec, stores, regress_row(spec, dataset, "data", stores, "source", digests))
    return settings, joined, found, stores, digests, dataset, train


def test_a_kernel_trained_on_m_samples_is_that_of_the_final_network_there(tmp_path):
    _, _, found, *_ = regressed(tmp_path)
    for m in (6, 9):
        there = SIZES.index(m)
        values = found[f"test_mse_ntk_pretrained_{m}"]
        assert values.shape == (3, 1, 2, 2)
        assert np.isnan(values[:there]).all() and np.isfinite(values[there:, ..., 1]).all()
        # The tuned ridge is relative to the largest Gram matrix, of other samples here; ridge → 0 is not.
        np.testing.assert_allclose(values[there, ..., 0], found["test_mse_ntk_final"][there, ..., 0], rtol=1e-8)
        status = found[f"solve_status_ntk_pretrained_{m}"]
        assert (status[:there] == -1).all() and (status[there:] >= 0).all()


def test_a_kernel_trained_on_m_samples_predicts_by_a_loop_of_its_own(tmp_path):
    settings, _, found, stores, digests, dataset, train = regressed(tmp_path)
    unit = next(u for u in digests if u.n_train == 6)
    saved = stores.networks.load(unit.name, digests[unit], (0, 1), ("weights",))["weights"]
    network = row_networks(train, dataset, 0, (0, 1))
    network.load_weights(as_tensor(saved[:, -1]))
    draw = make_draw(dataset, settings.dataset, 0)
    for position, n in enumerate(SIZES):
        x, y = draw.training_set(n)
        rows = empirical_ntk(network, as_tensor(draw.x_test), as_tensor(x)).numpy()
        gram = empirical_ntk(network, as_tensor(x)).numpy()
        for member in range(2):
            predicted = rows[member] @ np.linalg.solve(gram[member], y)
            mse = np.mean((predicted - draw.y_test) ** 2)
            assert found["test_mse_ntk_pretrained_6"][position, 0, member, 0] == pytest.approx(mse, rel=1e-6)


def test_kernels_of_all_epochs_agree_with_those_of_single_ones(tmp_path):
    _, _, found, *_ = regressed(tmp_path)
    assert found["epoch"].tolist() == [0, 2, 5]
    along = found["test_mse_ntk_epochs"]
    assert along.shape == (3, 1, 2, 3, 2)
    np.testing.assert_allclose(along[:, :, :, 1], found["test_mse_ntk_epoch_2"], rtol=1e-10)
    np.testing.assert_allclose(along[:, :, :, 2], found["test_mse_ntk_final"], rtol=1e-10)
    np.testing.assert_allclose(along[..., 0, 0], found["test_mse_ntk_init"][..., 0], rtol=1e-8)


def test_epochs_are_regressed_at_the_largest_n_alone_unless_more_are_asked_for(tmp_path):
    _, _, found, *_ = regressed(tmp_path / "largest", regression={"epoch_n_train": "largest"})
    values = found["test_mse_ntk_epochs"]
    assert np.isnan(values[:2]).all() and np.isfinite(values[2]).all()
    _, _, found, *_ = regressed(tmp_path / "some", regression={"epoch_n_train": (6, 12)})
    assert np.isfinite(found["test_mse_ntk_epochs"]).all((1, 2, 3, 4)).tolist() == [True, False, True]


def test_both_centers_are_the_two_single_ones(tmp_path):
    both = regressed(tmp_path / "both", regression={"predictor_center": "both"})[2]
    zero = regressed(tmp_path / "zero")[2]
    network = regressed(tmp_path / "network", regression={"predictor_center": "network"})[2]
    for name in ALL:
        for found, alone in ((f"test_mse_{name}", zero), (f"test_mse_{name}_around_network", network)):
            np.testing.assert_allclose(both[found], alone[f"test_mse_{name}"], rtol=1e-9)


def test_around_a_network_without_f0_the_initial_kernel_is_the_one_around_zero(tmp_path):
    keys = {"initial_output": "subtract", "regression": {"predictor_center": "both"}}
    found = regressed(tmp_path, **keys)[2]
    assert "test_mse_ntk_init" in found.arrays and "test_mse_ntk_init_around_network" not in found.arrays
    assert "test_mse_ntk_final_around_network" in found.arrays


def test_another_kernel_leaves_finished_ones_alone(tmp_path):
    few = {"predictors": ("ntk_init", "ntk_final", "ntk_pretrained_6")}
    regressed(tmp_path, regression=few)
    before = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*.npz")}
    regressed(tmp_path, regression={"predictors": (*few["predictors"], "ntk_epochs", "ntk_pretrained_9")})
    after = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*.npz")}
    assert {f: after[f] for f in before} == before
    assert {f.parents[3].name for f in set(after) - set(before)} == {"epoch_ntk", "pretrained_ntk"}


def test_learning_curves_and_their_names():
    there = ["ntk_final", "ntk_final_around_network", "ntk_epochs", "laplace"]
    assert curve_names(there[:1] + there[2:], there) == ["ntk_final", "ntk_final_around_network", "laplace"]
    assert predictor_label("ntk_pretrained_128_around_network") == "empirical NTK, trained on 128, around network"
    beside = stand_ins(("ntk_init", "infinite_ntk", "stand_in_ntk", "laplace"))
    assert beside == ("stand_in_ntk", "laplace")
    assert predictor_label("laplace", beside) == "Laplace (stand-in)"


@pytest.mark.parametrize(
    ("regression", "training", "message"),
    [
        ({"predictors": ["ntk_pretrained_7"]}, {}, "no network is trained on 7 samples .* add 7 to grid.n_train"),
        ({"predictors": ["ntk_pretrained_16"]}, {}, "has no n_train above 16 .* choose a smaller one of 8, 16"),
        ({"predictors": ["ntk_epochs"]}, {}, "ntk_epochs needs training.checkpoints.weights: scheduled"),
        (
            {"predictors": ["ntk_epochs"], "epoch_n_train": [9]},
            {"checkpoints": {"weights": "scheduled"}},
            "epoch_n_train: 9 is not in grid.n_train: choose of 8, 16",
        ),
        ({"predictors": ["stand_in_ntk"]}, {}, "stand_in_ntk is the NTK of fully connected networks, which these are"),
    ],
)
def test_kernels_that_cannot_be_had_are_refused_before_any_work(regression, training, message):
    one = {
        "grid": GridSettings(depth=[1], width=[4], init_scale=[2.0], n_train=[8, 16]).model_dump(),
        "regression": regression,
        "training": training,
    }
    with pytest.raises(Exception, match=message):
        load_study({"experiments": {"one": one}})


def test_a_small_last_layer_has_no_infinite_width_limit_here():
    one = {
        "grid": {"depth": [1], "width": [4], "init_scale": [2.0], "n_train": [8]},
        "network": {"last_layer_scale": 0.1},
        "training": {"target_scale": "initial_output"},
        "regression": {"predictors": ["infinite_ntk", "laplace"]},
    }
    with pytest.raises(Exception, match=r"\(infinite_ntk\) is known for network.last_layer_scale: 1 only") as caught:
        load_study({"experiments": {"one": one}})
    assert "training.target_scale: the size of f₀" in str(caught.value)
    assert RegressionSettings(predictors=("laplace",)).epoch_sizes((8, 16)) == (16,)
