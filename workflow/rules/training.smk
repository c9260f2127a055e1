# Training: a job is a row (depth, width, init scales); its units (init_scale, n_train, draw, block of seeds) lie in a
# store.


rule train_networks:
    input:
        dataset="results/{experiment}/dataset.nc",
    output:
        networks="results/{experiment}/networks/{row}.nc",
    log:
        "logs/{experiment}/train_networks/{row}.log",
    benchmark:
        "results/{experiment}/costs/train_networks/{row}.tsv"
    conda:
        CONDA
    threads: lambda wildcards: EXPERIMENTS[wildcards.experiment].training.threads
    resources:
        mem_mb=growing(KERNEL_JOB_MB),
        kernels_mb=STUDY.jobs.kernels_mb,
        save_seconds=STUDY.jobs.save_training_seconds,
        runtime=growing(240),
    params:
        spec=spec(train_spec, "row"),
        source=source("train_networks.py", train_spec, "row"),
        unit_source=module_source("stages/train_row.py", train_spec, "row"),
        units="results/{experiment}/units/networks",
    message:
        "{wildcards.experiment}: training {wildcards.row} (progress in {log})"
    script:
        "../scripts/train_networks.py"
