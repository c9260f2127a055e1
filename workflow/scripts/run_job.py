"""Runs a job of `ntk_atlas.jobs`: each rule in `rules/jobs.smk` is one of them."""

from pathlib import Path

from ntk_atlas.job_log import job_log
from ntk_atlas.jobs import JOBS
from ntk_atlas.jobs.parts.run import run_job

if "snakemake" in globals():
    job = JOBS.head(snakemake.rule)
    title = " ".join([job.name, *snakemake.wildcards])
    with job_log(snakemake.log[0], title, snakemake.input, snakemake.output):
        run_job(
            job,
            job.parse(snakemake.params.spec),
            {name: Path(str(file)) for name, file in snakemake.input.items()},
            Path(snakemake.output[0]),
            units=Path(snakemake.params.units),
            source=snakemake.params.unit_source,
            save_every=snakemake.resources.save_seconds,
            memory=snakemake.resources.kernels_mb * 2**20,
        )
