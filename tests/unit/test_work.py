"""The estimate of an experiment's work, counted by hand, and against what its parts say."""

import pytest

from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.study.work import FLOPS_PER_SECOND, SECONDS_PER_STEP, experiment_work, work_estimate


def experiment(grid=None, network=None, regression=None, **training):
    return ExperimentSettings.model_validate(
        {
            "dataset": {"source": "digits", "task": "binary", "n_validation": 10, "n_test": 30},
            "grid": {
                "depth": [1], "width": [8], "init_scale": [2.0], "n_train": [20, 40], "draws": 3, "seeds": 5,
                **(grid or {}),
            },
            "network": network or {},
            "training": {"max_epochs": 7, "learning_rate": {"absolute": 0.1}, **training},
            "regression": {"predictors": ["ntk_init"], "ridge_grid": [1.0], **(regression or {})},
        }
    )  # fmt: skip


def test_a_small_network_by_hand():
    work = experiment_work(experiment())
    # Full batch: 7 steps, blocks of 4 seeds and of 1, 3 draws, 2 sizes.
    assert work.steps == 7 * 2 * 3 * 2
    forward = 2 * (64 * 8 + 8)
    assert work.training_flops == 3 * 5 * 7 * 3 * forward * (20 + 40)
    kernel = 2 * (64 + 8 + 8 + 1) * 40 * (20 + 40) + 2 * 40**3 / 3
    assert work.kernel_flops == pytest.approx(15 * kernel)
    assert work.training_hours == pytest.approx(
        (work.steps * SECONDS_PER_STEP + work.training_flops / FLOPS_PER_SECOND) / 3600
    )


def test_what_makes_more_work():
    base = experiment_work(experiment())
    batches = experiment_work(experiment(batch_size=8, min_steps=50))
    assert batches.steps == 2 * 3 * (17 * 3 + 10 * 5)  # max(7, ⌈50/3⌉) epochs of 3 batches, max(7, 10) of 5
    rates = experiment_work(experiment(learning_rate={"relative": [0.1, 0.5]}))
    assert (rates.steps, rates.training_flops) == (base.steps, 2 * base.training_flops)
    scales = experiment_work(experiment(grid={"init_scale": [1.0, 2.0], "depth": [1, 1]}))
    assert scales == type(base)(2 * base.steps, 2 * base.training_flops, pytest.approx(2 * base.kernel_flops))
    kept = {"checkpoints": {"epochs": [0, 3, 7], "weights": "scheduled"}}
    along = experiment_work(experiment(regression={"predictors": ["ntk_init", "ntk_epochs"]}, **kept))
    assert along.kernel_flops == pytest.approx(4 * base.kernel_flops)  # three checkpoints at the largest n
    rivals = experiment_work(experiment(regression={"predictors": ["laplace"], "length_scales": [1.0, 2.0]}))
    assert rivals.kernel_flops == pytest.approx(3 * 2 * 2 * 40**3 / 3)


def test_the_estimate_in_words():
    assert work_estimate(experiment()) == (
        "about 0 s of one core (84 training steps 0 s, empirical kernels and rivals 0 s)"
    )
    long = work_estimate(experiment(max_epochs=300_000, batch_size=8))
    assert long.startswith("about 20.") and "14,400,000 training steps 20." in long
    assert work_estimate(experiment(network={"factory": "net.py:build"})) == "time unknown: a network of your own"
