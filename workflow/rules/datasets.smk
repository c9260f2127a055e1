# Data: read, checked and stored once; draws (splits, nested subsets) are pure functions of this file and the spec.


rule prepare_dataset:
    input:
        file=user_file,
    output:
        dataset="results/{experiment}/dataset.nc",
    log:
        "logs/{experiment}/prepare_dataset.log",
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=1000,
    params:
        spec=spec(prepare_spec),
        source=source("prepare_dataset.py"),
    message:
        "{wildcards.experiment}: reading and checking the data"
    script:
        "../scripts/prepare_dataset.py"
