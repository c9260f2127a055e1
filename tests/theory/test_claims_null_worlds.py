"""The judge on real runs: where NTK theory holds it must not find it broken; deep narrow chaotic networks, it must.

The seeds here are among those that chose the thresholds, so the files' own list is set aside.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from ntk_atlas.arrays import UnitStore, write_labelled
from ntk_atlas.config import ExperimentSettings, Thresholds, thresholds_of
from ntk_atlas.cubes import ExperimentFiles, assemble_cube, assemble_dispersion
from ntk_atlas.datasets import kernel_probes, make_draw, read_dataset, shared_samples
from ntk_atlas.jobs import architecture_name, job_slice
from ntk_atlas.jobs.parts import RESULTS, join_row
from ntk_atlas.jobs.parts.slice import rows
from ntk_atlas.jobs.sample_initial_kernels import sample_initial_kernels
from ntk_atlas.jobs.train_networks import network_row, train_row
from ntk_atlas.judging import Evidence, judge_experiment
from ntk_atlas.study import load_thresholds

REPOSITORY = Path(__file__).parents[2]
THEORY_BROKEN = ("A2", "A3", "A'4")
SEED = 7


def experiment(
    *, depth, width, init_scale=(1.0, 2.0, 3.0), output_scale=1.0, dispersion: Mapping | None = None, **training
) -> ExperimentSettings:
    return ExperimentSettings.model_validate(
        {
            "dataset": {"source": "digits", "task": "binary", "n_validation": 16, "n_test": 40},
            "grid": {
                "depth": depth, "width": width, "init_scale": init_scale, "n_train": (64,), "draws": 1, "seeds": 12,
            },
            "network": {"activation": "relu", "output_scale": output_scale},
            "training": {
                "optimizer": "sgd", "learning_rate": {"relative": 0.5}, "seed": SEED, "seeds_per_unit": 12,
                "checkpoints": {"epochs": "log", "n_log": 6, "n_probe": 20}, **training,
            },
            "regression": {"predictors": ()},
            "dispersion": None if dispersion is None else {"seed": SEED, "n_exact": 1000, **dispersion},
        }
    )  # fmt: skip


def run(settings: ExperimentSettings, folder: Path) -> Evidence:
    """Trains and samples as the workflow does, in one process."""
    dataset, files = read_dataset(settings.dataset), {}
    for row in rows(settings.grid):
        spec, parts = job_slice("train_networks", settings, row.name), {}
        for scale, part in spec.per_init_scale().items():
            store = UnitStore(folder / part.row.name)
            parts[scale] = network_row(part, store, train_row(part, dataset, "data", store, "source"))
        files[row] = folder / f"{row.name}.nc"
        write_labelled(join_row(spec, parts), files[row])
    draws = [make_draw(dataset, settings.dataset, number) for number in range(settings.grid.draws)]
    checkpoints = settings.training.checkpoints
    n_probe = checkpoints.probe_count(settings.grid.n_train)
    probes = [kernel_probes(draw, checkpoints.probed_parts, n_probe) for draw in draws]
    cube = assemble_cube(
        settings,
        ExperimentFiles(files),
        targets=np.stack([probe.y for probe in probes]),
        labels=np.stack([probe.labels for probe in probes]),
        zero_train_mse=[[np.mean(draw.y_pool[:n] ** 2) for draw in draws] for n in settings.grid.n_train],
        shared=shared_samples(dataset, settings.dataset, draws=settings.grid.draws, n_train=settings.grid.n_train),
        test_folds=np.stack([draw.test_folds for draw in draws]),
        provenance={},
    )
    return Evidence("run", settings, cube, None if settings.dispersion is None else dispersion(settings, folder))


def dispersion(settings: ExperimentSettings, folder: Path) -> xr.Dataset:
    files = {}
    for depth in settings.dispersion.depth:
        for width in settings.dispersion.width:
            spec = job_slice("sample_initial_kernels", settings, architecture_name(depth, width))
            files[depth, width] = folder / f"dispersion-{depth}-{width}.nc"
            store = UnitStore(folder / f"dispersion-{depth}-{width}")
            write_labelled(sample_initial_kernels(spec, store, "source"), files[depth, width])
    return assemble_dispersion(RESULTS["assemble_dispersion"].slice(settings), files, {})


def thresholds(**changes: float) -> Thresholds:
    """The study's thresholds for these seeds; `changes` are values by name, in all claims that have them."""
    loaded = load_thresholds(REPOSITORY / "config" / "claims" / "finite_width.yaml").model_dump(by_alias=True)
    loaded["chosen_with"]["seeds"] = (999,)
    for claim in loaded["claims"].values():
        for name in changes.keys() & (claim or {}).keys():
            claim[name]["value"] = changes[name]
    return thresholds_of(loaded)


def verdicts(evidence: Evidence, **changes: float) -> dict[str, str]:
    return {verdict.claim: verdict.verdict for verdict in judge_experiment(evidence, thresholds(**changes))}


def test_a_linear_model_is_in_the_regime(tmp_path):
    """Its kernel is constant to the last digit and does not depend on the weights."""
    evidence = run(experiment(depth=(0,), width=(8,), max_epochs=60), tmp_path)
    assert float(evidence.cube["kernel_drift"].max()) == 0.0
    strict = verdicts(evidence, least_lambda=0.0)
    assert strict["A3"] == "not supported" and strict["A'4"] == "not supported"
    assert strict["A2"] == "not run"
    assert {verdicts(evidence)[name] for name in THEORY_BROKEN} == {"not run"}, "a linear model is not deep"


@pytest.mark.slow
def test_wide_shallow_lazy_networks_are_in_the_regime(tmp_path):
    lazy = experiment(
        depth=(2,), width=(1024,), init_scale=(2.0, 3.0), output_scale=100.0, initial_output="subtract", max_epochs=40,
        dispersion={"depth": (1, 2), "width": (1024,), "n_networks": 300},
    )  # fmt: skip
    evidence = run(lazy, tmp_path)
    assert float((evidence.cube["final_train_mse"] / evidence.cube["zero_train_mse"]).max()) < 0.1, "they do learn"
    assert float(evidence.cube["kernel_drift"].max()) < 0.02
    assert {verdicts(evidence, least_lambda=0.0)[name] for name in THEORY_BROKEN} == {"not supported"}
    assert "supported" not in {verdicts(evidence)[name] for name in THEORY_BROKEN}


@pytest.mark.slow
def test_deep_narrow_chaotic_networks_are_not(tmp_path):
    deep = experiment(
        depth=(2, 9), width=(32,), init_scale=(0.7, 2.0, 3.0),  # the ordered phase has settled at depth 9
        max_epochs=1500, target_scale="initial_output",  # all reach the loss of A3
        dispersion={"depth": (2, 5, 9), "width": (32,), "n_networks": 1000},
    )  # fmt: skip
    found = verdicts(run(deep, tmp_path))
    assert {found[name] for name in ("A1", "A2", "A3")} == {"supported"}
    assert found["A'4"] in ("supported", "inconclusive")
