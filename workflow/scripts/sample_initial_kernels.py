"""Samples untrained networks of one depth and width, and sums up the dispersion of their kernels."""

from pathlib import Path

from ntk_atlas.arrays import UnitStore, write_labelled
from ntk_atlas.job_log import job_log
from ntk_atlas.numerics import precise_math
from ntk_atlas.stages.sample_initial_kernels import sample_initial_kernels
from ntk_atlas.study.dispersion_spec import DispersionSpec


def main(output: Path, spec: DispersionSpec, store: UnitStore, unit_source: str) -> None:
    with precise_math(threads=1):
        write_labelled(sample_initial_kernels(spec, store, unit_source), output)


if "snakemake" in globals():
    job = f"sample_initial_kernels {snakemake.wildcards.experiment} {snakemake.wildcards.architecture}"
    with job_log(snakemake.log[0], job, snakemake.input, snakemake.output):
        main(
            Path(snakemake.output.dispersion),
            DispersionSpec.model_validate_json(snakemake.params.spec),
            UnitStore(Path(snakemake.params.units)),
            snakemake.params.unit_source,
        )
