"""Learning curves of kernels trained on ever more samples, from the initial one to the one trained on all."""

from ntk_atlas.config.predictors import PRETRAINED
from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "Learning curves of kernels that were trained on a fixed number of samples and regress on more, beside the "
        "network, the kernel at initialization and the kernel trained on the samples it regresses on. How soon a "
        "kernel is as good as the final one says how much data it takes to learn the kernel."
    ),
    files=("cube", "scaling_laws"),
    possible=lambda shown: any(name.startswith(PRETRAINED) for name in shown.predictors),
)

import xarray as xr
from matplotlib.figure import Figure

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.figures.learning_curves import plot_learning_curves


def family_of_kernels(names: list[str]) -> list[str]:
    """The network, its initial kernel, those trained on m samples by m, and the one trained on all n."""
    trained = [name for name in names if name.startswith(PRETRAINED) and name.removeprefix(PRETRAINED).isdigit()]
    trained.sort(key=lambda name: int(name.removeprefix(PRETRAINED)))
    return [name for name in ("network", "ntk_init", *trained, "ntk_final") if name in names]


def draw(cube: xr.Dataset, laws: xr.Dataset, style: FigureSettings) -> Figure:
    """Test error against n for `family_of_kernels`, as `plot_learning_curves` draws it.

    A kernel trained on m samples has a curve from n = m on; its law is fitted there.
    """
    names = family_of_kernels([str(name) for name in cube["predictor"].values])
    return plot_learning_curves(cube, laws, style, predictors=names, title="Kernels trained on m samples")
