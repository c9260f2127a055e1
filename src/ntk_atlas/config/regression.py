"""Settings of kernel regression: which kernels, which ridge, which length scales."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from ntk_atlas.config.base import Count, Scale, Settings
from ntk_atlas.config.predictors import PREDICTOR_PATTERN, predictor_name
from ntk_atlas.kernels.rivals import RIVALS
from ntk_atlas.registry import Named

PredictorCenter = Literal["zero", "network", "both"]

Predictor = Annotated[str, Field(pattern=PREDICTOR_PATTERN), Named(RIVALS, checked=False)]

Ridge = Annotated[float, Field(ge=1e-16, le=1e16)]
"""A relative ridge; below the rounding of float64 it changes nothing."""


class SolveSettings(Settings):
    """How one kernel is regressed with."""

    ridge_grid: Annotated[tuple[Ridge, ...], Field(min_length=1)] = (
        1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0,
    )  # fmt: skip
    """Ridges tried, relative to the mean diagonal of the largest Gram matrix (diag_reg)."""
    select_ridge: Literal["validation", "leave_one_out", "marginal_likelihood"] = "validation"
    """What chooses the `tuned` ridge (and the length scale), never test data: the validation error, the leave-one-out
    error, or the marginal likelihood of a Gaussian process; the `zero` ridge is always reported beside it."""
    jitter: Annotated[float, Field(ge=0.0, le=1.0)] = 1e-12
    """Smallest relative diagonal added where a Gram matrix is singular (0 stands for the smallest sensible, 1e-12)."""
    solver: Literal["direct", "iterative", "auto"] = "direct"
    """How systems are solved. `direct`: one Cholesky factor per ridge serves all n_train. `iterative`: preconditioned
    conjugate gradients to a relative residual of 1e-9 at every n_train; a solve that does not get there has the status
    `budget_spent`, smallest eigenvalues and condition numbers are not known (NaN), and ridges are chosen by validation.
    Rivals are then evaluated tile by tile and never held; of other kernels the Gram matrix is, and no factor. `auto`:
    direct where matrix and factor of the largest n_train fit into `solver_memory_mb`; the plan says which it is."""
    keep_predictions: bool = False
    """Keep what every predictor says on the test samples, in `functions.nc`: to look at, drawn if there is one feature.
    Distances of networks from the predictors of NTK theory stand in every cube, with or without it."""

    @field_validator("ridge_grid", "length_scales", check_fields=False)
    @classmethod
    def _ascending(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(set(values)))


class RivalSettings(SolveSettings):
    """How a kernel with a length scale is regressed with."""

    length_scales: Annotated[tuple[Scale, ...], Field(min_length=1)] = (
        0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0,
    )  # fmt: skip
    """Length scales of the rivals, in median distances of the training inputs."""


_PREDICTORS = f"""What predicts beside the networks: `linearized` (the same networks, linear in their weights, trained
alike); kernels that are regressed with. Empirical NTKs: `ntk_init`, `ntk_final` (trained on the samples it is regressed
on), `ntk_epoch_<t>` (at a checkpoint), `ntk_epochs` (at every checkpoint, as an axis of the cube),
`ntk_pretrained_<m>` (trained on the first m samples, regressed on every n ≥ m). Of infinite width: `infinite_ntk`,
`nngp`; `stand_in_ntk`, the NTK of a fully connected network beside a convolutional one; the variants of the NTK
`ntk_with_bias`, `ntk_without_bias`, `standard_…`, `c1_…`, `last_layer_…` (docs/conventions.md). Rivals:
{", ".join(f"`{name}`" for name in RIVALS.names())}; or one of your own, `my_kernel.py:k`: a function `k(x1, x2)` of
float64 tensors `(n1, n_features)` and `(n2, n_features)` (images flattened) that returns `(n1, n2)`, symmetric and
positive semidefinite on the data. If it has a parameter `length_scale`, `length_scales` are tried as with the others.
In cubes and figures it is `user_my_kernel_k`; claims about rivals are about the built-in ones."""


class RegressionSettings(RivalSettings):
    """How the kernels predict, and which do."""

    solver_memory_mb: Count = 4096
    """MiB up to which `solver: auto` solves directly."""

    predictors: tuple[Predictor, ...] = Field(
        default=("ntk_init", "ntk_final", "infinite_ntk", "nngp", "laplace", "matern_5_2", "rbf"),
        description=_PREDICTORS,
    )
    predictor_center: PredictorCenter = "zero"
    """Empirical kernels predict the targets around `zero`, what the `network` whose kernel it is leaves over, or
    `both`, under the names `<kernel>` and `<kernel>_around_network`."""
    epoch_n_train: Literal["largest", "all"] | Annotated[tuple[Count, ...], Field(min_length=1)] = "largest"
    """At which n_train `ntk_epochs` are regressed with: they cost a kernel a checkpoint."""
    kernel_dtype: Literal["float64", "float32"] = "float64"
    """Precision in which empirical kernels are evaluated; systems are solved in float64 either way. `float32` takes
    half the time and adds noise of about 1e-6 of the mean diagonal: ridge → 0 can feel it, a tuned ridge does not."""

    @field_validator("epoch_n_train")
    @classmethod
    def _sizes_ascending(cls, value: str | tuple[int, ...]) -> str | tuple[int, ...]:
        return value if isinstance(value, str) else tuple(sorted(set(value)))

    @field_validator("predictors")
    @classmethod
    def _unique(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        named: dict[str, str] = {}
        for value in dict.fromkeys(values):
            other = named.setdefault(predictor_name(value), value)
            if other != value:
                raise ValueError(
                    f"{other!r} and {value!r} would both be called {predictor_name(value)!r} in the cube: rename a "
                    "file or a function"
                )
        return tuple(named.values())

    def epoch_sizes(self, n_train: tuple[int, ...]) -> tuple[int, ...]:
        """The n_train, of those of the grid, at which the kernels of all checkpoints are regressed with."""
        if self.epoch_n_train == "all":
            return n_train
        chosen = (max(n_train),) if self.epoch_n_train == "largest" else self.epoch_n_train
        return tuple(n for n in n_train if n in chosen)

    def chosen_solver(self, n_train: Sequence[int]) -> tuple[Literal["direct", "iterative"], str]:
        """The solver for these sizes, and why it is this one."""
        if self.solver != "auto":
            return self.solver, f"solver: {self.solver}"
        if self.select_ridge != "validation":
            return "direct", f"select_ridge: {self.select_ridge} takes a factor"
        needed = 2 * 8 * max(n_train) ** 2 / 2**20
        fits = needed <= self.solver_memory_mb
        reason = f"{needed:,.0f} MiB for {max(n_train):,} samples, solver_memory_mb is {self.solver_memory_mb:,}"
        return ("direct" if fits else "iterative"), reason

    def solve(self, n_train: Sequence[int]) -> SolveSettings:
        """The part that every kernel has, for these sizes."""
        return SolveSettings(**self._part(SolveSettings, n_train))

    def rivals(self, n_train: Sequence[int]) -> RivalSettings:
        """The part that kernels with a length scale have, for these sizes."""
        return RivalSettings(**self._part(RivalSettings, n_train))

    def _part(self, section: type[SolveSettings], n_train: Sequence[int]) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in section.model_fields}
        return values | {"solver": self.chosen_solver(n_train)[0]}
