# The cube joins everything on the configured grid; laws and tables are read off it.


def cube_inputs(wildcards):
    """Files of the cube by what they are; the script finds each one's place by its name."""
    name = wildcards.experiment
    experiment, folder = EXPERIMENTS[name], f"results/{name}"
    initial = predictors(experiment, "initial")
    trained = predictors(experiment, "trained")
    infinite = predictors(experiment, "infinite")
    scales = experiment.grid.init_scale if infinite else ()
    predictions = f"{folder}/predictions"
    return {
        "dataset": f"{folder}/dataset.nc",
        "networks": [f"{folder}/networks/{row}.nc" for row in row_names(name)],
        "initial": [
            f"{predictions}/initial_ntk/{row}.nc" for row in row_names(name) if initial
        ],
        "trained": [
            f"{predictions}/trained_ntk/{row}.nc" for row in row_names(name) if trained
        ],
        "infinite": [
            f"{predictions}/infinite/init_scale-{canonical_text(scale)}.nc"
            for scale in scales
        ],
        "stationary": [
            f"{predictions}/stationary/{k}.nc"
            for k in predictors(experiment, "stationary")
        ],
    }


rule assemble_cube:
    input:
        unpack(cube_inputs),
    output:
        cube=RESULT + "cube.nc",
    log:
        LOGS + "assemble_cube.log",
    benchmark:
        COSTS + "assemble_cube/all.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=2000,
    params:
        spec=lambda wildcards: EXPERIMENTS[wildcards.experiment].canonical_json(),
        source=source("assemble_cube.py"),
        repository=str(WORKFLOW),
    message:
        "{wildcards.experiment}: assembling the cube"
    script:
        "../scripts/assemble_cube.py"


rule fit_scaling_laws:
    input:
        cube=RESULT + "cube.nc",
    output:
        laws=RESULT + "scaling_laws.nc",
        table=report(
            RESULT + "scaling_laws.csv",
            caption="../report/scaling_laws.rst",
            category="{experiment}",
            subcategory="tables",
            labels={"table": "scaling laws"},
        ),
        differences=report(
            RESULT + "exponent_differences.csv",
            caption="../report/exponent_differences.rst",
            category="{experiment}",
            subcategory="tables",
            labels={"table": "exponent differences, network − kernel"},
        ),
    log:
        LOGS + "fit_scaling_laws.log",
    benchmark:
        COSTS + "fit_scaling_laws/all.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=1000,
    params:
        spec=lambda wildcards: EXPERIMENTS[
            wildcards.experiment
        ].scaling.canonical_json(),
        source=source("fit_scaling_laws.py"),
    message:
        "{wildcards.experiment}: fitting scaling laws"
    script:
        "../scripts/fit_scaling_laws.py"


rule summarize_cube:
    input:
        cube=RESULT + "cube.nc",
    output:
        table=report(
            RESULT + "summary.csv",
            caption="../report/summary.rst",
            category="{experiment}",
            subcategory="tables",
            labels={"table": "summary"},
        ),
    log:
        LOGS + "summarize_cube.log",
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=1000,
    params:
        spec=lambda wildcards: EXPERIMENTS[
            wildcards.experiment
        ].training.canonical_json(),
        source=source("summarize_cube.py"),
    message:
        "{wildcards.experiment}: what became of the networks"
    script:
        "../scripts/summarize_cube.py"


rule tabulate_costs:
    input:
        cubes=expand("results/{experiment}/cube.nc", experiment=EXPERIMENTS),
    output:
        table=report(
            "results/cost.csv",
            caption="../report/cost.rst",
            category="cost",
            labels={"table": "time and memory by rule"},
        ),
    log:
        "logs/tabulate_costs.log",
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=500,
    params:
        experiments=sorted(EXPERIMENTS),
        source=source("tabulate_costs.py"),
    message:
        "adding up what the study cost"
    script:
        "../scripts/tabulate_costs.py"
