"""Networks that time out or are missing are data: rows, the cube, figures and tables are made of what is there."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from test_init_scales import cube, experiment, run

from ntk_atlas.arrays import Status
from ntk_atlas.config import FigureSettings
from ntk_atlas.cubes import check_failures, summary_table
from ntk_atlas.figures import error_map, kernel_alignment, kernel_drift, kernel_movement, kernel_spectra, trainability
from ntk_atlas.jobs import train_networks as stage
from ntk_atlas.training import TrainingTimedOutError

FIGURES = (error_map, kernel_alignment, kernel_drift, kernel_movement, kernel_spectra, trainability)


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    folder = tmp_path_factory.mktemp("complete")
    return cube(experiment(), *run(experiment(), folder, 1))


def stop_some(monkeypatch):
    """Times out all networks at init scale 3, and at 1 those on 12 samples in draw 1."""
    train = stage._train

    def impatient(spec, dataset, draw, unit, *arguments):
        if spec.only_init_scale == 3.0 or (spec.only_init_scale == 1.0 and (unit.n_train, unit.draw) == (12, 1)):
            raise TrainingTimedOutError("stopped at epoch 2 after 9 s, of 5 s allowed")
        return train(spec, dataset, draw, unit, *arguments)

    monkeypatch.setattr(stage, "_train", impatient)


@pytest.mark.parametrize("init_scales_per_job", [1, 3])
def test_timed_out_networks_have_a_status_and_the_others_their_numbers(
    complete, init_scales_per_job, tmp_path, monkeypatch
):
    stop_some(monkeypatch)
    found = cube(experiment(), *run(experiment(), tmp_path, init_scales_per_job))
    stopped = xr.zeros_like(complete["status"], dtype=bool)
    stopped.loc[{"init_scale": 3.0}] = True
    stopped.loc[{"init_scale": 1.0, "n_train": 12, "draw": 1}] = True
    assert ((found["status"] == int(Status.TIMED_OUT)) == stopped).all()
    assert found.attrs["n_missing"] == 0
    for name in ("test_mse_network", "kernel_drift", "test_mse_ntk_final", "stop_epoch", "train_mse"):
        absent = found[name] == -1 if found[name].dtype.kind == "i" else found[name].isnull()
        assert absent.where(stopped, True).all(), name
        xr.testing.assert_identical(found[name].where(~stopped), complete[name].where(~stopped))
    xr.testing.assert_identical(found["test_mse_ntk_init"], complete["test_mse_ntk_init"])  # needs no training
    counts = summary_table(found).iloc[-1]
    assert (counts["timed out"], counts["missing"], counts["networks"]) == (int(stopped.sum()), 0, stopped.size)
    for figure in FIGURES:
        plt.close(figure.draw(found, FigureSettings()))

    # With more time they go on, and all is as if nothing had been stopped.
    monkeypatch.undo()
    again = cube(experiment(), *run(experiment(), tmp_path, init_scales_per_job))
    xr.testing.assert_identical(again, complete)
    assert not list(tmp_path.rglob("timed_out*"))


def test_the_time_limit_is_no_part_of_what_a_unit_is():
    from ntk_atlas.jobs import job_slice
    from ntk_atlas.jobs.parts import training_digests
    from ntk_atlas.jobs.parts.slice import rows

    settings = experiment()
    limited = settings.model_copy(update={"training": settings.training.model_copy(update={"max_seconds": 3.0})})
    one, other = (
        next(iter(job_slice("train_networks", s, rows(s.grid)[0].name).per_init_scale().values()))
        for s in (settings, limited)
    )
    assert one.canonical_json() != other.canonical_json()
    assert training_digests(one, "data", "source") == training_digests(other, "data", "source")


def test_nothing_finished_is_nothing_to_assemble(tmp_path, monkeypatch):
    def never(*_):
        raise TrainingTimedOutError("stopped")

    monkeypatch.setattr(stage, "_train", never)
    with pytest.raises(ValueError, match="no network is finished"):
        cube(experiment(), *run(experiment(), tmp_path, 1))


def test_too_many_failures_stop_the_assembly_with_their_counts():
    status = np.array([0, 0, 1, 2, 2, 5, -1, 0, 0, 0])
    check_failures(status, 0.4)
    with pytest.raises(ValueError, match=r"4 of 10 networks failed \(2 diverged, 1 timed_out, 1 missing\)"):
        check_failures(status, 0.39)


def test_the_share_is_the_experiments(complete, tmp_path, monkeypatch):
    stop_some(monkeypatch)
    settings = experiment().model_copy(update={"max_failed_share": 0.3})
    with pytest.raises(ValueError, match="raise max_failed_share of this experiment"):
        cube(settings, *run(settings, tmp_path, 1))
