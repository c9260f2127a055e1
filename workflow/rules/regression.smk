# Kernel regression: with the empirical NTKs of a row (a job as in training), the infinite kernels of an init_scale, and rivals.
from ntk_atlas.study.kernel_variants_spec import kernel_variants_spec


rule regress_empirical:
    input:
        dataset="results/{experiment}/dataset.nc",
        networks="results/{experiment}/networks/{row}.nc",
    output:
        predictions="results/{experiment}/predictions/empirical/{row}.nc",
    log:
        "logs/{experiment}/regress_empirical/{row}.log",
    benchmark:
        "results/{experiment}/costs/regress_empirical/{row}.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(KERNEL_JOB_MB),
        kernels_mb=STUDY.jobs.kernels_mb,
        runtime=growing(240),
    params:
        spec=spec(empirical_spec, "row"),
        source=source("regress_empirical.py", empirical_spec, "row"),
        unit_source=module_source("stages/regress_row.py", empirical_spec, "row"),
        units="results/{experiment}/units",
    message:
        "{wildcards.experiment}: regression with the empirical NTKs of {wildcards.row}"
    script:
        "../scripts/regress_empirical.py"


rule regress_infinite:
    input:
        dataset="results/{experiment}/dataset.nc",
    output:
        predictions="results/{experiment}/predictions/infinite/init_scale-{init_scale}.nc",
    log:
        "logs/{experiment}/regress_infinite/init_scale-{init_scale}.log",
    benchmark:
        "results/{experiment}/costs/regress_infinite/init_scale-{init_scale}.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(KERNEL_JOB_MB),
        kernels_mb=STUDY.jobs.kernels_mb,
        runtime=growing(240),
    params:
        spec=spec(infinite_spec, "init_scale"),
        source=source("regress_infinite.py", infinite_spec, "init_scale"),
    message:
        "{wildcards.experiment}: regression with the infinite kernels, init_scale {wildcards.init_scale}"
    script:
        "../scripts/regress_infinite.py"


rule regress_rivals:
    input:
        dataset="results/{experiment}/dataset.nc",
    output:
        predictions="results/{experiment}/predictions/rivals/{kernels}.nc",
    log:
        "logs/{experiment}/regress_rivals/{kernels}.log",
    benchmark:
        "results/{experiment}/costs/regress_rivals/{kernels}.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(KERNEL_JOB_MB),
        kernels_mb=STUDY.jobs.kernels_mb,
        runtime=growing(120),
    params:
        spec=spec(rival_spec, "kernels"),
        source=source("regress_rivals.py", rival_spec, "kernels"),
    message:
        "{wildcards.experiment}: regression with {wildcards.kernels}"
    script:
        "../scripts/regress_rivals.py"


rule compare_variants:
    input:
        dataset="results/{experiment}/dataset.nc",
    output:
        variants="results/{experiment}/kernel_variants.nc",
    log:
        "logs/{experiment}/compare_variants.log",
    benchmark:
        "results/{experiment}/costs/compare_variants/all.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(KERNEL_JOB_MB),
        kernels_mb=STUDY.jobs.kernels_mb,
        runtime=growing(120),
    params:
        spec=spec(kernel_variants_spec),
        source=source("compare_variants.py", kernel_variants_spec),
    message:
        "{wildcards.experiment}: networks beside the variants of the NTK"
    script:
        "../scripts/compare_variants.py"
