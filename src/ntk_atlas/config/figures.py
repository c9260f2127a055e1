"""Figures: what the plan knows of each, and settings that change what is drawn, never what is computed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from ntk_atlas.config.base import Settings
from ntk_atlas.registry import HeadRegistry, Named

if TYPE_CHECKING:
    from ntk_atlas.config.study import ExperimentSettings


class FigureError(ValueError):
    """A figure that there is not, or that cannot be drawn."""


@dataclass(frozen=True)
class Shown:
    """An experiment that a figure is asked of.

    Attributes:
        settings: of the experiment.
        has_classes: whether its data have classes.
        one_feature: whether its inputs are single numbers, so that functions of them can be drawn.
    """

    settings: "ExperimentSettings"
    has_classes: bool = True
    one_feature: bool = False

    @property
    def predictors(self) -> tuple[str, ...]:
        """Kernels that predict beside the networks."""
        return self.settings.regression.predictors

    def has(self, *predictors: str) -> bool:
        """Whether all of some predictors are there."""
        return set(predictors) <= set(self.predictors)

    def several(self, axis: str, least: int = 2) -> bool:
        """Whether an axis of the grid has at least so many values."""
        return len(getattr(self.settings.grid, axis)) >= least


def _always(_: Shown) -> bool:
    return True


@dataclass(frozen=True)
class AtlasFigure:
    """The head of a figure's file, whose function `draw(*files, style)` draws it.

    Attributes:
        caption: what is seen, and how it is read, in the report.
        files: NetCDF files of the experiment that it is drawn from, in the order in which `draw` takes them; there is
            no figure where one of them is not made.
        also: files that it takes as well, where the experiment makes them.
        of_variants: files of the experiment's variants that it takes after these.
        possible: whether there is anything to draw.
        by_default: whether it is drawn of an experiment that does not say what to `show`: more than a single point.
    """

    caption: str
    files: tuple[str, ...] = ("cube",)
    also: tuple[str, ...] = ()
    of_variants: tuple[str, ...] = ()
    possible: Callable[[Shown], bool] = _always
    by_default: Callable[[Shown], bool] = _always


FIGURES = HeadRegistry("ntk_atlas.figures", AtlasFigure, "figure", error=FigureError)
FigureName = Annotated[str, Named(FIGURES)]
"""A figure `x` is the file `figures/x.py`; `my_figure.py:x` is one of the user's."""


class FigureSettings(Settings):
    """How figures look."""

    palette: Literal["colorblind", "deep", "viridis", "cividis"] = "colorblind"
    """Seaborn palette of the predictors."""
    dpi: Annotated[int, Field(ge=50, le=600)] = 150
    """Resolution of the PNG twins of the SVG figures."""
    context: Literal["paper", "notebook", "talk"] = "notebook"
    """Seaborn context: the size of letters and lines."""
