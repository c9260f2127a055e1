"""Draws one figure from the experiment's NetCDF files, as SVG and PNG."""

from pathlib import Path

from ntk_atlas.cubes.files import read_netcdf
from ntk_atlas.figures import FIGURES, FigureSettings
from ntk_atlas.figures.parts.look import notices_of, save_figure
from ntk_atlas.job_log import job_log
from ntk_atlas.jobs.parts.results import RESULTS


def main(name: str, files: list[Path], svg: Path, png: Path, settings: FigureSettings) -> None:
    with notices_of([read_netcdf(file) for file in files]) as datasets:
        figure = FIGURES.work(name, "draw")(*datasets, settings)
    save_figure(figure, svg, png, settings.dpi)


if "snakemake" in globals():
    job = f"plot_figure {snakemake.wildcards.experiment} {snakemake.wildcards.figure}"
    with job_log(snakemake.log[0], job, snakemake.input, snakemake.output):
        main(
            snakemake.params.figure,
            [Path(file) for file in snakemake.input],
            Path(snakemake.output.svg),
            Path(snakemake.output.png),
            RESULTS[snakemake.rule].parse(snakemake.params.spec).figures,
        )
