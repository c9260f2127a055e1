"""Empirical NTKs of untrained networks beside the infinite-width kernel of each variant of the NTK."""

from pathlib import Path

from ntk_atlas.arrays import write_labelled
from ntk_atlas.cubes.dictionary.untrained import KERNEL_VARIANTS
from ntk_atlas.job_log import job_log
from ntk_atlas.memory import memory_limited
from ntk_atlas.numerics import precise_math
from ntk_atlas.stages.compare_variants import compare_variants
from ntk_atlas.study.kernel_variants_spec import KernelVariantsSpec
from ntk_atlas.study.made_with import load_prepared


def main(dataset_file: Path, output: Path, spec: KernelVariantsSpec) -> None:
    dataset, data_digest = load_prepared(dataset_file, spec.dataset)
    with precise_math(threads=1):
        distances = compare_variants(spec, dataset)
    distances = distances.described(KERNEL_VARIANTS.attributes_of(distances.arrays))
    write_labelled(distances.with_attributes(**KERNEL_VARIANTS.head, data_digest=data_digest), output)


if "snakemake" in globals():
    limit = snakemake.resources.kernels_mb * 2**20
    with (
        job_log(
            snakemake.log[0], f"compare_variants {snakemake.wildcards.experiment}", snakemake.input, snakemake.output
        ),
        memory_limited(limit),
    ):
        main(
            Path(snakemake.input.dataset),
            Path(snakemake.output.variants),
            KernelVariantsSpec.model_validate_json(snakemake.params.spec),
        )
