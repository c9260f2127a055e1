# What the workflow says: the plan before it starts, and what to do after a kill.
from ntk_atlas.jobs.parts.results import regime_notices
from ntk_atlas.study.claim_needs import claim_notices
from ntk_atlas.study.estimates import disk_estimate
from ntk_atlas.study.estimates import all_seconds, study_estimate, time_estimate


def solver_in_words(experiment):
    """Which solver `regression.solver: auto` picks, and why; empty if it was not asked."""
    if experiment.regression.solver != "auto" or not experiment.regression.predictors:
        return ""
    solver, reason = experiment.regression.chosen_solver(experiment.grid.n_train)
    return f"; regressions {solver} ({reason})"


def plan_of_the_study():
    """What is about to run, in words, with estimates of time and disk space."""
    claims = STUDY.claims is not None
    timed = {
        name: (experiment, STUDY.jobs, START.costs(name))
        for name, experiment in EXPERIMENTS.items()
    }
    for name, experiment in EXPERIMENTS.items():
        grid = experiment.grid
        axes = ("depth", "width", "init_scale", "n_train")
        values = " × ".join(
            f"{axis} {', '.join(map(canonical_text, getattr(grid, axis)))}"
            for axis in axes
        )
        cells = len(rows(grid)) * len(grid.n_train)
        yield (
            f"{name}: {cells} cells ({values}), {draws_in_words(experiment)} × {grid.seeds} seeds "
            f"= {cells * grid.draws * grid.seeds} networks; {time_estimate(*timed[name], claims=claims)}; "
            f"{disk_estimate(experiment, START.costs(name))}; jobs of {KERNEL_JOB_MB} MiB{solver_in_words(experiment)}"
        )
    if len(EXPERIMENTS) > 1:
        seconds = [all_seconds(*each, claims=claims) for each in timed.values()]
        yield study_estimate(seconds, claims=claims, layers=len(layer_experiments()))


def tell_the_plan():
    """Logs the plan, and warns of what may not be expected: of data and code of the user's own, and of claims that
    the study cannot judge."""
    for line in plan_of_the_study():
        logger.info(line)
    for notice in regime_notices(STUDY.active()):
        logger.info(notice)
    for name in EXPERIMENTS:
        for notice in START.notices(name):
            logger.warning(f"{name}: {notice}")
    if STUDY.claims is not None:
        for notice in claim_notices(STUDY, load_thresholds(Path(STUDY.claims))):
            logger.warning(notice)


def tell_the_plan_of_a_dry_run():
    """A dry run starts nothing and `onstart` is silent: this is where its reader learns what is to come."""
    asked = {"-n", "--dry-run", "--dryrun"} & set(sys.argv)
    if workflow.is_main_process and asked:
        tell_the_plan()


def hint_about_a_lock():
    """Whether a run is at work here or was killed: Snakemake itself only says how to remove its lock."""
    import psutil
    from workflow.orphans import live_snakemake

    locks = Path(".snakemake/locks")
    if (
        not workflow.is_main_process
        or not locks.is_dir()
        or not any(locks.iterdir())
        or {"--unlock", "--nolock"} & set(sys.argv)
    ):
        return
    here, mine = Path.cwd(), {
        os.getpid(),
        *[parent.pid for parent in psutil.Process().parents()],
    }
    others = [run for run in live_snakemake(here) if run.pid not in mine]
    if others:
        logger.info(
            f"snakemake (process {others[0].pid}) is at work in this folder: wait for it, or end it; do not unlock."
        )
    else:
        logger.info(
            "A run before this one was killed and left its lock. `make run` ends workers it may have left, "
            "unlocks and goes on; `make unlock` does so without running anything (then run snakemake again)."
        )


hint_about_a_lock()
tell_the_plan_of_a_dry_run()
