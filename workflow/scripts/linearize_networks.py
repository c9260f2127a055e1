"""Linearizes the networks of a row at their initialization, unit by unit, and joins the finished units."""

from pathlib import Path

from ntk_atlas.arrays import UnitStore, made_again_if_lost, read_labelled, write_labelled
from ntk_atlas.job_log import job_log
from ntk_atlas.memory import memory_limited
from ntk_atlas.numerics import precise_math
from ntk_atlas.stages.linearize_row import linearize_row
from ntk_atlas.stages.row_files import linearized_row, row_file, training_digests
from ntk_atlas.study.linearized_specs import LinearizeSpec
from ntk_atlas.study.made_with import check_row, load_prepared


def main(dataset_file: Path, networks: Path, output: Path, spec: LinearizeSpec, units: Path, source: str) -> None:
    (dataset, data_digest), parts = load_prepared(dataset_file, spec.dataset), {}
    row = read_labelled(networks, ("init_scale", "n_train", "draw", "unit_digest"))
    check_row(networks, row.attributes, "train_networks", spec, data_digest)
    trained = training_digests(row)
    with precise_math(threads=1):
        for scale, part in spec.per_init_scale().items():
            finished, store = (UnitStore(units / stage / part.row.name) for stage in ("networks", "linearized"))
            with made_again_if_lost(networks):
                digests = linearize_row(part, dataset, finished, store, source, trained[scale])
            parts[scale] = linearized_row(part, store, digests)
    write_labelled(row_file(spec, parts).with_attributes(data_digest=data_digest), output)


if "snakemake" in globals():
    limit = snakemake.resources.kernels_mb * 2**20
    job = f"linearize_networks {snakemake.wildcards.experiment} {snakemake.wildcards.row}"
    with job_log(snakemake.log[0], job, snakemake.input, snakemake.output), memory_limited(limit):
        main(
            Path(snakemake.input.dataset),
            Path(snakemake.input.networks),
            Path(snakemake.output.linearized),
            LinearizeSpec.model_validate_json(snakemake.params.spec),
            Path(snakemake.params.units),
            snakemake.params.unit_source,
        )
