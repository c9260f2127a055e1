"""Learning curves of kernels trained on ever more samples, from the initial one to the one trained on all."""

import xarray as xr
from matplotlib.figure import Figure

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.config.predictors import PRETRAINED
from ntk_atlas.plotting.learning_curves import plot_learning_curves


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
