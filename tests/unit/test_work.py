"""The estimate of an experiment's work, counted by hand, and against what its parts say."""

import re

import pytest

from ntk_atlas.config import ExperimentSettings
from ntk_atlas.study import all_seconds, experiment_work, job_seconds, seconds_of_study, study_estimate, time_estimate
from ntk_atlas.study.estimates import START

LARGE = {"n_train": [1000, 1400]}


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


def test_what_makes_more_work():
    base = experiment_work(experiment())
    batches = experiment_work(experiment(batch_size=8, min_steps=50))
    assert batches.steps == 2 * 3 * (17 * 3 + 10 * 5)  # max(7, ⌈50/3⌉) epochs of 3 batches, max(7, 10) of 5
    rates = experiment_work(experiment(learning_rate={"relative": [0.1, 0.5]}))
    assert (rates.steps, rates.training_flops) == (base.steps, 2 * base.training_flops)
    scales = experiment_work(experiment(grid={"init_scale": [1.0, 2.0], "depth": [1, 1]}))
    assert scales == type(base)(2 * base.steps, 2 * base.training_flops, pytest.approx(2 * base.empirical_flops), 0.0)
    kept = {"checkpoints": {"epochs": [0, 3, 7], "weights": "scheduled"}}
    along = experiment_work(experiment(regression={"predictors": ["ntk_init", "ntk_epochs"]}, **kept))
    assert along.kernel_flops == pytest.approx(4 * base.kernel_flops)  # three checkpoints at the largest n
    rivals = experiment_work(experiment(regression={"predictors": ["laplace"], "length_scales": [1.0, 2.0]}))
    assert rivals.kernel_flops == pytest.approx(3 * 2 * 2 * 40**3 / 3)


def test_the_estimate_in_words():
    said = time_estimate(experiment())
    assert re.match(
        r"about \d\d s of CPU time \(plot_figure \d+ s, train_networks 3 s for 84 steps, assemble_cube 2 s, ", said
    )
    more = sum(all_seconds(experiment(), claims=True).values()) - sum(all_seconds(experiment()).values())
    assert more == pytest.approx(START["judge_claims"] + START["plot_claims"], rel=0.1)
    both = [all_seconds(experiment()), None]
    total = sum(both[0].values()) + START["tabulate_costs"] + START["write_page"]
    words = study_estimate(both, claims=False, layers=0)
    assert words == f"all 2 experiments: about {total:.0f} s of CPU time, and 1 of unknown time"
    long = time_estimate(experiment(max_epochs=300_000, batch_size=8))
    assert long.startswith("about 2.8 h of CPU time (train_networks 2.8 h for 14,400,000 steps")
    assert time_estimate(experiment(network={"factory": "net.py:build"})) == "time unknown: a network of your own"


def test_every_kind_of_job_has_a_time_of_its_own():
    everything = {
        "regression": {
            "predictors": ["linearized", "ntk_init", "infinite_ntk", "laplace"],
            "ridge_grid": [1.0],
            "keep_predictions": True,
        },
        "training": {"max_epochs": 7, "learning_rate": {"absolute": 0.1}, "initial_output": "subtract"},
        "dispersion": {"depth": [2], "width": [20]},
        "kernel_variants": {"depth": [1], "width": [64, 128]},
        "output_variance": {},
    }
    grid = {"n_train": [20, 40, 80, 160]}
    settings = ExperimentSettings.model_validate(experiment(grid=grid).model_dump() | everything)
    found = all_seconds(settings, claims=True) | seconds_of_study(claims=True, layers=2)
    assert set(found) == set(START)
    for rule, seconds in found.items():
        assert seconds >= START[rule]


def test_series_in_place_of_closed_forms_take_longer():
    kernels = {"regression": {"predictors": ["infinite_ntk"]}}
    relu, sigmoid = (
        job_seconds(experiment(network={"activation": name}, grid=LARGE, **kernels)) for name in ("relu", "sigmoid")
    )
    assert sigmoid["regress_infinite"] > 1.3 * relu["regress_infinite"]
    assert {rule for rule in relu if relu[rule] != sigmoid[rule]} == {"regress_infinite"}


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("train_networks", {"max_epochs": 14_000}),
        ("regress_empirical", {"grid": LARGE}),
        ("regress_infinite", {"grid": LARGE | {"depth": [9]}, "regression": {"predictors": ["infinite_ntk"]}}),
        ("regress_rivals", {"grid": LARGE, "regression": {"predictors": ["laplace"]}}),
    ],
)
def test_more_work_takes_longer(rule, change):
    regression = {"regression": change["regression"]} if "regression" in change else {}
    assert job_seconds(experiment(**change))[rule] > 1.3 * job_seconds(experiment(**regression))[rule]
