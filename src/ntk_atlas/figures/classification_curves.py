"""Share of wrong classes against training samples: the learning curves of the other error."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "Share of test samples classified wrongly against the number of training samples, for the network and all "
        "kernels, at the largest width. Points are means over seeds and draws, bars t intervals over draws; lines are "
        "the fitted power laws over their fit range."
    ),
    files=("cube", "scaling_laws"),
    possible=lambda shown: shown.has_classes,
)

import xarray as xr
from matplotlib.figure import Figure

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.figures.learning_curves import plot_learning_curves


def draw(cube: xr.Dataset, laws: xr.Dataset, style: FigureSettings) -> Figure:
    """The 0–1 error of every predictor against n with its own laws, as `plot_learning_curves` draws it."""
    return plot_learning_curves(cube, laws, style, metric="error", title="Learning curves of the 0–1 error")
