"""Fits the learning curves of every predictor in the cube, and compares the network's exponent with each kernel's."""

from pathlib import Path

from ntk_atlas.config.analyses import ScalingSettings
from ntk_atlas.cubes.files import read_netcdf, write_netcdf
from ntk_atlas.cubes.scaling import difference_table, fit_cube, law_table
from ntk_atlas.job_log import job_log
from ntk_atlas.jobs.parts.results import RESULTS


def main(cube: Path, laws: Path, table: Path, differences: Path, settings: ScalingSettings) -> None:
    fitted = fit_cube(read_netcdf(cube), settings)
    write_netcdf(fitted, laws)
    law_table(fitted).to_csv(table, index=False, float_format="%.4g")
    difference_table(fitted).to_csv(differences, index=False, float_format="%.4g")


if "snakemake" in globals():
    with job_log(
        snakemake.log[0], f"fit_scaling_laws {snakemake.wildcards.experiment}", snakemake.input, snakemake.output
    ):
        main(
            Path(snakemake.input.cube),
            Path(snakemake.output.laws),
            Path(snakemake.output.table),
            Path(snakemake.output.differences),
            RESULTS[snakemake.rule].parse(snakemake.params.spec).scaling,
        )
