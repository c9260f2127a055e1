# Data: read, checked and stored once; draws (splits, nested subsets) are pure functions of this file and the spec.


def user_file(wildcards):
    dataset = EXPERIMENTS[wildcards.experiment].dataset
    return dataset.path if dataset.source == "file" else []


rule prepare_dataset:
    input:
        file=user_file,
    output:
        dataset=RESULT + "dataset.nc",
    log:
        LOGS + "prepare_dataset.log",
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
