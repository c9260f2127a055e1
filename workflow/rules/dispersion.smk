# Untrained networks: a job is a (depth, width) with all init scales; finished chunks of networks lie in a store.


wildcard_constraints:
    architecture=r"depth-\d+_width-\d+",


rule sample_initial_kernels:
    output:
        dispersion="results/{experiment}/dispersion/{architecture}.nc",
    log:
        "logs/{experiment}/sample_initial_kernels/{architecture}.log",
    benchmark:
        "results/{experiment}/costs/sample_initial_kernels/{architecture}.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(120),
    params:
        spec=spec(initial_kernels_spec, "architecture"),
        source=source("sample_initial_kernels.py", initial_kernels_spec, "architecture"),
        unit_source=module_source(
            "dispersion/networks.py", initial_kernels_spec, "architecture"
        ),
        units="results/{experiment}/units/initial_kernels/{architecture}",
    message:
        "{wildcards.experiment}: untrained networks, {wildcards.architecture}"
    script:
        "../scripts/sample_initial_kernels.py"


rule assemble_dispersion:
    input:
        dispersion_files,
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
        spec=spec(dispersion_assembly_spec),
        source=source("assemble_dispersion.py", dispersion_assembly_spec),
    message:
        "{wildcards.experiment}: assembling the dispersion at initialization"
    script:
        "../scripts/assemble_dispersion.py"
