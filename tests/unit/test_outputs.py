"""Which figures, tables and cubes an experiment ends in."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ntk_atlas.arrays import LabelledArrays, write_labelled
from ntk_atlas.config import ExperimentSettings, StudySettings
from ntk_atlas.figures import FIGURES
from ntk_atlas.jobs import job_slice
from ntk_atlas.jobs.parts import RESULTS, Row, regime_notices
from ntk_atlas.study import (
    cubes_of,
    earlier_results_told,
    figure_problems,
    figures_of,
    final_results,
    foreign_results,
    page_file,
    study_folder,
    tables_of,
)
from ntk_atlas.study.results import earlier_results

ASKED_FOR = {
    "dispersion",
    "output_variance",
    "pretrained_kernels",
    "kernel_evolution",
    "function_fits",
    "width_limit",
    "regime_map",
}
"""Figures of what an experiment does only if asked."""
GRID = {"depth": [1, 2], "width": [8, 16], "init_scale": [1.0, 2.0], "n_train": [16, 32, 64]}


def experiment(**settings) -> ExperimentSettings:
    return ExperimentSettings.model_validate({"grid": GRID} | settings)


def test_a_plain_experiment_shows_all_but_what_it_has_no_file_for():
    shown = figures_of(experiment(), has_classes=True)
    assert set(FIGURES.names()) - set(shown) == ASKED_FOR
    assert cubes_of(experiment()) == ("cube", "scaling_laws")


@pytest.mark.parametrize(
    ("settings", "absent"),
    [
        (
            {"grid": GRID | {"n_train": [16, 32]}},
            {"learning_curves", "classification_curves", "scaling_exponents", "exponent_forest", "width_dependence"},
        ),
        ({"grid": GRID | {"depth": [1]}}, {"trainability", "layer_errors"}),
        (
            {"grid": GRID | {"depth": [1], "width": [8]}},
            {"trainability", "kernel_movement", "width_dependence", "exponent_forest", "layer_errors"},
        ),
        ({"regression": {"predictors": []}}, {"error_map", "layer_errors", "gap_waterfall", "nngp_against_ntk"}),
        ({"regression": {"predictors": ["ntk_init", "infinite_ntk"]}}, {"nngp_against_ntk"}),
        ({"regression": {"predictors": ["nngp", "infinite_ntk"]}}, {"gap_waterfall"}),
        ({"network": {"factory": "my_net.py:build"}}, {"phase_diagram", "trainability"}),
    ],
)
def test_figures_without_anything_to_show_are_left_out(settings, absent):
    shown = figures_of(experiment(**settings), has_classes=True)
    assert set(FIGURES.names()) - set(shown) == absent | ASKED_FOR


def test_figures_can_be_chosen():
    chosen = experiment(show=["trainability", "dispersion", "kernel_drift"])
    assert figures_of(chosen, has_classes=True) == ("kernel_drift", "trainability")


def test_functions_are_drawn_where_they_were_kept_and_are_of_one_variable():
    kept = experiment(regression={"keep_predictions": True})
    assert "function_fits" in figures_of(kept, has_classes=False, one_feature=True)
    assert "function_fits" not in figures_of(kept, has_classes=False)
    assert "function_fits" not in figures_of(experiment(), has_classes=False, one_feature=True)


@pytest.mark.parametrize(
    ("predictors", "initial_output", "mapped"),
    [
        (["infinite_ntk"], "subtract", True),
        (["infinite_ntk", "ntk_init"], "keep", False),  # kernels that predict around zero
        (["linearized"], "keep", True),
        (["laplace", "nngp"], "subtract", False),
    ],
)
def test_regimes_are_mapped_where_networks_are_compared_with_theory(predictors, initial_output, mapped):
    settings = {"training": {"initial_output": initial_output}}
    compared = experiment(regression={"predictors": predictors}, **settings)
    assert ("regimes" in cubes_of(compared)) == ("regime_map" in figures_of(compared, has_classes=True)) == mapped
    both = experiment(regression={"predictors": predictors, "predictor_center": "both"}, **settings)
    assert ("regimes" in cubes_of(both)) == (mapped or "ntk_init" in predictors)


def test_a_limit_of_wide_networks_is_drawn_where_predictions_were_kept_at_four_widths():
    four = GRID | {"width": [8, 16, 32, 64]}
    assert "width_limit" in figures_of(experiment(grid=four, regression={"keep_predictions": True}), has_classes=True)
    assert "width_limit" not in figures_of(experiment(grid=four), has_classes=True)
    assert "width_limit" not in figures_of(experiment(regression={"keep_predictions": True}), has_classes=True)


def test_a_dispersion_section_brings_its_cube_and_figure():
    with_it = experiment(dispersion={"depth": [1], "width": [8]})
    assert "dispersion" in figures_of(with_it, has_classes=True)
    assert cubes_of(with_it) == ("cube", "scaling_laws", "dispersion")


def test_tables_of_laws_need_three_sizes_in_the_fit_range():
    assert tables_of(experiment()) == ("summary", "scaling_laws", "exponent_differences")
    assert tables_of(experiment(scaling={"n_train_min": 20})) == ("summary",)


def test_every_study_has_a_folder_of_its_own_for_its_tables():
    assert study_folder([]) == "results/studies/config"
    assert study_folder(["config/config.yaml", Path("config/studies/finite_width.yaml")]) == (
        "results/studies/finite_width"
    )
    assert study_folder(["elsewhere/my study, v1.2.yaml"]) == "results/studies/my-study-v1-2"
    assert page_file([]) == "results/atlas.html"
    assert page_file(["config/config.yaml", Path("config/studies/finite_width.yaml")]) == (
        "results/atlas_finite_width.html"
    )


def test_results_of_an_earlier_config_are_named_and_no_others(tmp_path):
    study = StudySettings(experiments={"one": experiment()})
    for file in (*final_results(experiment(), claims=False), "dataset.nc", "networks/old.nc", "notes.txt"):
        (tmp_path / "one" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "one" / file).touch()
    assert earlier_results_told(study, tmp_path) == ""
    smaller = StudySettings(experiments={"one": experiment(scaling={"n_train_min": 20}), "two": None})
    stale = [file for file in earlier_results(smaller, tmp_path) if "figures" not in file.parts]
    assert [file.name for file in stale] == ["exponent_differences.csv", "scaling_laws.csv", "scaling_laws.nc"]
    said = earlier_results_told(smaller, tmp_path)
    assert f"for example {stale[0]}: `make clean-orphans` lists" in said
    (tmp_path / "claims.csv").touch()
    assert "1 result is not of this config but of an earlier one" in earlier_results_told(study, tmp_path)


def test_every_figure_says_in_its_head_what_it_is_drawn_from_and_how_it_is_read():
    for name in FIGURES.names():
        head, whole = FIGURES.head(name), FIGURES.get(name)
        assert (head.name, head.caption, head.files) == (name, whole.caption, whole.files)
        assert set(head.files) <= {"cube", "scaling_laws", "functions", "regimes", "dispersion", "output_variance"}
        assert len(head.caption) > 80 and head.caption.endswith(".")
        assert callable(FIGURES.work(name, "draw"))


def test_a_plan_knows_figures_without_their_libraries():
    asked = "import sys; from ntk_atlas.figures import FIGURES; heads = [*map(FIGURES.head, FIGURES.names())]"
    told = "; print(len(heads), {'matplotlib', 'xarray', 'torch'} & sys.modules.keys())"
    said = subprocess.run([sys.executable, "-c", asked + told], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == f"{len(FIGURES.names())} set()"


HEAD = "from ntk_atlas.figures import AtlasFigure\n{name} = AtlasFigure('Points.')\nimport no_such_library\n"


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("spread", HEAD, None),
        ("error_map", HEAD, "there is another figure 'error_map' already"),
        ("spread", "spread = 1 / 0\n", r"ZeroDivisionError: division by zero \(.*mine.py, line 1\)"),
        ("spread", "def spread(cube): ...\n", "defines no AtlasFigure of that name"),
    ],
)
def test_a_figure_of_the_users_is_read_as_far_as_its_head(tmp_path, name, text, told):
    (tmp_path / "mine.py").write_text(text.format(name=name))
    mine = experiment(show=["kernel_drift", f"{tmp_path}/mine.py:{name}"])
    found = list(figure_problems(mine))
    if told is not None:
        assert any(re.search(told, problem) for problem in found)
        return
    assert not found
    assert figures_of(mine, has_classes=True) == ("kernel_drift", f"{tmp_path}/mine.py:spread")
    assert "figures/spread.svg" in final_results(mine, claims=False)


def test_a_cube_of_another_study_is_foreign_unless_snakemake_knows_it(tmp_path):
    here = StudySettings(experiments={"one": experiment()})
    path, records = tmp_path / "one" / "cube.nc", tmp_path / "records"
    cube = LabelledArrays({}, {"config": RESULTS["assemble_cube"].slice(experiment()).canonical_json()})
    write_labelled(cube, path)
    assert list(foreign_results(here, tmp_path, records)) == []
    there = StudySettings(experiments={"one": experiment(training={"seed": 5}), "two": experiment()})
    assert list(foreign_results(there, tmp_path, records)) == [path]
    write_labelled(LabelledArrays({}), path)
    assert list(foreign_results(here, tmp_path, records)) == [path]
    write_labelled(cube, path)
    rows = [Row(depth, 8, (1.0,)) for depth in (1, 2, 3)]
    specs = {
        tmp_path / "one" / "networks" / f"{row.name}.nc": job_slice("train_networks", experiment(), row.name)
        for row in rows
    }
    specs |= {tmp_path / "one" / "dataset.nc": job_slice("prepare_dataset", experiment())}
    for file, spec in specs.items():
        write_labelled(LabelledArrays({}, {"spec": spec.canonical_json()}), file)
    assert list(foreign_results(here, tmp_path, records)) == []
    there = StudySettings(experiments={"one": experiment(dataset={"source": "digits", "n_test": 30})})
    needed = [file for file in specs if "depth-3" not in file.name]  # no depth of this grid
    assert sorted(foreign_results(there, tmp_path, records)) == sorted([path, *needed])
    write_labelled(LabelledArrays({}), path)
    records.mkdir()
    (records / "cmVzdWx0cy9vbmUvY3ViZS5uYw==").touch()  # as Snakemake names its record of results/one/cube.nc
    assert list(foreign_results(here, tmp_path, records)) == []


def test_a_study_says_which_experiments_have_no_regimes_and_which_keys_add_them():
    without = experiment(regression={"predictors": ["laplace"]})
    around_zero = experiment(regression={"predictors": ["infinite_ntk"]}, training={"initial_output": "keep"})
    there = experiment(regression={"predictors": ["linearized"]})
    first, second = regime_notices({"a": without, "b": there, "c": without, "d": around_zero})
    assert (
        first.startswith("no regimes of a, c: ") and "add linearized, ntk_init or infinite_ntk to regression" in first
    )
    assert second.startswith("no regimes of d: ") and "set training.initial_output: subtract" in second
