"""Joins theory, linearized and trained networks into the output variance of an experiment."""

from pathlib import Path

from ntk_atlas.cubes.experiment_files import ExperimentFiles
from ntk_atlas.cubes.files import write_netcdf
from ntk_atlas.cubes.other_files import assemble_output_variance
from ntk_atlas.job_log import job_log
from ntk_atlas.jobs import Slice
from ntk_atlas.jobs.parts.results import RESULTS
from ntk_atlas.jobs.parts.run import load_prepared
from ntk_atlas.provenance import provenance_attributes


def main(data: Path, files: ExperimentFiles, output: Path, experiment: Slice, repository: Path) -> None:
    _, data_digest = load_prepared(data, experiment.dataset)
    provenance = provenance_attributes(repository) | {"data_digest": data_digest}
    write_netcdf(assemble_output_variance(experiment, files, provenance=provenance), output)


if "snakemake" in globals():
    with job_log(
        snakemake.log[0],
        f"assemble_output_variance {snakemake.wildcards.experiment}",
        snakemake.input,
        snakemake.output,
    ):
        main(
            Path(snakemake.input.dataset),
            ExperimentFiles.named(dict(snakemake.input.items())),
            Path(snakemake.output.variance),
            RESULTS[snakemake.rule].parse(snakemake.params.spec),
            Path(snakemake.scriptdir),
        )
