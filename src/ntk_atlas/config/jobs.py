"""Settings of jobs: what they may use, never what they compute."""

from typing import Annotated

from pydantic import Field

from ntk_atlas.config.base import Count, CountOrZero, Settings

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
