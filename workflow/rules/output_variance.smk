# Linearized networks (a predictor, and the middle term of output variances), theory at infinite width, and both beside
# the trained networks.
from ntk_atlas.study.linearized_specs import linearize_spec
from ntk_atlas.study.output_variance_specs import (
    output_variance_spec,
    variance_theory_spec,
)


rule linearize_networks:
    input:
        dataset="results/{experiment}/dataset.nc",
        networks="results/{experiment}/networks/{row}.nc",
    output:
        linearized="results/{experiment}/linearized/{row}.nc",
    log:
        "logs/{experiment}/linearize_networks/{row}.log",
    benchmark:
        "results/{experiment}/costs/linearize_networks/{row}.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(KERNEL_JOB_MB),
        kernels_mb=STUDY.jobs.kernels_mb,
        runtime=growing(240),
    params:
        spec=spec(linearize_spec, "row"),
        source=source("linearize_networks.py", linearize_spec, "row"),
        unit_source=module_source("stages/linearize_row.py", linearize_spec, "row"),
        units="results/{experiment}/units",
    message:
        "{wildcards.experiment}: linearized networks of {wildcards.row}"
    script:
        "../scripts/linearize_networks.py"


rule predict_output_variance:
    input:
        dataset="results/{experiment}/dataset.nc",
    output:
        theory="results/{experiment}/predictions/output_variance/init_scale-{init_scale}.nc",
    log:
        "logs/{experiment}/predict_output_variance/init_scale-{init_scale}.log",
    benchmark:
        "results/{experiment}/costs/predict_output_variance/init_scale-{init_scale}.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(KERNEL_JOB_MB),
        kernels_mb=STUDY.jobs.kernels_mb,
        runtime=growing(120),
    params:
        spec=spec(variance_theory_spec, "init_scale"),
        source=source("predict_output_variance.py", variance_theory_spec, "init_scale"),
    message:
        "{wildcards.experiment}: output variance of theory, init_scale {wildcards.init_scale}"
    script:
        "../scripts/predict_output_variance.py"


rule assemble_output_variance:
    input:
        unpack(output_variance_inputs),
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
        spec=spec(output_variance_spec),
        source=source("assemble_output_variance.py", output_variance_spec),
    message:
        "{wildcards.experiment}: assembling the output variance"
    script:
        "../scripts/assemble_output_variance.py"
