"""Joins what every predictor of an experiment says on the test samples."""

from pathlib import Path

from ntk_atlas.cubes.experiment_files import ExperimentFiles
from ntk_atlas.cubes.files import write_netcdf
from ntk_atlas.cubes.other_files import assemble_functions
from ntk_atlas.datasets.draws import make_draw
from ntk_atlas.job_log import job_log
from ntk_atlas.jobs import Slice
from ntk_atlas.jobs.parts.results import RESULTS
from ntk_atlas.jobs.parts.run import load_prepared
from ntk_atlas.provenance import provenance_attributes


def main(data: Path, files: ExperimentFiles, output: Path, experiment: Slice, repository: Path) -> None:
    dataset, data_digest = load_prepared(data, experiment.dataset)
    functions = assemble_functions(
        experiment,
        files,
        draws=[make_draw(dataset, experiment.dataset, number) for number in range(experiment.grid.draws)],
        provenance=provenance_attributes(repository) | {"data_digest": data_digest},
    )
    write_netcdf(functions, output)


if "snakemake" in globals():
    with job_log(
        snakemake.log[0], f"assemble_functions {snakemake.wildcards.experiment}", snakemake.input, snakemake.output
    ):
        main(
            Path(snakemake.input.dataset),
            ExperimentFiles.named(dict(snakemake.input.items())),
            Path(snakemake.output.functions),
            RESULTS[snakemake.rule].parse(snakemake.params.spec),
            Path(snakemake.scriptdir),
        )
