"""Settings of jobs: what they may use, never what they compute."""

from typing import Annotated

from pydantic import Field, PositiveInt

from ntk_atlas.config.base import Settings

_PROCESS_MB = 800  # interpreter, torch, Lightning, data and networks
_DEFAULT_MB = 2000


class JobSettings(Settings):
    """What jobs may use and how work is cut into them; nothing here changes a number."""

    memory_limit_mb: Annotated[int, Field(ge=50)] | None = None
    """MiB that the kernels of a job may take, their results included; block sizes follow from it. Default: what the
    job's `mem_mb` leaves beside 800 MiB for the process itself. With a value, jobs ask for that and 800 MiB more."""

    init_scales_per_job: PositiveInt = 1
    """How many consecutive `grid.init_scale` values a job of networks holds. A job starts a process and imports for
    some seconds: more values a job pay that once, and leave fewer jobs to run at the same time. Another value joins
    rows and cube anew, trains and regresses nothing."""

    rivals_per_job: PositiveInt = 1
    """How many rival kernels a job regresses with: on small data a job's start costs more than its kernels. Another
    value regresses with the rivals anew, to the same numbers."""

    @property
    def kernel_job_mb(self) -> int:
        """MiB that a job with kernels asks for."""
        return _DEFAULT_MB if self.memory_limit_mb is None else _PROCESS_MB + self.memory_limit_mb


def kernel_memory(mem_mb: int) -> int:
    """What a job of `mem_mb` MiB leaves for kernels, in bytes; a quarter at least.

    It is a fixed number, not what happens to be free: block sizes follow from it, and with them the last digits.
    """
    return max(mem_mb - _PROCESS_MB, mem_mb // 4) * 2**20
