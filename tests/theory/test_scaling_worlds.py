"""Claim B1 on real trainings: not rejected where features must be learned, not supported where networks are lazy."""

from pathlib import Path

import numpy as np
import pytest

from ntk_atlas.arrays import write_labelled
from ntk_atlas.config import ExperimentSettings, thresholds_of
from ntk_atlas.cubes import ExperimentFiles, assemble_cube
from ntk_atlas.datasets import kernel_probes, make_draw, read_dataset, shared_samples
from ntk_atlas.jobs import job_slice
from ntk_atlas.jobs.parts import join_row
from ntk_atlas.jobs.parts.slice import rows
from ntk_atlas.jobs.regress_empirical import RowStores, empirical_predictions, regress_row
from ntk_atlas.jobs.train_networks import network_row, train_row
from ntk_atlas.judging import Evidence, judge_experiment
from ntk_atlas.study import load_thresholds

THRESHOLDS = Path(__file__).parents[2] / "config" / "claims" / "scaling_laws.yaml"


def experiment(*, dataset, n_train, width, network, training, draws=5) -> ExperimentSettings:
    return ExperimentSettings.model_validate(
        {
            "dataset": {"source": "teacher", "n_validation": 256, "n_test": 1024, "n_samples": 4096, **dataset},
            "grid": {
                "depth": (2,), "width": (width,), "init_scale": (2.0,), "n_train": n_train, "draws": draws, "seeds": 1,
            },
            "network": {"activation": "relu", "bias_variance": 0.0, **network},
            "training": {
                "seed": 7, "selection": "best_validation", "checkpoints": {"epochs": "log", "n_log": 6, "n_probe": 8},
                **training,
            },
            "regression": {"predictors": ("ntk_init",), "ridge_grid": (1e-6, 1e-4, 1e-2, 1.0)},
            "scaling": {"n_train_min": min(n_train)},
        }
    )  # fmt: skip


def run(settings: ExperimentSettings, folder: Path) -> Evidence:
    """Trains and regresses as the workflow does, in one process."""
    dataset, (row,) = read_dataset(settings.dataset), rows(settings.grid)
    spec, kernels, stores = (
        job_slice("train_networks", settings, row.name),
        job_slice("regress_empirical", settings, row.name),
        RowStores.of_row(folder, row.name),
    )
    trained = train_row(spec, dataset, "data", stores.networks, "source")
    found = {
        "networks": network_row(spec, stores.networks, trained),
        "empirical": empirical_predictions(
            kernels, stores, regress_row(kernels, dataset, "data", stores, "source", trained)
        ),
    }
    files = {}
    for kind, arrays in found.items():
        files[kind] = {row: folder / f"{kind}.nc"}
        write_labelled(join_row(spec, {2.0: arrays}), files[kind][row])
    draws = [make_draw(dataset, settings.dataset, number) for number in range(settings.grid.draws)]
    checkpoints = settings.training.checkpoints
    n_probe = checkpoints.probe_count(settings.grid.n_train)
    probes = [kernel_probes(draw, checkpoints.probed_parts, n_probe) for draw in draws]
    cube = assemble_cube(
        settings,
        ExperimentFiles(**files),
        targets=np.stack([probe.y for probe in probes]),
        labels=None,
        zero_train_mse=[[np.mean(draw.y_pool[:n] ** 2) for draw in draws] for n in settings.grid.n_train],
        shared=shared_samples(dataset, settings.dataset, draws=settings.grid.draws, n_train=settings.grid.n_train),
        test_folds=np.stack([draw.test_folds for draw in draws]),
        provenance={},
    )
    return Evidence("run", settings, cube)


def verdict(evidence: Evidence):
    """B1 by the study's thresholds; the seeds here are among those that chose them, which is set aside."""
    loaded = load_thresholds(THRESHOLDS).model_dump(by_alias=True)
    loaded["chosen_with"]["seeds"] = (999,)
    return {v.claim: v for v in judge_experiment(evidence, thresholds_of(loaded))}["B1"]


@pytest.mark.slow
@pytest.mark.parametrize(("last_layer_scale", "max_epochs"), [(1.0, 120), (0.1, 40)])
def test_networks_outgrow_their_kernel_where_features_must_be_learned(last_layer_scale, max_epochs, tmp_path):
    """The larger exponent is the network's. It need not be told: curves of parities are no power laws over all n (the
    largest n misses its interval), and the second budget ends above the target, which leaves the claim open."""
    planted = experiment(
        dataset={"teacher": "parity", "parity_bits": 2, "dimension": 15}, n_train=(128, 256, 512, 1024, 2048),
        width=128, network={"last_layer_scale": last_layer_scale},
        training={
            "optimizer": "adam", "learning_rate": {"absolute": 3e-3}, "schedule": "cosine", "batch_size": 64,
            "max_epochs": max_epochs, "min_steps": 600,
        },
    )  # fmt: skip
    found = verdict(run(planted, tmp_path))
    assert found.verdict != "not supported" and found.value > 0.05, found


@pytest.mark.slow
def test_wide_lazy_networks_do_not_outgrow_their_kernel(tmp_path):
    lazy = experiment(
        dataset={"teacher": "two_layer", "dimension": 5}, n_train=(32, 64, 128, 256), width=1024,
        network={"output_scale": 100.0, "parameterization": "ntk"},
        training={
            "optimizer": "momentum", "learning_rate": {"relative": 0.5}, "max_epochs": 400,
            "initial_output": "subtract",
        },
    )  # fmt: skip
    evidence = run(lazy, tmp_path)
    assert float(evidence.cube["kernel_drift"].max()) < 0.02, "they are lazy"
    assert float((evidence.cube["final_train_mse"] / evidence.cube["zero_train_mse"]).max()) < 0.1, "they do learn"
    found = verdict(evidence)
    assert found.verdict != "supported", found
