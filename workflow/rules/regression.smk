# Kernel regression: with the empirical NTKs of a row, the infinite kernels of an init_scale, and stationary kernels.


rule regress_initial_ntk:
    input:
        dataset=RESULT + "dataset.nc",
    output:
        predictions=RESULT + "predictions/initial_ntk/" + ROW + ".nc",
    log:
        LOGS + "regress_initial_ntk/" + ROW + ".log",
    benchmark:
        COSTS + "regress_initial_ntk/" + ROW + ".tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=2000,
    params:
        spec=spec(
            lambda experiment, row: empirical_spec(experiment, row, "initial"), "row"
        ),
        source=source("regress_initial_ntk.py"),
        unit_source=module_source("stages/regress_row.py"),
        units=RESULT + "units/initial_ntk/" + ROW,
    message:
        "{wildcards.experiment}: regression with the NTK at initialization, {wildcards.row}"
    script:
        "../scripts/regress_initial_ntk.py"


rule regress_trained_ntk:
    input:
        dataset=RESULT + "dataset.nc",
        networks=RESULT + "networks/" + ROW + ".nc",
    output:
        predictions=RESULT + "predictions/trained_ntk/" + ROW + ".nc",
    log:
        LOGS + "regress_trained_ntk/" + ROW + ".log",
    benchmark:
        COSTS + "regress_trained_ntk/" + ROW + ".tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=2000,
    params:
        spec=spec(
            lambda experiment, row: empirical_spec(experiment, row, "trained"), "row"
        ),
        source=source("regress_trained_ntk.py"),
        unit_source=module_source("stages/regress_row.py"),
        units=RESULT + "units/trained_ntk/" + ROW,
        weights=RESULT + "units/networks/" + ROW,
    message:
        "{wildcards.experiment}: regression with the NTK of trained networks, {wildcards.row}"
    script:
        "../scripts/regress_trained_ntk.py"


rule regress_infinite:
    input:
        dataset=RESULT + "dataset.nc",
    output:
        predictions=RESULT + "predictions/infinite/init_scale-{init_scale}.nc",
    log:
        LOGS + "regress_infinite/init_scale-{init_scale}.log",
    benchmark:
        COSTS + "regress_infinite/init_scale-{init_scale}.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=2000,
    params:
        spec=spec(infinite_spec, "init_scale"),
        source=source("regress_infinite.py"),
    message:
        "{wildcards.experiment}: regression with the infinite kernels, init_scale {wildcards.init_scale}"
    script:
        "../scripts/regress_infinite.py"


rule regress_stationary:
    input:
        dataset=RESULT + "dataset.nc",
    output:
        predictions=RESULT + "predictions/stationary/{kernel}.nc",
    log:
        LOGS + "regress_stationary/{kernel}.log",
    benchmark:
        COSTS + "regress_stationary/{kernel}.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=2000,
    params:
        spec=spec(stationary_spec, "kernel"),
        source=source("regress_stationary.py"),
    message:
        "{wildcards.experiment}: regression with {wildcards.kernel}"
    script:
        "../scripts/regress_stationary.py"
