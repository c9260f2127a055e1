"""The stage that samples untrained networks, its file, and settings that ask what networks cannot give."""

import numpy as np
import pytest
from dictionary_checks import departures

from ntk_atlas.arrays import UnitStore, write_labelled
from ntk_atlas.config import DispersionSettings, ExperimentSettings, GridSettings, NetworkSettings
from ntk_atlas.cubes import DISPERSION, assemble_dispersion, read_netcdf, write_netcdf
from ntk_atlas.jobs import JOBS, architecture_name, job_slice, parse_architecture
from ntk_atlas.jobs import sample_initial_kernels as stage
from ntk_atlas.jobs.parts import RESULTS
from ntk_atlas.judging import inputs_text
from ntk_atlas.study import dispersion_problems


def experiment(*, init_scale=(1.0, 3.0), network=None, dataset=None, **dispersion):
    settings = {"depth": (2, 4), "width": (10, 20), "n_networks": 700, "n_exact": 1000, "n_bootstrap": 100}
    return ExperimentSettings(
        dataset=dataset or {"source": "digits"},
        grid=GridSettings(depth=(1,), width=(8,), init_scale=init_scale, n_train=(8,)),
        network=NetworkSettings(**(network or {})),
        dispersion=DispersionSettings(**(settings | dispersion)),
    )


def sampled(settings, folder, depth=2, width=10, source="source"):
    return stage.sample_initial_kernels(
        job_slice("sample_initial_kernels", settings, architecture_name(depth, width)), UnitStore(folder), source
    )


@pytest.fixture
def calls(monkeypatch):
    """What is sampled anew: (number of init scales, chunk)."""
    seen, original = [], stage.initial_kernels

    def counted(law, init_scales, *, seed, chunks):
        seen.append((tuple(init_scales), tuple(chunks)))
        return original(law, init_scales, seed=seed, chunks=chunks)

    monkeypatch.setattr(stage, "initial_kernels", counted)
    return seen


def test_only_what_is_missing_is_sampled(tmp_path, calls):
    first = sampled(experiment(), tmp_path)
    assert calls == [((1.0, 3.0), (0,)), ((1.0, 3.0), (1,))]
    calls.clear()
    again = sampled(experiment(), tmp_path)
    assert calls == []
    np.testing.assert_array_equal(again["ntk_ratio_high"], first["ntk_ratio_high"])
    sampled(experiment(n_networks=1200, n_bootstrap=200, confidence=0.9), tmp_path)
    assert calls == [((1.0, 3.0), (2,))]
    calls.clear()
    sampled(experiment(init_scale=(1.0, 2.0, 3.0)), tmp_path)
    assert calls == [((2.0,), (0,)), ((2.0,), (1,))]
    calls.clear()
    sampled(experiment(squared_norm=2.0), tmp_path)
    sampled(experiment(), tmp_path, source="another")
    assert len(calls) == 4


def test_what_a_kill_left_half_written_is_removed(tmp_path):
    sampled(experiment(), tmp_path)
    finished = {file for file in tmp_path.rglob("*") if file.is_file()}
    for file in finished:
        file.with_name(f".{file.name}.123.tmp").touch()
    sampled(experiment(), tmp_path)
    assert {file for file in tmp_path.rglob("*") if file.is_file()} == finished


def test_as_many_networks_count_as_are_asked_for(tmp_path):
    result = sampled(experiment(), tmp_path)
    assert result["n_finite"].tolist() == [700, 700]
    assert result["ntk_ratio"].shape == (2, 2, 4)
    assert (result["ntk_ratio_low"] <= result["ntk_ratio"]).all()
    assert (result["ntk_ratio"] <= result["ntk_ratio_high"]).all()


def test_networks_beyond_the_range_of_floats_are_counted_out(tmp_path):
    result = sampled(experiment(init_scale=(2.0, 1e30)), tmp_path, depth=4)
    assert result["n_finite"][0] == 700
    assert result["n_finite"][1] < 700
    assert result["ntk_ratio_reliable"][1].tolist() == [0, 0]


def test_the_file_has_what_its_dictionary_says(tmp_path):
    settings, files = experiment(), {}
    for name in JOBS.head("sample_initial_kernels").names(settings):
        depth, width = parse_architecture(name)
        files[depth, width] = tmp_path / f"{name}.nc"
        write_labelled(sampled(settings, tmp_path / name, depth, width), files[depth, width])
    assert len(files) == 4
    missing = files.pop((4, 20))
    dataset = assemble_dispersion(RESULTS["assemble_dispersion"].slice(settings), files, {"git_revision": "abc"})
    write_netcdf(dataset, tmp_path / "dispersion.nc")
    dataset = read_netcdf(tmp_path / "dispersion.nc")
    assert departures(dataset, DISPERSION) == []
    one = dataset.sel(depth=2, width=20, init_scale=3.0)
    assert one["ntk_ratio"].sel(parameters="all", correlation=1.0).item() == pytest.approx(
        read_netcdf(files[2, 20])["ntk_ratio"].sel(init_scale=3.0, parameters="all", correlation=1.0).item()
    )
    assert one["lambda"].item() == pytest.approx(3 / 20)
    assert one["ntk_ratio_exponential"].item() == pytest.approx(np.exp(15 / 20))
    assert str(one["phase"].item()) == "chaotic"
    gap = dataset.sel(depth=4, width=20)
    assert np.isnan(gap["ntk_ratio"]).all()
    assert (gap["n_finite"] == -1).all()
    assert dataset.attrs["n_missing"] == 2
    assert dataset.attrs["git_revision"] == "abc"
    assert missing.exists()


def test_no_theory_beside_smooth_activations(tmp_path):
    result = sampled(experiment(network={"activation": "tanh", "bias_variance": 0.05}), tmp_path)
    for name in ("ntk_ratio_exact", "ntk_ratio_finite_sum", "ntk_ratio_limit", "log_ntk_variance_exact_error"):
        assert np.isnan(result[name]).all()
    assert np.isfinite(result["log_ntk_variance"]).all()


def test_names_of_architectures():
    assert parse_architecture("depth-3_width-64") == (3, 64)
    with pytest.raises(ValueError, match="is not the name of an architecture"):
        parse_architecture("depth-3")


def problems(init_scales=(1.0, 2.0, 3.0), network=None, dataset=None, **dispersion):
    choice = {"depth": (10,), "width": (100,), "n_inputs": 100, "squared_norm": 1.0} | dispersion
    return dispersion_problems(experiment(init_scale=init_scales, network=network, dataset=dataset, **choice))


def test_settings_that_networks_can_resolve():
    assert problems() == []
    assert problems(depth=(30,)) == []
    assert problems(depth=(99,), network={"activation": "tanh"}) == []  # no theory tells
    assert problems(depth=(99,), init_scales=(0.5, 1.0)) == []  # ordered: R stays near 1


def test_a_lambda_that_networks_cannot_resolve():
    ((key, message),) = problems(depth=(10, 60), width=(100, 200), n_networks=2000)
    assert key == "dispersion.n_networks"
    assert "2000 networks cannot resolve R" in message
    assert "depth 60, width 100 (λ = 0.61, init_scale 3): R ≈ " in message
    assert "width 200" not in message
    assert "depth 10" not in message
    assert "Raise n_networks, lower dispersion.depth, or widen dispersion.width" in message
    needed = int(message.split(" needs ")[1].split(" networks")[0].replace(",", ""))
    assert problems(depth=(60,), n_networks=needed) == []
    assert problems(depth=(60,), n_networks=int(0.85 * needed)) != []


def test_many_hopeless_cells_are_one_short_message():
    ((_, message),) = problems(depth=(100, 200, 300), width=(1, 2, 5), n_inputs=3)
    assert "and 6 cells more" in message
    assert len(message) < 700


def test_a_network_of_the_users_own_has_no_dispersion():
    ((key, message),) = problems(network={"factory": "net.py:build"})
    assert key == "dispersion"
    assert "remove this section" in message


def test_a_convolutional_network_is_not_sampled_as_if_it_were_fully_connected():
    ((key, message),) = problems(network={"architecture": "convolutional"})
    assert key == "dispersion"
    assert "and these are convolutional networks: remove this section" in message


LINE = {"source": "teacher", "teacher": "smooth", "dimension": 1, "normalization": "standardize"}


@pytest.mark.parametrize("change", [{"n_inputs": 1}, {"n_inputs": None, "dataset": LINE}])
def test_a_single_feature_has_no_angles(change):
    ((key, message),) = problems(**change)
    assert key == "dispersion.correlations"
    assert "give n_inputs of 2 or more" in message
    assert problems(**change, correlations=(1.0, -1.0)) == []


def test_by_default_untrained_networks_have_the_inputs_that_networks_train_on(tmp_path):
    """Digits have 64 features, and each image has ‖x‖² = 64 as it is trained on."""
    spec = job_slice("sample_initial_kernels", experiment(), architecture_name(2, 10))
    assert (spec.dispersion.n_inputs, spec.dispersion.squared_norm) == (64, 64.0)
    scaled = job_slice("sample_initial_kernels", experiment(n_inputs=8), architecture_name(2, 10))
    assert (scaled.dispersion.n_inputs, scaled.dispersion.squared_norm) == (8, 8.0)
    as_set = job_slice("sample_initial_kernels", experiment(n_inputs=10, squared_norm=1.0), architecture_name(2, 10))
    assert (as_set.dispersion.n_inputs, as_set.dispersion.squared_norm) == (10, 1.0)
    settings = experiment(n_networks=100, depth=(2,), width=(10,), squared_norm=32.0)
    write_labelled(sampled(settings, tmp_path / "units"), tmp_path / "cell.nc")
    joined = assemble_dispersion(RESULTS["assemble_dispersion"].slice(settings), {(2, 10): tmp_path / "cell.nc"}, {})
    assert (joined.attrs["n_inputs"], joined.attrs["squared_norm"], joined.attrs["input_scale"]) == (64, 32.0, 0.5)
    assert inputs_text(joined) == "Var log Θ at inputs of ‖x‖² = 32, n₀ = 64"


def test_inputs_that_are_not_normalized_need_a_norm():
    raw = {"source": "digits", "normalization": "none"}
    ((key, message),) = problems(dataset=raw, squared_norm=None)
    assert key == "dispersion.squared_norm" and "give the ‖x‖² that is meant" in message
    assert problems(dataset=raw, squared_norm=30.0) == []
