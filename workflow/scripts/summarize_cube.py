"""A table of what became of the networks: how many converged, diverged, or reached the training error asked."""

from pathlib import Path

from ntk_atlas.cubes.files import read_netcdf, summary_table
from ntk_atlas.job_log import job_log

if "snakemake" in globals():
    with job_log(
        snakemake.log[0], f"summarize_cube {snakemake.wildcards.experiment}", snakemake.input, snakemake.output
    ):
        table = summary_table(read_netcdf(Path(snakemake.input.cube)))
        table.to_csv(snakemake.output.table, index=False, float_format="%.4g")
