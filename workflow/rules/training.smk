# Training: a job is a row (depth, width, init_scale); its units (n_train, draw, block of seeds) lie in a store.


rule train_networks:
    input:
        dataset=RESULT + "dataset.nc",
    output:
        networks=RESULT + "networks/" + ROW + ".nc",
    log:
        LOGS + "train_networks/" + ROW + ".log",
    benchmark:
        COSTS + "train_networks/" + ROW + ".tsv"
    conda:
        CONDA
    threads: lambda wildcards: EXPERIMENTS[wildcards.experiment].training.threads
    resources:
        mem_mb=2000,
    params:
        spec=spec(train_spec, "row"),
        source=source("train_networks.py"),
        unit_source=module_source("stages/train_row.py"),
        units=RESULT + "units/networks/" + ROW,
    message:
        "{wildcards.experiment}: training {wildcards.row} (progress in {log})"
    script:
        "../scripts/train_networks.py"
