# The cube joins everything on the configured grid; laws and tables are read off it.


localrules:
    summarize_cube,
    tabulate_costs,


rule assemble_cube:
    input:
        unpack(inputs_of(RULES["assemble_cube"])),
    output:
        cube="results/{experiment}/cube.nc",
    log:
        "logs/{experiment}/assemble_cube.log",
    benchmark:
        "results/{experiment}/costs/assemble_cube/all.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        spec=spec("assemble_cube"),
        thresholds=thresholds_digest(),
        source=source("assemble_cube.py", "assemble_cube"),
    message:
        "{wildcards.experiment}: assembling the cube"
    script:
        "../scripts/assemble_cube.py"


rule assemble_functions:
    input:
        unpack(inputs_of(RULES["assemble_cube"])),
    output:
        functions="results/{experiment}/functions.nc",
    log:
        "logs/{experiment}/assemble_functions.log",
    benchmark:
        "results/{experiment}/costs/assemble_functions/all.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        spec=spec("assemble_functions"),
        source=source("assemble_functions.py", "assemble_functions"),
    message:
        "{wildcards.experiment}: assembling the predictions"
    script:
        "../scripts/assemble_functions.py"


rule assemble_dispersion:
    input:
        unpack(inputs_of(RULES["assemble_dispersion"])),
    output:
        dispersion="results/{experiment}/dispersion.nc",
    log:
        "logs/{experiment}/assemble_dispersion.log",
    benchmark:
        "results/{experiment}/costs/assemble_dispersion/all.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        spec=spec("assemble_dispersion"),
        source=source("assemble_dispersion.py", "assemble_dispersion"),
    message:
        "{wildcards.experiment}: assembling the dispersion at initialization"
    script:
        "../scripts/assemble_dispersion.py"


rule assemble_output_variance:
    input:
        unpack(inputs_of(RULES["assemble_output_variance"])),
    output:
        variance="results/{experiment}/output_variance.nc",
    log:
        "logs/{experiment}/assemble_output_variance.log",
    benchmark:
        "results/{experiment}/costs/assemble_output_variance/all.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        spec=spec("assemble_output_variance"),
        source=source("assemble_output_variance.py", "assemble_output_variance"),
    message:
        "{wildcards.experiment}: assembling the output variance"
    script:
        "../scripts/assemble_output_variance.py"


rule map_regimes:
    input:
        cube="results/{experiment}/cube.nc",
        thresholds=ancient(REGIMES),
    output:
        regimes="results/{experiment}/regimes.nc",
    log:
        "logs/{experiment}/map_regimes.log",
    benchmark:
        "results/{experiment}/costs/map_regimes/all.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        thresholds=load_regime_thresholds(Path(REGIMES)).digest(),
        source=source("map_regimes.py"),
    message:
        "{wildcards.experiment}: where NTK theory holds"
    script:
        "../scripts/map_regimes.py"


rule fit_scaling_laws:
    input:
        cube="results/{experiment}/cube.nc",
    output:
        laws="results/{experiment}/scaling_laws.nc",
        table=report(
            "results/{experiment}/scaling_laws.csv",
            caption="../report/scaling_laws.rst",
            category="{experiment}",
            subcategory="tables",
            labels={"table": "scaling laws"},
        ),
        differences=report(
            "results/{experiment}/exponent_differences.csv",
            caption="../report/exponent_differences.rst",
            category="{experiment}",
            subcategory="tables",
            labels={"table": "exponent differences, network − kernel"},
        ),
    log:
        "logs/{experiment}/fit_scaling_laws.log",
    benchmark:
        "results/{experiment}/costs/fit_scaling_laws/all.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(60),
    params:
        spec=spec("fit_scaling_laws"),
        source=source("fit_scaling_laws.py"),
    message:
        "{wildcards.experiment}: fitting scaling laws"
    script:
        "../scripts/fit_scaling_laws.py"


rule summarize_cube:
    input:
        cube="results/{experiment}/cube.nc",
    output:
        table=report(
            "results/{experiment}/summary.csv",
            caption="../report/summary.rst",
            category="{experiment}",
            subcategory="tables",
            labels={"table": "summary"},
        ),
    log:
        "logs/{experiment}/summarize_cube.log",
    benchmark:
        "results/{experiment}/costs/summarize_cube/all.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        spec=spec("summarize_cube"),
        source=source("summarize_cube.py"),
    message:
        "{wildcards.experiment}: what became of the networks"
    script:
        "../scripts/summarize_cube.py"


rule tabulate_costs:
    input:
        [
            f"results/{name}/{file}.nc"
            for name, experiment in EXPERIMENTS.items()
            for file in cubes_of(experiment)
        ],
    output:
        table=report(
            f"{ALL}/cost.csv",
            caption="../report/cost.rst",
            category="cost",
            labels={"table": "time and memory by rule"},
        ),
    log:
        f"logs/studies/{Path(ALL).name}/tabulate_costs.log",
    benchmark:
        f"{ALL}/costs/tabulate_costs/all.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        experiments=sorted(EXPERIMENTS),
        source=source("tabulate_costs.py"),
    message:
        "adding up what the study cost"
    script:
        "../scripts/tabulate_costs.py"
