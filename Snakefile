# NTK Atlas: for which finite networks is training kernel regression with the NTK, and where does that break?
#
#   snakemake --cores 2                                   the study in config/config.yaml
#   snakemake --cores 2 --configfile config/config.yaml my.yaml
#   snakemake --report results/report.html                figures and tables as one page
from snakemake.utils import min_version

min_version("9.20")


report: "workflow/report/workflow.rst"


include: "workflow/rules/study.smk"


# For what Snakemake itself takes from a config; it has been checked by then.
configfile: str(default_config(Path.cwd()))


include: "workflow/rules/records.smk"
include: "workflow/rules/files.smk"
include: "workflow/rules/messages.smk"
include: "workflow/rules/datasets.smk"
include: "workflow/rules/jobs.smk"
include: "workflow/rules/cubes.smk"
include: "workflow/rules/figures.smk"


if STUDY.claims is not None:

    include: "workflow/rules/claims.smk"


include: "workflow/rules/page.smk"


localrules:
    all,


rule all:
    default_target: True
    input:
        [target for name in EXPERIMENTS for target in experiment_targets(name)],
        PAGE,
        f"{ALL}/cost.csv",
        [f"{ALL}/claims.csv"] if STUDY.claims is not None else [],
        [f"{ALL}/layer_changes.svg"] if layer_experiments() else [],


onerror:
    logger.info(
        "finished work is kept: run the same command again to go on; each failed job's log is in logs/"
    )


onsuccess:
    # `make run` asks for the report next, which says it too when there is nothing to be done.
    if "NTK_ATLAS_LAUNCHER" not in os.environ:
        tell_earlier_results()


onstart:
    check_what_must_be_fetched()
    tell_the_plan()
