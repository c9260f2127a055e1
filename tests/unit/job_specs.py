"""What every job of a study depends on in its config, as the rules of the workflow have it."""

from collections.abc import Iterator

from ntk_atlas.config.study import ExperimentSettings, StudySettings
from ntk_atlas.study.cells import rows
from ntk_atlas.study.dispersion_inputs import (
    dispersion_assembly_spec,
    dispersion_spec,
)
from ntk_atlas.study.dispersion_spec import architectures, parse_architecture
from ntk_atlas.study.jobs import (
    empirical_spec,
    infinite_spec,
    predictors,
    rival_groups,
    rival_spec,
    train_spec,
)
from ntk_atlas.study.kernel_variants_spec import kernel_variants_spec
from ntk_atlas.study.linearized_specs import linearize_spec
from ntk_atlas.study.output_variance_specs import output_variance_spec, variance_theory_spec
from ntk_atlas.study.outputs import cube_spec, figures_of, has_regimes, has_scaling_laws
from ntk_atlas.study.prepare_spec import prepare_spec
from ntk_atlas.study.thresholds import judge_spec

Job = tuple[str, str, str]


def job_specs(study: StudySettings) -> dict[Job, str]:
    """(rule, experiment, name) → spec of each job."""
    found, active = {}, study.active()
    for name, experiment in active.items():
        for rule, job, spec in _of_experiment(study, experiment):
            found[rule, name, job] = spec if isinstance(spec, str) else spec.canonical_json()
    found["tabulate_costs", "", ""] = str(sorted(active))
    if study.claims:
        found["join_claims", "", ""] = str({n: e.network.factory or e.network.activation for n, e in active.items()})
        found["compare_layer_changes", "", ""] = study.figures.canonical_json() + study.claims + str(sorted(active))
    return found


def _of_experiment(study: StudySettings, experiment: ExperimentSettings) -> Iterator[tuple[str, str, object]]:
    yield "prepare_dataset", "", prepare_spec(experiment)
    empirical, infinite, linearized = (predictors(experiment, k) for k in ("empirical", "infinite", "linearized"))
    for row in rows(experiment.grid, study.jobs.init_scales_per_job):
        yield "train_networks", row.name, train_spec(experiment, row)
        if empirical:
            yield "regress_empirical", row.name, empirical_spec(experiment, row)
        if linearized or experiment.output_variance:
            yield "linearize_networks", row.name, linearize_spec(experiment, row)
    for scale in experiment.grid.init_scale:
        if infinite:
            yield "regress_infinite", str(scale), infinite_spec(experiment, scale)
        if experiment.output_variance:
            yield "predict_output_variance", str(scale), variance_theory_spec(experiment, scale)
    for kernels in rival_groups(experiment, study.jobs.rivals_per_job):
        yield "regress_rivals", kernels, rival_spec(experiment, tuple(kernels.split("+")))
    yield "assemble_cube", "", cube_spec(experiment).canonical_json() + str(study.claims)
    if experiment.regression.keep_predictions:
        yield "assemble_functions", "", cube_spec(experiment)
    if has_regimes(experiment):
        yield "map_regimes", "", str(study.regimes)
    if experiment.kernel_variants:
        yield "compare_variants", "", kernel_variants_spec(experiment)
    if experiment.dispersion:
        yield "assemble_dispersion", "", dispersion_assembly_spec(experiment)
        for name, depth_and_width in ((n, parse_architecture(n)) for n in architectures(experiment)):
            yield "sample_initial_kernels", name, dispersion_spec(experiment, *depth_and_width)
    if experiment.output_variance:
        yield "assemble_output_variance", "", output_variance_spec(experiment)
    if has_scaling_laws(experiment):
        yield "fit_scaling_laws", "", experiment.scaling
    yield "summarize_cube", "", experiment.training
    for figure in figures_of(experiment, has_classes=True):
        yield "plot_figure", figure, study.figures
    if study.claims:
        yield "judge_claims", "", judge_spec(experiment).canonical_json() + study.claims
        yield "plot_claims", "", study.figures


def rules_that_change(before: StudySettings, after: StudySettings) -> set[str]:
    """Rules of which a job is new or has another spec."""
    old, new = job_specs(before), job_specs(after)
    return {job[0] for job, spec in new.items() if old.get(job) != spec}
