"""What the comparison of networks with the variants of the NTK depends on, and what it needs of the settings."""

from collections.abc import Iterator

from ntk_atlas.config.base import Settings
from ntk_atlas.config.dataset import DatasetSettings
from ntk_atlas.config.kernel_variants import KernelVariantsSettings
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.study.user_files import user_file_digest


class KernelVariantsSpec(Settings):
    """Spec of `compare_variants`."""

    dataset: DatasetSettings
    network: NetworkSettings
    activation_digest: str = ""
    """Digest of the files of the user's activation and parameterization; empty for built-in ones."""
    init_scale: tuple[float, ...]
    variants: KernelVariantsSettings


def kernel_variants_spec(experiment: ExperimentSettings) -> KernelVariantsSpec:
    """Spec of `compare_variants`."""
    return KernelVariantsSpec(
        dataset=experiment.dataset,
        network=experiment.network,
        activation_digest=user_file_digest(experiment.network),
        init_scale=experiment.grid.init_scale,
        variants=experiment.kernel_variants,
    )


def kernel_variants_problems(experiment: ExperimentSettings) -> Iterator[tuple[str, str]]:
    """What the settings lack for the comparison: (key, message) of each problem."""
    if experiment.kernel_variants is None:
        return
    network = experiment.network
    if network.factory is not None or network.architecture != "fully_connected":
        yield "kernel_variants", "the variants are of built-in fully connected networks: remove kernel_variants"
    elif network.bias_variance == 0.0:
        yield (
            "network.bias_variance",
            "with 0 the variants with and without bias are the same: set it above 0, or remove kernel_variants",
        )
