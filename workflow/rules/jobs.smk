# The jobs of `ntk_atlas.jobs`, a rule each: which files a job is made of, what it depends on and what it asks for follow
# from the head of its file. Finished units lie in a store beside the declared results, which Snakemake does not touch.


for job in (JOBS.head(name) for name in JOBS.names()):

    rule:
        name:
            job.name
        input:
            unpack(inputs_of(job)),
        output:
            f"results/{{experiment}}/{job.file}",
        log:
            f"logs/{{experiment}}/{job.log}",
        benchmark:
            f"results/{{experiment}}/costs/{job.record}"
        conda:
            CONDA
        threads: job_threads(job)
        resources:
            mem_mb=growing(job.memory_mb or KERNEL_JOB_MB),
            kernels_mb=STUDY.jobs.kernels_mb,
            save_seconds=STUDY.jobs.save_training_seconds,
            runtime=growing(job.minutes),
        params:
            spec=spec(job.name),
            source=source("run_job.py", job.name),
            unit_source=job_source(job.name),
            units="results/{experiment}/units",
        message:
            f"{{wildcards.experiment}}: {job_message(job)}"
        script:
            "../scripts/run_job.py"
