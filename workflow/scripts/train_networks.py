"""Trains the networks of a row, unit by unit, and joins the finished units."""

from pathlib import Path

from ntk_atlas.arrays import UnitStore, write_labelled
from ntk_atlas.job_log import job_log
from ntk_atlas.memory import memory_limited
from ntk_atlas.numerics import precise_math
from ntk_atlas.stages.row_files import network_row, row_file
from ntk_atlas.stages.train_row import train_row
from ntk_atlas.study.made_with import load_prepared
from ntk_atlas.study.specs import TrainSpec


def main(dataset_file: Path, output: Path, spec: TrainSpec, units: Path, unit_source: str, save_every: float) -> None:
    (dataset, data_digest), parts = load_prepared(dataset_file, spec.dataset), {}
    with precise_math(threads=spec.training.threads):
        for scale, part in spec.per_init_scale().items():
            store = UnitStore(units / part.row.name)
            digests = train_row(part, dataset, data_digest, store, unit_source, save_every=save_every)
            parts[scale] = network_row(part, store, digests)
    write_labelled(row_file(spec, parts).with_attributes(data_digest=data_digest), output)


if "snakemake" in globals():
    limit = snakemake.resources.kernels_mb * 2**20
    job = f"train_networks {snakemake.wildcards.experiment} {snakemake.wildcards.row}"
    with job_log(snakemake.log[0], job, snakemake.input, snakemake.output), memory_limited(limit):
        main(
            Path(snakemake.input.dataset),
            Path(snakemake.output.networks),
            TrainSpec.model_validate_json(snakemake.params.spec),
            Path(snakemake.params.units),
            snakemake.params.unit_source,
            snakemake.resources.save_seconds,
        )
