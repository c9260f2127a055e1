"""Joins the dispersion of all depths and widths of an experiment."""

from pathlib import Path

from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.cubes.dispersion import assemble_dispersion
from ntk_atlas.cubes.netcdf import write_netcdf
from ntk_atlas.job_log import job_log
from ntk_atlas.provenance import provenance_attributes
from ntk_atlas.study.dispersion_spec import parse_architecture


def main(files: list[Path], output: Path, experiment: ExperimentSettings, repository: Path) -> None:
    named = {parse_architecture(file.stem): file for file in files}
    write_netcdf(assemble_dispersion(experiment, named, provenance_attributes(repository)), output)


if "snakemake" in globals():
    with job_log(
        snakemake.log[0], f"assemble_dispersion {snakemake.wildcards.experiment}", snakemake.input, snakemake.output
    ):
        main(
            [Path(file) for file in snakemake.input],
            Path(snakemake.output.dispersion),
            ExperimentSettings.model_validate_json(snakemake.params.spec),
            Path(snakemake.scriptdir),
        )
