"""Kernel regression with the empirical NTKs of a row's networks, before and after training."""

from pathlib import Path

from ntk_atlas.arrays import made_again_if_lost, read_labelled, write_labelled
from ntk_atlas.job_log import job_log
from ntk_atlas.memory import memory_limited
from ntk_atlas.numerics import precise_math
from ntk_atlas.stages.regress_row import RowStores, empirical_predictions, regress_row
from ntk_atlas.stages.row_files import row_file, training_digests
from ntk_atlas.study.made_with import check_row, load_prepared
from ntk_atlas.study.prediction_specs import EmpiricalSpec


def main(dataset: Path, networks: Path, output: Path, spec: EmpiricalSpec, units: Path, source: str) -> None:
    (data, data_digest), parts = load_prepared(dataset, spec.dataset), {}
    row = read_labelled(networks, ("init_scale", "n_train", "draw", "unit_digest"))
    check_row(networks, row.attributes, "train_networks", spec, data_digest)
    trained = training_digests(row)
    with precise_math(threads=1):
        for scale, part in spec.per_init_scale().items():
            stores = RowStores.of_row(units, part.row.name)
            with made_again_if_lost(networks):
                digests = regress_row(part, data, data_digest, stores, source, trained[scale])
            parts[scale] = empirical_predictions(part, stores, digests)
    write_labelled(row_file(spec, parts).with_attributes(data_digest=data_digest), output)


if "snakemake" in globals():
    limit = snakemake.resources.kernels_mb * 2**20
    row = snakemake.wildcards.row
    with (
        job_log(
            snakemake.log[0],
            f"regress_empirical {snakemake.wildcards.experiment} {row}",
            snakemake.input,
            snakemake.output,
        ),
        memory_limited(limit),
    ):
        main(
            Path(snakemake.input.dataset),
            Path(snakemake.input.networks),
            Path(snakemake.output.predictions),
            EmpiricalSpec.model_validate_json(snakemake.params.spec),
            Path(snakemake.params.units),
            snakemake.params.unit_source,
        )
