"""What every job of a study depends on in its config, as the rules of the workflow have it."""

from ntk_atlas.config import StudySettings
from ntk_atlas.jobs.parts import all_jobs
from ntk_atlas.study import figures_of

Job = tuple[str, str, str]


def job_specs(study: StudySettings) -> dict[Job, str]:
    """(rule, experiment, name) → what each job depends on, as text."""
    found, active = {}, study.active()
    for rule, job in all_jobs().items():
        of_thresholds = str(study.claims) if "claims" in job.looked_up else ""
        for name, experiment in active.items():
            names = job.names(experiment, study.jobs)
            if rule == "plot_figure":
                names = figures_of(experiment, has_classes=True)
            for part in names:
                of_part = "" if rule == "plot_figure" else part
                found[rule, name, part] = job.slice(experiment, of_part, study).canonical_json() + of_thresholds
    found["tabulate_costs", "", ""] = str(sorted(active))
    return found


def rules_that_change(before: StudySettings, after: StudySettings) -> set[str]:
    """Rules of which a job is new or has another spec."""
    old, new = job_specs(before), job_specs(after)
    return {job[0] for job, spec in new.items() if old.get(job) != spec}
