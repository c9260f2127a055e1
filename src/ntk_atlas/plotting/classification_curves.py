"""Share of wrong classes against training samples: the learning curves of the other error."""

import xarray as xr
from matplotlib.figure import Figure

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.plotting.learning_curves import plot_learning_curves


def draw(cube: xr.Dataset, laws: xr.Dataset, style: FigureSettings) -> Figure:
    """The 0–1 error of every predictor against n with its own laws, as `plot_learning_curves` draws it."""
    return plot_learning_curves(cube, laws, style, metric="error", title="Learning curves of the 0–1 error")
