"""What is made of the jobs' files: cubes, laws, maps, tables, figures and verdicts.

These rules compute nothing that takes long and keep no units. Each is declared as a job is, so that their inputs and
the table of what runs again follow from the same words.
"""

from collections.abc import Iterable, Iterator, Mapping

from ntk_atlas.config.predictors import distance_predictors, predictors_of
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.jobs import JOBS, Job

_MIN_SIZES = 3
_EXPERIMENT = tuple(ExperimentSettings.model_fields)


def has_scaling_laws(experiment: ExperimentSettings) -> bool:
    """Whether there are enough training sizes in the fit range for a law."""
    return sum(n >= experiment.scaling.n_train_min for n in experiment.grid.n_train) >= _MIN_SIZES


def has_regimes(experiment: ExperimentSettings) -> bool:
    """Whether networks are compared, as functions, with a predictor of NTK theory."""
    return bool(distance_predictors(experiment))


def lacking_for_regimes(experiment: ExperimentSettings) -> str:
    """Why an experiment has no regimes, and the keys that add them; empty if it has."""
    if has_regimes(experiment):
        return ""
    if not {"linearized", "ntk_init", "infinite_ntk"} & set(experiment.regression.predictors):
        return "no predictor is of NTK theory: add linearized, ntk_init or infinite_ntk to regression.predictors"
    return (
        "networks keep their initial output, and kernels predict around zero: set training.initial_output: subtract, "
        "or add linearized to regression.predictors, or ntk_init with regression.predictor_center: both"
    )


def regime_notices(experiments: Mapping[str, ExperimentSettings]) -> list[str]:
    """A sentence for each reason why experiments of a study have no regimes, with the keys that add them."""
    lacking: dict[str, list[str]] = {}
    for name, experiment in experiments.items():
        if reason := lacking_for_regimes(experiment):
            lacking.setdefault(reason, []).append(name)
    return [f"no regimes of {', '.join(names)}: {reason}" for reason, names in lacking.items()]


def _without(*sections: str) -> tuple[str, ...]:
    return tuple(name for name in _EXPERIMENT if name not in sections)


def _takes_predictors(experiment: ExperimentSettings, job: str) -> bool:
    """Linearized networks that serve the output variance alone are no predictor."""
    return job != "linearize_networks" or bool(predictors_of("linearized", experiment.regression.predictors))


_OF_CUBES = _without("show", "dispersion", "output_variance", "kernel_variants")
_PREDICTORS = (
    "prepare_dataset",
    "train_networks",
    "linearize_networks",
    "regress_empirical",
    "regress_infinite",
    "regress_rivals",
)
_CUBES = (
    "assemble_cube", "assemble_functions", "assemble_dispersion", "assemble_output_variance", "compare_variants",
)  # fmt: skip


def _result(
    name: str,
    reads: tuple[str, ...],
    file: str,
    made_of: tuple[str, ...],
    looked_up: tuple[str, ...] = (),
    **more: object,
) -> Job:
    return Job(reads, file, file, made_of, looked_up=looked_up, users_code=False, name=name, **more)  # type: ignore[arg-type]


RESULTS = {
    job.name: job
    for job in (
        _result("assemble_cube", _OF_CUBES, "cube", _PREDICTORS, ("claims",), takes=_takes_predictors),
        _result(
            "assemble_functions", _OF_CUBES, "functions", _PREDICTORS,
            takes=_takes_predictors, wanted=lambda experiment: experiment.regression.keep_predictions,
        ),
        _result(
            "assemble_dispersion", ("dataset", "grid", "network", "dispersion"), "dispersion",
            ("sample_initial_kernels",),
            wanted=lambda experiment: experiment.dispersion is not None,
            narrowed=lambda experiment: JOBS.head("sample_initial_kernels").narrowed(experiment),
        ),
        _result(
            "assemble_output_variance", _without("show", "dispersion", "kernel_variants"), "output_variance",
            ("prepare_dataset", "train_networks", "linearize_networks", "predict_output_variance"),
            wanted=lambda experiment: experiment.output_variance is not None,
        ),
        _result("fit_scaling_laws", ("scaling",), "scaling_laws", ("assemble_cube",), wanted=has_scaling_laws),
        _result("map_regimes", ("regimes",), "regimes", ("assemble_cube",), wanted=has_regimes),
        _result("summarize_cube", ("training",), "summary", ("assemble_cube",)),
        _result(
            "plot_figure", ("figures",), "figures", (*_CUBES[:4], "map_regimes", "fit_scaling_laws"), ("show",)
        ),
        _result(
            "judge_claims",
            _without("movement", "max_failed_share", "show"), "claims", _CUBES, ("claims",),
        ),
        _result("plot_claims", ("figures",), "figures/claims", ("judge_claims",)),
        _result("join_claims", (), "claims", ("judge_claims",), ("claims",)),
        _result(
            "write_page", ("figures",), "atlas", ("assemble_cube", "map_regimes", "fit_scaling_laws", "join_claims"),
        ),
        _result(
            "compare_layer_changes", ("figures",), "layer_changes", ("assemble_cube",), ("claims",),
        ),
        _result("tabulate_costs", (), "cost", (*_CUBES, "map_regimes", "fit_scaling_laws")),
    )
}  # fmt: skip
"""The rules that are no jobs with a file of their own, by name."""


_CUBE_FILES = (
    "assemble_cube", "fit_scaling_laws", "assemble_functions", "map_regimes", "assemble_dispersion",
    "assemble_output_variance", "compare_variants",
)  # fmt: skip


def made_in_the_end() -> dict[str, Job]:
    """The rules whose results are the NetCDF files of an experiment, the cube first."""
    jobs = all_jobs()
    return {name: jobs[name] for name in _CUBE_FILES}


def all_jobs() -> dict[str, Job]:
    """Every rule whose result an experiment may have, by name; what a rule is made of comes before it."""
    heads = {name: JOBS.head(name) for name in JOBS.names()}
    order = dict.fromkeys(_ordered(heads))
    return {name: heads[name] for name in order} | RESULTS


def _ordered(heads: dict[str, Job]) -> Iterator[str]:
    for name, job in heads.items():
        yield from (part for part in job.made_of)
        yield name


def rules_after(rules: Iterable[str]) -> frozenset[str]:
    """The rules, and all that are made of their results, directly or through others."""
    found = set(rules)
    for name, job in all_jobs().items():
        if found.intersection(job.made_of):
            found.add(name)
    return frozenset(found)


def rules_before(rule: str) -> frozenset[str]:
    """All rules whose results a rule's own are made of, directly or through others."""
    found = frozenset(all_jobs()[rule].made_of)
    return found.union(*map(rules_before, found))


def rules_of(key: str) -> frozenset[str]:
    """The rules that depend on a key of the config themselves, whatever they are made of."""
    return frozenset(name for name, job in all_jobs().items() if job.declares(key))
