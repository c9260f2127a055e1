"""The whole config: what jobs may use, figures, and experiments by name, each with data of a source."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo, field_validator
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

from ntk_atlas.config.analyses import (
    DispersionSettings,
    KernelVariantsSettings,
    MovementSettings,
    OutputVarianceSettings,
    ScalingSettings,
)
from ntk_atlas.config.base import Count, CountOrZero, Settings
from ntk_atlas.config.figures import FigureName, FigureSettings
from ntk_atlas.config.grid import GridSettings
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.config.regression import RegressionSettings
from ntk_atlas.config.training import TrainingSettings
from ntk_atlas.datasets.dataset import DatasetBase
from ntk_atlas.datasets.sources import SOURCES
from ntk_atlas.registry import is_own


def section_of(source: str) -> type[DatasetBase]:
    """The class of the section of a source, built in or in a file of the user's.

    Raises:
        DataError: if there is no such source.
    """
    return SOURCES.get(source).settings


class _OfSource:
    """Validates a section as the class that its `source` names; no other source is imported."""

    def __get_pydantic_core_schema__(self, annotation: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.lax_or_strict_schema(
            core_schema.no_info_plain_validator_function(lambda value: _section(value, strict=False)),
            core_schema.with_info_plain_validator_function(_strict_section),
            serialization=core_schema.simple_ser_schema("any"),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        sections = {name: section_of(name).__pydantic_core_schema__ for name in SOURCES.names()}
        return handler(core_schema.tagged_union_schema(sections, discriminator="source"))


def _strict_section(value: Any, info: ValidationInfo) -> DatasetBase:
    return _section(value, strict=info.mode == "python")  # JSON has no tuples


def _section(value: Any, *, strict: bool) -> DatasetBase:
    if isinstance(value, DatasetBase):
        return value
    if not isinstance(value, dict):
        raise PydanticKnownError("model_type", {"class_name": "DatasetSettings"})
    if "source" not in value:
        raise PydanticKnownError("union_tag_not_found", {"discriminator": "'source'"})
    source = value["source"]
    if not isinstance(source, str) or not (source in SOURCES or is_own(source)):
        tags = ", ".join(f"'{name}'" for name in SOURCES.names())
        tag = {"discriminator": "'source'", "tag": str(source), "expected_tags": tags}
        raise PydanticKnownError("union_tag_invalid", tag)
    return section_of(source).model_validate(value, strict=strict)


DatasetSettings = Annotated[DatasetBase, _OfSource(), Field(validate_default=True)]


_PROCESS_MB = 800  # interpreter, torch, Lightning, data and networks
_KERNELS_MB = 1200


class JobSettings(Settings):
    """What jobs may use and how work is cut into them. Nothing here changes more than the last digits of a number, by
    the order of sums, and nothing is computed again for it.
    """

    memory_limit_mb: Annotated[int, Field(ge=50, le=2**24)] | None = None
    """MiB that the kernels of a job may take, their results included; block sizes follow from it. Default: 1,200. Jobs
    ask for 800 MiB more, for the process itself, and for twice or three times that when they are tried again."""

    init_scales_per_job: Count = 1
    """How many consecutive `grid.init_scale` values a job of networks holds. A job starts a process and imports for
    some seconds: more values a job pay that once, and leave fewer jobs to run at the same time. Another value joins
    rows and cube anew, trains and regresses nothing."""

    rivals_per_job: Count = 1
    """How many rival kernels a job regresses with: on small data a job's start costs more than its kernels. Another
    value regresses with the rivals anew, to the same numbers."""

    save_training_seconds: CountOrZero = 60
    """Seconds of training after which its state is written, from which it goes on after a kill: 0 writes it after
    every epoch, but never more often than 5 % of the time allow. Shorter trainings write nothing."""

    allow_huge: bool = False
    """Whether to start an experiment that takes more than a year of one core, a TiB of disk, or 128 GiB of memory in a
    job, by the estimates of the plan. Without it a config that asks for as much is refused with the numbers: mostly it
    has a zero too many."""

    @property
    def kernels_mb(self) -> int:
        """MiB that the kernels of a job may take.

        It is a fixed number, neither what happens to be free nor what a scheduler grants: block sizes follow from it,
        and with them the last digits.
        """
        return _KERNELS_MB if self.memory_limit_mb is None else self.memory_limit_mb

    @property
    def kernel_job_mb(self) -> int:
        """MiB that a job with kernels asks for."""
        return _PROCESS_MB + self.kernels_mb


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
