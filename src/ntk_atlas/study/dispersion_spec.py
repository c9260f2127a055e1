"""What a job that samples untrained networks depends on: one depth and width, all init scales."""

import re

from ntk_atlas.arrays import unit_digest
from ntk_atlas.config.base import Settings
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.dispersion.inputs import InitialKernelLaw
from ntk_atlas.study.cells import canonical_text
from ntk_atlas.study.user_files import user_file_digest


class DispersionSpec(Settings):
    """Spec of `sample_initial_kernels`."""

    network: NetworkSettings
    activation_digest: str = ""
    """Digest of the files of the user's activation and parameterization; empty for built-in ones."""
    seed: int
    depth: int
    width: int
    init_scale: tuple[float, ...]
    n_inputs: int
    squared_norm: float
    correlations: tuple[float, ...]
    n_networks: int
    n_exact: int
    n_bootstrap: int
    confidence: float

    @property
    def law(self) -> InitialKernelLaw:
        """The law of the kernel that is sampled."""
        return InitialKernelLaw(
            network=self.network,
            depth=self.depth,
            width=self.width,
            n_inputs=self.n_inputs,
            squared_norm=self.squared_norm,
            correlations=self.correlations,
        )

    def unit_settings(self, init_scale: float) -> dict:
        """The settings that the kernel of a single network depends on, as JSON values."""
        summed_later = {"n_networks", "n_exact", "n_bootstrap", "confidence"}
        return self.model_dump(mode="json", exclude=summed_later) | {"init_scale": float(init_scale)}

    def unit_digests(self, source: str) -> dict[float, str]:
        """The digest of the networks at each init scale; `source` is that of the code that samples."""
        return {scale: unit_digest("initial kernels", self.unit_settings(scale), source) for scale in self.init_scale}


def sampled_spec(experiment: ExperimentSettings, depth: int, width: int) -> DispersionSpec:
    """Spec of `sample_initial_kernels` of an experiment whose section `dispersion` says which inputs networks have."""
    settings = experiment.dispersion
    return DispersionSpec(
        network=experiment.network,
        activation_digest=user_file_digest(experiment.network),
        seed=settings.seed,
        depth=depth,
        width=width,
        init_scale=experiment.grid.init_scale,
        n_inputs=settings.n_inputs,
        squared_norm=settings.squared_norm,
        correlations=settings.correlations,
        n_networks=settings.n_networks,
        n_exact=settings.n_exact,
        n_bootstrap=settings.n_bootstrap,
        confidence=settings.confidence,
    )


def architecture_name(depth: int, width: int) -> str:
    """Name in paths, `depth-3_width-64`."""
    return f"depth-{depth}_width-{width}"


def parse_architecture(name: str) -> tuple[int, int]:
    """Depth and width of the architecture that has this name.

    Raises:
        ValueError: if none has it.
    """
    match = re.fullmatch(r"depth-(\d+)_width-(\d+)", name)
    if match is None:
        raise ValueError(f"{name!r} is not the name of an architecture (depth-D_width-W)")
    return int(match[1]), int(match[2])


def architectures(experiment: ExperimentSettings) -> tuple[str, ...]:
    """Names of all architectures whose untrained networks an experiment samples."""
    settings = experiment.dispersion
    if settings is None:
        return ()
    return tuple(architecture_name(depth, width) for depth in settings.depth for width in settings.width)


def scale_name(init_scale: float) -> str:
    """Name of an init scale's unit."""
    return f"init_scale-{canonical_text(float(init_scale))}"
