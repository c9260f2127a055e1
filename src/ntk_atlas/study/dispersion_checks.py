"""What is wrong with the settings of the dispersion at initialization, before anything is sampled."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ntk_atlas.config.dispersion import DispersionSettings
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.dispersion.theory import InitialKernelLaw, finite_sum
from ntk_atlas.jobs import JOBS
from ntk_atlas.statistics.moments import LARGEST_RELATIVE_ERROR, relative_error_of_ratio

_MOST_NAMED = 3
_HOPELESS = 1e50  # so that its powers are numbers


def dispersion_problems(experiment: ExperimentSettings) -> list[tuple[str, str]]:
    """What the section `dispersion` of an experiment asks that networks cannot give.

    Returns:
        Pairs of a key of the experiment and a message; empty if there is nothing.
    """
    settings, network = experiment.dispersion, experiment.network
    if settings is None:
        return []
    if reason := network.family.without_dispersion():
        return [("dispersion", f"{reason}: remove this section, or use fully connected networks")]
    if settings.squared_norm is None and experiment.dataset.normalization == "none":
        return [
            (
                "dispersion.squared_norm",
                "inputs that are not normalized have norms that only the data tell: give the ‖x‖² that is meant (such "
                "as the mean over the data), or set dataset.normalization",
            )
        ]
    n_inputs, squared_norm = JOBS.head("sample_initial_kernels").narrowed(experiment).values()
    law = partial(InitialKernelLaw, network, n_inputs=n_inputs, squared_norm=squared_norm)
    return [*_plane(settings, n_inputs), *_resolution(settings, law, experiment.grid.init_scale)]


def _plane(settings: DispersionSettings, n_inputs: int) -> Iterator[tuple[str, str]]:
    single = n_inputs == 1
    between = [r for r in settings.correlations if abs(r) < 1.0]
    if single and between:
        yield (
            "dispersion.correlations",
            f"{between[0]:g} is no cosine of inputs with a single feature: give n_inputs of 2 or more (default: the "
            "features of the data), or correlations 1 and −1 only",
        )


def _resolution(
    settings: DispersionSettings, law_of: Callable[..., InitialKernelLaw], init_scales: Sequence[float]
) -> Iterator[tuple[str, str]]:
    """Names the cells whose R, predicted where a theory is known, `n_networks` cannot tell to a factor."""
    found = []
    for depth in settings.depth:
        for width in settings.width:
            law = law_of(depth=depth, width=width)
            ratio, scale = max((min(finite_sum(law, scale), _HOPELESS), scale) for scale in init_scales)
            if relative_error_of_ratio(ratio, settings.n_networks) > LARGEST_RELATIVE_ERROR:
                needed = (ratio**4 - 1.0) / LARGEST_RELATIVE_ERROR**2
                found.append((needed, depth, width, scale, ratio))
    if not found:
        return
    found.sort(reverse=True)
    cells = "; ".join(
        f"depth {depth}, width {width} (λ = {(depth + 1) / width:.2g}, init_scale {scale:g}): R ≈ {ratio:.3g} needs "
        f"{_rounded_up(needed)} networks"
        for needed, depth, width, scale, ratio in found[:_MOST_NAMED]
    )
    more = f"; and {len(found) - _MOST_NAMED} cells more" if len(found) > _MOST_NAMED else ""
    yield (
        "dispersion.n_networks",
        f"{settings.n_networks} networks cannot resolve R = E[Θ²]/E[Θ]², whose estimate has a relative error of "
        f"√((R⁴ − 1)/n): {cells}{more}. Raise n_networks, lower dispersion.depth, or widen dispersion.width",
    )


def _rounded_up(number: float) -> str:
    """Two digits are enough, and never too few networks."""
    step = 10.0 ** max(math.floor(math.log10(number)) - 1, 0)
    count = math.ceil(number / step) * step
    return f"{count:,.0f}" if count < 1e9 else f"{count:.1e}"
