"""Writes the page of the study: one HTML file of its findings, maps, cells and claims."""

from collections.abc import Mapping
from pathlib import Path

from ntk_atlas.arrays import whole_file
from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.cubes.files import read_netcdf
from ntk_atlas.job_log import job_log
from ntk_atlas.judging.verdicts import read_verdicts
from ntk_atlas.page.contents import experiment_contents, study_contents
from ntk_atlas.page.html import page_of


def main(
    study: str, files: Mapping[str, Mapping[str, str]], claims: Path | None, output: Path, style: FigureSettings
) -> None:
    experiments = []
    for name, of_experiment in files.items():
        read = {kind: read_netcdf(Path(file)) for kind, file in of_experiment.items()}
        shown = (read["cube"], read.get("regimes"), read.get("scaling_laws"))
        experiments.append(experiment_contents(name, *shown, style=style))
    verdicts = None if claims is None else read_verdicts(claims)
    with whole_file(output) as temporary:
        temporary.write_text(page_of(study_contents(study, experiments, verdicts, style=style)), encoding="utf-8")


if "snakemake" in globals():
    with job_log(snakemake.log[0], "write_page", snakemake.input, snakemake.output):
        given = snakemake.input.claims
        main(
            snakemake.params.study,
            snakemake.params.files,
            Path(str(given)) if given else None,
            Path(snakemake.output.page),
            FigureSettings.model_validate_json(snakemake.params.spec),
        )
