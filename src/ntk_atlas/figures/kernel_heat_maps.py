"""The class-ordered kernel of one network at some epochs of its training, a row a phase."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "The kernel of the probe samples, ordered by class, at a few epochs, over its mean diagonal. One network each."
    ),
)

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.figures.parts.look import (
    INK,
    QUIET,
    color_map,
    decimals,
    finish,
    panel_grid,
    probe_note,
    readable_subset,
    scale_label,
    scale_names,
    themed,
)

MAX_TICKS = 10
_FEWEST_SAMPLES = 40
"""A kernel of more samples has panels of at least so many pixels a sample that its blocks can be seen."""


def draw(cube: xr.Dataset, style: FigureSettings) -> Figure:
    """Probe kernels over their mean diagonal, at the greatest depth and the middle width.

    Rows are init scales, columns the first epoch, two between that are evenly spaced in their logarithm, and the last.
    Samples are ordered by class (regression: by the first target), lines part the classes. All panels share one
    colour scale, whose lightness falls with the kernel, so that it reads in grey; above each panel stand the mean
    entries within and between classes.

    Args:
        cube: a cube; `probe_kernel` is that of draw 0, seed 0 at the largest n_train.
        style: the look.

    Returns:
        The figure.
    """
    selection = readable_subset(cube.isel(depth=-1, width=(cube.sizes["width"] - 1) // 2), {"init_scale": 4})
    shown = selection.cube
    kernels = shown["probe_kernel"].transpose("init_scale", "epoch", "probe", "probe_2")
    epochs = chosen_epochs(kernels)
    relative = relative_to_diagonal(kernels.sel(epoch=epochs).values)
    classes = shown["probe_class"].isel(draw=0).values
    finite = relative[np.isfinite(relative)]
    # Few entries far above the others, or rounding below zero, must not bleach the rest.
    norm = (
        Normalize(min(0.0, np.quantile(finite, 0.01)), np.quantile(finite, 0.995)) if finite.size else Normalize(0, 1)
    )
    with themed(style):
        figure, axes = panel_grid(len(relative), len(epochs), panel=(3.0, 3.3))
        for i, init_scale in enumerate(shown["init_scale"].values):
            for j, epoch in enumerate(epochs):
                ax, kernel = axes[i, j], relative[i, j]
                ax.set_title(f"epoch {epoch}" + _blocks_text(kernel, classes), fontsize="medium")
                _draw_kernel(ax, kernel, classes, norm, color_map(style))
            axes[i, 0].set_ylabel(f"{scale_label(shown, init_scale)}\n{_sample_label(classes)}")
        for ax in axes[-1]:
            ax.set_xlabel(_sample_label(classes))
        drawn = [ax.images[0] for ax in axes.ravel() if ax.images]
        if drawn:
            bar = figure.colorbar(
                drawn[0],
                ax=axes,
                shrink=0.8,
                aspect=40,
                fraction=0.03,
                pad=0.015,
                extend="both" if norm.vmin < 0.0 else "max",
            )
            bar.set_label("kernel / mean diagonal\n(pure number)")
            bar.outline.set_visible(False)
        place = f"depth {shown['depth'].item()}, width {shown['width'].item()}, n = {cube['n_train'].values.max()}"
        return finish(
            figure,
            _finding(shown, relative, classes, epochs, place),
            f"Probe samples ordered by {'class' if _has_classes(classes) else 'target'}; one network (draw 0, seed 0), "
            "so there are no intervals. Colours end at quantiles (1 %, 99.5 %).",
            "Above each panel: mean entry within / between classes." if _has_classes(classes) else "",
            probe_note(cube),
            selection.note,
        )


def chosen_epochs(kernels: xr.DataArray) -> list[int]:
    """Returns the first epoch, two between in logarithmic steps, and the last, of those with any finite kernel."""
    there = np.isfinite(kernels).any([dim for dim in kernels.dims if dim != "epoch"]).values
    epochs = kernels["epoch"].values[there] if there.any() else kernels["epoch"].values[:1]
    later = epochs[epochs > 0]
    chosen = {int(epochs[0]), int(epochs[-1])}
    if len(later):
        for share in (1 / 3, 2 / 3):
            target = (1 - share) * np.log(later[0]) + share * np.log(later[-1])
            chosen.add(int(later[np.abs(np.log(later) - target).argmin()]))
    return sorted(chosen)


def relative_to_diagonal(kernels: np.ndarray) -> np.ndarray:
    """Returns kernels `(..., n, n)` over their mean diagonal."""
    diagonal = np.diagonal(kernels, axis1=-2, axis2=-1).mean(-1)
    return kernels.astype(np.float64) / diagonal[..., None, None]


def _has_classes(classes: np.ndarray) -> bool:
    return bool((classes >= 0).all())


def _sample_label(classes: np.ndarray) -> str:
    return "class" if _has_classes(classes) else "probe sample, by target"


def _draw_kernel(ax: Axes, kernel: np.ndarray, classes: np.ndarray, norm: Normalize, cmap: str) -> None:
    n = len(kernel)
    ax.grid(False)
    ax.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5), aspect="equal", xticks=[], yticks=[])
    if not np.isfinite(kernel).any():
        ax.text(0.5, 0.5, "diverged or missing", transform=ax.transAxes, color=QUIET, ha="center", va="center")
        return
    ax.imshow(kernel, norm=norm, cmap=cmap, interpolation="nearest" if n <= _FEWEST_SAMPLES else "antialiased")
    if not _has_classes(classes):
        return
    starts = np.flatnonzero(np.diff(classes)) + 1
    for start in starts:
        for line in (ax.axhline(start - 0.5), ax.axvline(start - 0.5)):
            line.set(color=INK, linewidth=0.9, path_effects=[withStroke(linewidth=2.8, foreground="white")])
    edges = np.array([0, *starts, n])
    if len(edges) - 1 <= MAX_TICKS:
        middles, names = (edges[1:] + edges[:-1] - 1) / 2.0, [str(classes[edge]) for edge in edges[:-1]]
        ax.set_xticks(middles, names)
        ax.set_yticks(middles, names)
        ax.tick_params(length=0)


def _block_means(kernel: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
    """Mean entry within and between classes, with the diagonal as in `class_block_ratios`."""
    same = classes[:, None] == classes[None, :]
    return float(kernel[same].mean()), float(kernel[~same].mean()) if (~same).any() else np.nan


def _blocks_text(kernel: np.ndarray, classes: np.ndarray) -> str:
    if not _has_classes(classes) or not np.isfinite(kernel).all():
        return ""
    within, between = _block_means(kernel, classes)
    return f"\n{decimals(within)} / {decimals(between)}"


def _finding(shown: xr.Dataset, relative: np.ndarray, classes: np.ndarray, epochs: list[int], place: str) -> str:
    """How the contrast of the blocks changed from the first to the last epoch, phase by phase."""
    parts = []
    for name, kernels in zip(scale_names(shown), relative, strict=True):
        if not _has_classes(classes):
            moved = np.linalg.norm(kernels[-1] - kernels[0]) / np.linalg.norm(kernels[0])
            parts.append(f"{name}: {moved:.2g}" if np.isfinite(moved) else f"{name}: –")
            continue
        first, last = (np.subtract(*_block_means(kernels[t], classes)) for t in (0, -1))
        parts.append(f"{name}: {decimals(first)} → {decimals(last) if np.isfinite(last) else '–'}")
    what = "Within − between classes" if _has_classes(classes) else "Relative change of the normalized kernel"
    return f"{what}, epoch {epochs[0]} to {epochs[-1]}: {', '.join(parts)} ({place})"
