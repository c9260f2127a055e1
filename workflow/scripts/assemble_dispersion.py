"""Joins the dispersion of all depths and widths of an experiment."""

from pathlib import Path

from ntk_atlas.cubes.files import write_netcdf
from ntk_atlas.cubes.other_files import assemble_dispersion
from ntk_atlas.job_log import job_log
from ntk_atlas.jobs import Slice, parse_architecture
from ntk_atlas.jobs.parts.results import RESULTS
from ntk_atlas.provenance import provenance_attributes


def main(files: list[Path], output: Path, experiment: Slice, repository: Path) -> None:
    named = {parse_architecture(file.stem): file for file in files}
    write_netcdf(assemble_dispersion(experiment, named, provenance_attributes(repository)), output)


if "snakemake" in globals():
    with job_log(
        snakemake.log[0], f"assemble_dispersion {snakemake.wildcards.experiment}", snakemake.input, snakemake.output
    ):
        main(
            [Path(file) for file in snakemake.input],
            Path(snakemake.output.dispersion),
            RESULTS[snakemake.rule].parse(snakemake.params.spec),
            Path(snakemake.scriptdir),
        )
