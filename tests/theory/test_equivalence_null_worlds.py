"""Where theory holds the judge must say so: a linear model, and wide shallow lazy networks trained to convergence."""

from pathlib import Path

import numpy as np
import pytest

from ntk_atlas.arrays import UnitStore, write_labelled
from ntk_atlas.config import ExperimentSettings, Thresholds, thresholds_of
from ntk_atlas.cubes import GAP_TERMS, WHOLE_GAP, ExperimentFiles, assemble_cube, assemble_functions, pair_name
from ntk_atlas.datasets import kernel_probes, make_draw, read_dataset, shared_samples
from ntk_atlas.jobs import job_slice
from ntk_atlas.jobs.linearize_networks import linearize_row, linearized_row
from ntk_atlas.jobs.parts import join_row
from ntk_atlas.jobs.parts.slice import rows
from ntk_atlas.jobs.regress_empirical import RowStores, empirical_predictions, regress_row
from ntk_atlas.jobs.regress_infinite import regress_infinite
from ntk_atlas.jobs.train_networks import network_row, train_row
from ntk_atlas.judging import Evidence, judge_experiment
from ntk_atlas.study import load_thresholds

DIGITS = {"source": "digits", "task": "binary"}
THRESHOLDS = Path(__file__).parents[2] / "config" / "claims" / "equivalence.yaml"


def experiment(
    *, depth, width, dataset=DIGITS, output_scale=1.0, max_epochs=300, draws=6, **training
) -> ExperimentSettings:
    return ExperimentSettings.model_validate(
        {
            "dataset": {**dataset, "n_validation": 16, "n_test": 64},
            "grid": {
                "depth": depth, "width": width if isinstance(width, tuple) else (width,), "init_scale": (2.0,),
                "n_train": (48,), "draws": draws, "seeds": 1,
            },
            "network": {"parameterization": "ntk", "bias_variance": 0.1, "output_scale": output_scale},
            "training": {
                "optimizer": "momentum", "learning_rate": {"relative": 0.5}, "seed": 7, "max_epochs": max_epochs,
                "initial_output": "subtract", "checkpoints": {"epochs": (max_epochs,), "n_probe": 8}, **training,
            },
            "regression": {
                "predictors": ("linearized", "ntk_init", "infinite_ntk", "nngp"), "ridge_grid": (1e-3, 1e-1),
                "keep_predictions": True,
            },
        }
    )  # fmt: skip


def run(settings: ExperimentSettings, folder: Path) -> Evidence:
    """Everything that the workflow does for these predictors, in one process."""
    dataset = read_dataset(settings.dataset)
    files = {kind: {} for kind in ("networks", "linearized", "empirical")}
    for row in rows(settings.grid):
        spec = job_slice("train_networks", settings, row.name)
        stores, store = RowStores.of_row(folder, row.name), UnitStore(folder / "linearized" / row.name)
        trained = train_row(spec, dataset, "data", stores.networks, "source")
        linear, kernels = (
            job_slice("linearize_networks", settings, row.name),
            job_slice("regress_empirical", settings, row.name),
        )
        found = {
            "networks": network_row(spec, stores.networks, trained),
            "linearized": linearized_row(
                linear, store, linearize_row(linear, dataset, stores.networks, store, "source", trained)
            ),
            "empirical": empirical_predictions(
                kernels, stores, regress_row(kernels, dataset, "data", stores, "source", trained)
            ),
        }
        for kind, arrays in found.items():
            files[kind][row] = folder / kind / f"{row.name}.nc"
            write_labelled(join_row(spec, {row.init_scale[0]: arrays}), files[kind][row])
    spec = job_slice("regress_infinite", settings, "2.0")
    write_labelled(regress_infinite(spec, dataset), folder / "infinite.nc")
    draws = [make_draw(dataset, settings.dataset, number) for number in range(settings.grid.draws)]
    checkpoints = settings.training.checkpoints
    n_probe = checkpoints.probe_count(settings.grid.n_train)
    probes = [kernel_probes(draw, checkpoints.probed_parts, n_probe) for draw in draws]
    found = ExperimentFiles(**files, infinite={2.0: folder / "infinite.nc"})
    cube = assemble_cube(
        settings,
        found,
        targets=np.stack([probe.y for probe in probes]),
        labels=None,
        zero_train_mse=[[np.mean(draw.y_pool[:n] ** 2) for draw in draws] for n in settings.grid.n_train],
        shared=shared_samples(dataset, settings.dataset, draws=settings.grid.draws, n_train=settings.grid.n_train),
        test_folds=np.stack([draw.test_folds for draw in draws]),
        provenance={},
    )
    functions = assemble_functions(settings, found, draws=draws, provenance={})
    return Evidence("run", settings, cube, functions=functions)


def thresholds() -> Thresholds:
    """The study's thresholds for these seeds."""
    loaded = load_thresholds(THRESHOLDS).model_dump(by_alias=True)
    loaded["chosen_with"]["seeds"] = (999,)
    return thresholds_of(loaded)


def verdicts(evidence: Evidence) -> dict[str, str]:
    return {verdict.claim: verdict.verdict for verdict in judge_experiment(evidence, thresholds())}


@pytest.fixture(scope="module")
def narrow(tmp_path_factory) -> Evidence:
    return run(experiment(depth=(0, 1), width=8, max_epochs=200, dtype="float64"), tmp_path_factory.mktemp("narrow"))


def test_the_terms_of_the_gap_add_up_and_distances_are_those_of_the_predictions(narrow):
    cube, functions = narrow.cube, narrow.functions
    total = sum(cube[f"gap_{pair_name(*pair)}"] for pair in GAP_TERMS)
    np.testing.assert_allclose(total.transpose(*cube[f"gap_{pair_name(*WHOLE_GAP)}"].dims),
                               cube[f"gap_{pair_name(*WHOLE_GAP)}"], rtol=1e-9, atol=1e-12)  # fmt: skip
    for name in ("network", "linearized", "ntk_init", "infinite_ntk", "nngp"):
        error = ((functions[f"test_predictions_{name}"] - functions["y_test"]) ** 2).mean(["test_sample", "output"])
        expected = cube[f"test_mse_{name}"]
        np.testing.assert_allclose(error.transpose(*expected.dims), expected, rtol=1e-4)
    difference = functions["test_predictions_network"] - functions["test_predictions_linearized"]
    rms = np.sqrt((difference.astype(np.float64) ** 2).mean(["test_sample", "output"]))
    np.testing.assert_allclose(functions["distance_network_linearized"], rms, rtol=1e-6)


def test_a_linear_model_is_its_linearization_and_narrow_networks_are_not(narrow):
    distance = narrow.functions["distance_network_linearized"].mean(["draw", "seed"]).squeeze()
    assert float(distance.sel(depth=0)) < 1e-5 < 0.1 < float(distance.sel(depth=1))


def test_a_linear_model_is_not_found_broken(tmp_path):
    # More features than samples, and none of them nearly dependent: descent gets to the end.
    dataset = {"source": "teacher", "teacher": "two_layer", "dimension": 100}
    evidence = run(experiment(depth=(0,), width=4, dataset=dataset, max_epochs=400, dtype="float64"), tmp_path)
    assert float(evidence.cube["final_train_mse"].max()) < 1e-8
    found = verdicts(evidence)
    assert found["C5"] == "not supported" and found["C1"] == "not run"


@pytest.mark.slow
def test_wide_shallow_lazy_networks_are_their_kernel(tmp_path):
    evidence = run(experiment(depth=(1, 2), width=2048, output_scale=100.0, max_epochs=500), tmp_path)
    assert float(evidence.cube["final_train_mse"].max()) < 1e-3, "they are trained to the end"
    found = verdicts(evidence)
    assert found["C1"] == "not supported" and found["C5"] == "not supported"


@pytest.mark.slow
def test_the_limit_is_the_kernel_and_what_networks_lack_in_time_is_no_limit(tmp_path):
    """Networks far from the kernel at any width here, trained to the end and too little."""
    found = {}
    for max_epochs in (400, 15):
        settings = experiment(depth=(1,), width=(64, 128, 256, 512), max_epochs=max_epochs, draws=8)
        judged = judge_experiment(run(settings, tmp_path / str(max_epochs)), thresholds())
        found[max_epochs] = {verdict.claim: verdict for verdict in judged}
    assert found[400]["C5∞"].verdict == "not supported", found[400]["C5∞"].reason
    assert found[15]["C5∞"].verdict == "inconclusive" and "not width" in found[15]["C5∞"].reason


@pytest.mark.slow
def test_the_distance_from_the_kernel_shrinks_with_the_width(tmp_path):
    """As functions: networks from their linearization as 1/width, that from the infinite kernel as 1/√width."""
    found = []
    for width in (128, 2048):
        evidence = run(experiment(depth=(1,), width=width, max_epochs=500, draws=4), tmp_path / str(width))
        distances = evidence.functions.sel(ridge="zero").mean(["draw", "seed"]).squeeze()
        found.append([float(distances[f"distance_{name}"]) for name in ("network_linearized", "ntk_init_infinite_ntk")])
    (narrow_nonlinear, narrow_random), (wide_nonlinear, wide_random) = found
    assert wide_nonlinear < 0.4 * narrow_nonlinear
    assert wide_random < 0.5 * narrow_random
