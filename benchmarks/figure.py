"""Cost of the empirical NTK as work grows, beside the floor."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from tables import AXES

matplotlib.use("Agg")

_TICKS = {"n": "samples n", "width": "width", "depth": "hidden layers", "n_outputs": "outputs (trace)"}


def cost_figure(points: Sequence[dict], path: Path) -> None:
    """Draws one panel an axis, both scales logarithmic.

    Measured times are a solid line with markers, the floor is dashed without, so that both can be told apart
    without colour; the share of the matrix product's rate stands at each point.

    Args:
        points: of `sweep.sweep`.
        path: PNG file to write.
    """
    import seaborn
    from matplotlib import pyplot as plt

    dark, orange = seaborn.color_palette("colorblind")[0], seaborn.color_palette("colorblind")[3]
    axes_names = [axis for axis in AXES if any(point["axis"] == axis for point in points)]
    with (
        plt.rc_context(matplotlib.rcParamsDefault),
        seaborn.axes_style("whitegrid"),
        seaborn.plotting_context("notebook"),
    ):
        figure, panels = plt.subplots(
            1, len(axes_names), figsize=(3.4 * len(axes_names), 3.8), sharey=True, squeeze=False, layout="constrained"
        )
        for panel, axis in zip(panels[0], axes_names, strict=True):
            of_axis = [point for point in points if point["axis"] == axis]
            values = [point["value"] for point in of_axis]
            seconds, floors = ([point[name] for point in of_axis] for name in ("seconds", "floor"))
            panel.plot(values, seconds, color=dark, marker="o", label="measured (share of sgemm)")
            panel.plot(values, floors, color=orange, linestyle=(0, (4, 2)), label="floor: least flops at sgemm rate")
            for value, measured, floor in zip(values, seconds, floors, strict=True):
                note = f"{100 * floor / measured:.0f} %"
                offset = {"xytext": (0, 8), "textcoords": "offset points", "ha": "center", "fontsize": 9}
                panel.annotate(note, (value, measured), **offset)
            panel.set_xscale("log", base=2)
            panel.set_yscale("log")
            panel.set_xticks(values, [str(value) for value in values])
            panel.minorticks_off()
            panel.margins(x=0.12, y=0.12)
            panel.set_xlabel(_TICKS[axis])
        panels[0][0].set_ylabel("seconds")
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, metadata={"Software": None})
        plt.close(figure)
