"""Reads a data set, checks it, and stores it with the encoding of its targets."""

import logging
from dataclasses import replace
from pathlib import Path

from ntk_atlas.datasets.draw_checks import notices
from ntk_atlas.datasets.draws import make_draw
from ntk_atlas.datasets.read import read_dataset
from ntk_atlas.datasets.store import save_dataset
from ntk_atlas.job_log import job_log
from ntk_atlas.study.specs import PrepareSpec


def main(output: Path, spec: PrepareSpec) -> None:
    dataset = replace(read_dataset(spec.dataset), shares=spec.shares)
    pool = len(make_draw(dataset, spec.dataset, 0).y_pool)
    logging.getLogger(__name__).info(
        "%s: %d samples of shape %s, %d outputs, pool of %d",
        dataset.name, len(dataset.x), dataset.x.shape[1:], dataset.y.shape[1], pool,
    )  # fmt: skip
    said = notices(dataset, spec.dataset)
    for notice in said:
        logging.getLogger(__name__).warning("%s", notice)
    of_job = {"spec": spec.canonical_json(), "notices": "\n".join(said)}
    save_dataset(replace(dataset, attributes={**dataset.attributes, **of_job}), output)


if "snakemake" in globals():
    with job_log(
        snakemake.log[0], f"prepare_dataset {snakemake.wildcards.experiment}", snakemake.input, snakemake.output
    ):
        main(
            Path(snakemake.output.dataset),
            PrepareSpec.model_validate_json(snakemake.params.spec),
        )
