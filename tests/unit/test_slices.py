"""What a job reads of the config: no more than it declares, under the config's own names, and the same after a trip
through the text that Snakemake keeps."""

import copy
import json
from pathlib import Path

import pytest
from study_changes import BASE

import ntk_atlas
from ntk_atlas.config import StudySettings
from ntk_atlas.jobs import DROPPED, JOBS, Slice, UndeclaredSettingError, job_slice
from ntk_atlas.jobs.parts import all_jobs, rules_after
from ntk_atlas.provenance import source_files

STUDY = StudySettings.model_validate(BASE)
EXPERIMENT = STUDY.experiments["one"]
JOB_NAMES = [(rule, name) for rule, job in all_jobs().items() for name in job.names(EXPERIMENT, STUDY.jobs)[:1]]


@pytest.mark.parametrize(("rule", "name"), JOB_NAMES)
def test_the_text_of_a_slice_is_the_slice(rule, name):
    job = all_jobs()[rule]
    part = job.slice(EXPERIMENT, name, STUDY)
    again = job.parse(part.canonical_json())
    assert again.canonical_json() == part.canonical_json()
    assert again.values == part.values and again.found == part.found


@pytest.mark.parametrize(("rule", "name"), JOB_NAMES)
def test_a_slice_has_the_configs_names_and_nothing_undeclared(rule, name):
    job = all_jobs()[rule]
    part = job.slice(EXPERIMENT, name, STUDY)
    config = STUDY.model_dump(mode="json") | EXPERIMENT.model_dump(mode="json")

    def inside(there, given, path=""):
        for key, value in there.items():
            assert key in given, f"{path}{key}"
            assert job.declares(f"{path}{key}"), f"{path}{key}"
            if isinstance(value, dict) and isinstance(given[key], dict):
                inside(value, given[key], f"{path}{key}.")

    settings = part.settings()
    inside({key: settings[key] for key in settings.keys() - {"contents", "found"}}, config)
    for key in StudySettings.model_fields.keys() | type(EXPERIMENT).model_fields.keys():
        if not job.declares(key):
            with pytest.raises(UndeclaredSettingError, match=rf"{rule} reads {key}, which is not among the `reads`"):
                getattr(part, key)


def test_a_part_of_a_section_has_its_methods_and_not_its_other_settings():
    part = job_slice("regress_infinite", EXPERIMENT, "2.0")
    assert part.regression.solve(part.grid.n_train) == EXPERIMENT.regression.solve(EXPERIMENT.grid.n_train)
    assert part.grid.init_scale == (2.0,) and part.grid.draws == 3
    for read in (lambda: part.grid.seeds, lambda: part.regression.length_scales, lambda: part.training.seed):
        with pytest.raises(UndeclaredSettingError, match=r"jobs/regress_infinite\.py.*add it"):
            read()
    with pytest.raises(AttributeError, match="no_such_setting"):
        part.regression.no_such_setting  # noqa: B018
    with pytest.raises(AttributeError):
        part.regression.model_dump()


def test_a_slice_is_narrowed_to_its_job():
    (row, *_) = JOBS.head("train_networks").names(EXPERIMENT)
    part = job_slice("train_networks", EXPERIMENT, row)
    assert (part.row.name, part.row.depth, part.row.width, part.row.init_scale) == (row, 1, 4, (1.0,))
    assert part.training.checkpoints.n_probe == 8  # of the smallest training set
    assert EXPERIMENT.training.checkpoints.n_probe is None
    kernels = job_slice("regress_rivals", EXPERIMENT, "rbf")
    assert kernels.regression.predictors == ("rbf",)
    at_zero = job_slice("regress_empirical", EXPERIMENT, row)
    with pytest.raises(UndeclaredSettingError, match="initial_output"):
        at_zero.training.initial_output  # noqa: B018
    other = copy.deepcopy(BASE)
    other["experiments"]["one"]["regression"]["predictor_center"] = "both"
    around = job_slice("regress_empirical", StudySettings.model_validate(other).experiments["one"], row)
    assert around.training.initial_output == "keep"


def test_a_row_of_several_init_scales_is_cut_into_slices_of_one():
    part = job_slice("train_networks", EXPERIMENT, "depth-2_width-8_init_scale-1.0,2.0")
    with pytest.raises(ValueError, match="the slice has 2 init scales: take one of `per_init_scale`"):
        part.only_init_scale  # noqa: B018
    alone = part.per_init_scale()
    assert list(alone) == [1.0, 2.0]
    assert alone[2.0].canonical_json() == (
        job_slice("train_networks", EXPERIMENT, "depth-2_width-8_init_scale-2.0").canonical_json()
    )


def test_values_are_left_out_put_in_and_taken_from_digests():
    part = Slice("train_networks", {"grid.depth": (1,), "training": EXPERIMENT.training})
    assert "grid" not in part.narrowed({"grid.depth": DROPPED}).settings()
    longer = part.narrowed({"training.max_epochs": 7, "training.checkpoints.n_log": 2})
    assert (longer.training.max_epochs, longer.training.checkpoints.n_log) == (7, 2)
    assert longer.training.seed == part.training.seed
    digests = [each.digest("train", without=("training.max_epochs",)) for each in (part, longer)]
    assert digests[0] != digests[1]
    same = part.narrowed({"training.max_epochs": 7})
    assert same.digest("train", without=("training.max_epochs",)) == digests[0]
    assert same.digest("train") != part.digest("train")
    assert "max_epochs" in json.loads(part.canonical_json())["training"]


def test_networks_of_one_sample_are_a_job_like_any_other():
    smallest = copy.deepcopy(BASE)
    smallest["experiments"]["one"]["grid"]["n_train"] = [1, 8]
    experiment = StudySettings.model_validate(smallest).experiments["one"]
    for rule, name in JOB_NAMES:
        part = all_jobs()[rule].slice(experiment, name, STUDY)
        assert all_jobs()[rule].parse(part.canonical_json()).values == part.values


def test_units_depend_on_no_section_of_the_config_that_their_job_does_not_read():
    package = Path(ntk_atlas.__file__).parent
    for name in JOBS.names():
        files = {file.name for file in source_files(JOBS.module_file(name), package) if file.parent.name == "config"}
        assert not files & {"study.py", "figures.py", "analyses.py", "thresholds.py"}, name


def test_only_training_runs_on_the_threads_of_training():
    threaded = EXPERIMENT.model_copy(update={"training": EXPERIMENT.training.model_copy(update={"threads": 4})})
    assert {name for name, job in all_jobs().items() if job.threads(threaded) > 1} == {"train_networks"}


def test_what_is_made_of_a_job_runs_after_it():
    assert rules_after(["sample_initial_kernels"]) >= {"assemble_dispersion", "plot_figure", "judge_claims"}
    assert "train_networks" not in rules_after(["regress_infinite"])
    assert rules_after([]) == frozenset()


@pytest.mark.parametrize(
    ("rule", "file", "name"),
    [
        ("train_networks", "networks/depth-1_width-4_init_scale-1.0.nc", "depth-1_width-4_init_scale-1.0"),
        ("train_networks", "linearized/depth-1_width-4_init_scale-1.0.nc", None),
        ("regress_infinite", "predictions/infinite/init_scale-2.0.nc", "2.0"),
        ("regress_infinite", "predictions/infinite/2.0.nc", None),
        ("prepare_dataset", "dataset.nc", ""),
        ("prepare_dataset", "cube.nc", None),
    ],
)
def test_a_file_says_which_job_wrote_it(rule, file, name):
    job = JOBS.head(rule)
    assert job.name_of(file) == name
    if name is not None:
        assert job.file_of(name) == file
