"""The whole config: figures, and experiments by name."""

from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from ntk_atlas.config.base import Settings
from ntk_atlas.config.dataset import DatasetSettings
from ntk_atlas.config.dispersion import DispersionSettings
from ntk_atlas.config.figures import FigureName, FigureSettings
from ntk_atlas.config.grid import GridSettings
from ntk_atlas.config.jobs import JobSettings
from ntk_atlas.config.kernel_variants import KernelVariantsSettings
from ntk_atlas.config.movement import MovementSettings
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.config.output_variance import OutputVarianceSettings
from ntk_atlas.config.regression import RegressionSettings
from ntk_atlas.config.scaling import ScalingSettings
from ntk_atlas.config.training import TrainingSettings

EXPERIMENT_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"
"""Regular expression of the names that an experiment may have."""
RESERVED_NAMES = ("snakemake_records", "studies", "figures", "claims")
"""Folders of `results/` that are of all experiments together."""


def _not_reserved(name: str) -> str:
    if name.lower() in RESERVED_NAMES:
        raise ValueError(f"{name!r} is a name that `results/` has for something else: take another")
    return name


ExperimentName = Annotated[str, Field(pattern=EXPERIMENT_NAME), AfterValidator(_not_reserved)]


class ExperimentSettings(Settings):
    """One data set and one family of networks, over one grid; it becomes one cube."""

    variant_of: ExperimentName | None = None
    """Another experiment that this one is a variant of: it has the same settings but for what stands here. Claims about
    robustness compare its networks with those of that experiment and with its kernels."""
    # The default is validated: the source's class is imported where an experiment has that source, not here.
    dataset: DatasetSettings = Field(default={"source": "digits"})  # type: ignore[assignment]
    """The data; `source` names where they come from."""
    grid: GridSettings
    """The axes of the cube."""
    network: NetworkSettings = NetworkSettings()
    """The networks."""
    training: TrainingSettings = TrainingSettings()
    """How they are trained."""
    regression: RegressionSettings = RegressionSettings()
    """Which kernels predict beside them, and how."""
    scaling: ScalingSettings = ScalingSettings()
    """How learning curves are fitted."""
    movement: MovementSettings = MovementSettings()
    """At which training error the movement of kernels is compared."""
    dispersion: DispersionSettings | None = None
    """Untrained networks, for the randomness of the kernel at initialization; none by default."""
    output_variance: OutputVarianceSettings | None = None
    """Variance of outputs over initializations, predicted and measured; none by default."""
    max_failed_share: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    """Share of networks that may fail (diverge, be timed out) before the cube is not assembled; with the default it is
    made of whatever there is. An error in a job, such as one that your network's code raises, is no failure in this
    sense: the run ends, and goes on from there when it is mended."""
    kernel_variants: KernelVariantsSettings | None = None
    """Untrained networks beside each variant of the NTK; none by default."""
    show: tuple[FigureName, ...] | None = None
    """Which figures are drawn; by default all that these settings give anything to show for."""


class StudySettings(Settings):
    """The root of the config."""

    experiments: Annotated[dict[ExperimentName, ExperimentSettings | None], Field(min_length=1)]
    """Experiments by name; the name is the folder under `results/`. `null` switches one off in an overlay."""
    figures: FigureSettings = FigureSettings()
    """How figures look."""
    jobs: JobSettings = JobSettings()
    """What jobs may use and how work is cut into them; nothing here changes a number or computes one again."""
    claims: str | None = None
    """File of the thresholds that claims are judged by, relative to the working directory or beside the config; none by
    default."""
    regimes: str | None = None
    """File of the thresholds of regimes (docs/regimes.md), found as `claims` is; by default the project's own,
    `config/regimes.yaml`."""
    only: Annotated[tuple[ExperimentName, ...], Field(min_length=1)] | None = None
    """Names of the experiments that run, as if all others were switched off; by default all. `make run MINE=my.yaml`
    sets it to the experiments that my.yaml names."""
    preset: str | None = None
    """The preset laid over this config: `--config preset=full`."""
    presets: dict[str, dict[str, object]] = Field(default={})
    """Parts of a config by name, for one study in several sizes."""

    @field_validator("experiments")
    @classmethod
    def _different_folders(cls, experiments: dict[str, ExperimentSettings]) -> dict[str, ExperimentSettings]:
        folders: dict[str, str] = {}
        for name in experiments:
            other = folders.setdefault(name.lower(), name)
            if other != name:
                raise ValueError(f"{other} and {name} are one folder where case does not count: rename one")
        return experiments

    def active(self) -> dict[str, ExperimentSettings]:
        """The experiments that are not switched off, by name."""
        chosen = self.experiments if self.only is None else self.only
        return {name: settings for name, settings in sorted(self.experiments.items()) if settings and name in chosen}
