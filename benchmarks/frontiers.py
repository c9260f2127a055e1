"""Holds the law of a distance in the width to wider networks: predicted from widths up to 256, measured beyond.

    python benchmarks/frontiers.py results/digits_widths/cube.nc results/two_layer_20d/cube.nc

A frontier is where the law log d = a + β log M meets the threshold. Here the law is fitted to the widths up to `--most`
of each cube, and what it says of each wider width, with its 95 % prediction interval over draws, stands beside the
distance that the networks of that width have.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ntk_atlas.arrays import Status
from ntk_atlas.config.predictors import DISTANCES
from ntk_atlas.cubes import open_cube
from ntk_atlas.cubes.files import experiment_settings
from ntk_atlas.regimes.distances import log_spread, squared_distances
from ntk_atlas.statistics import t_quantile

Line = tuple[str, str, str, int, float, float, float, float]
"""Experiment, distance, cell, width; predicted with its interval, and measured."""
_CELL = ("depth", "init_scale", "n_train")


def prediction(widths: np.ndarray, logs: np.ndarray, width: float, later: np.ndarray) -> tuple[float, float, float]:
    """The mean log distance at a width by the draws' lines, with the ends of its 95 % prediction interval.

    Args:
        widths: those fitted, three or more.
        logs: log distances there, `(n_widths, n_draws)`.
        width: where.
        later: log distances there, `(n_draws,)`: their spread is that of a mean over as many draws.

    Returns:
        Value, low, high.
    """
    x = np.log(widths) - np.log(widths).mean()
    slopes, n = (x[:, None] * logs).sum(0) / (x**2).sum(), logs.shape[1]
    there = logs.mean(0) + slopes * (np.log(width) - np.log(widths).mean())
    error = np.sqrt((there.var(ddof=1) + later.var(ddof=1)) / n)
    half = float(t_quantile(0.975, np.array(n - 1.0))) * error
    return float(there.mean()), float(there.mean() - half), float(there.mean() + half)


def lines(path: Path, most: int) -> Iterator[Line]:
    """What the law says of every wider cell of a cube whose networks were trained to the end."""
    cube = open_cube(path).load()
    squares = squared_distances(cube, experiment_settings(cube))
    widths = cube["width"].values
    if (widths <= most).sum() < 3:
        return
    trained = (cube["status"] == int(Status.CONVERGED)).mean(["draw", "seed"]) > 0.5
    for name in (name for name in DISTANCES if name in squares):
        spread = log_spread(squares[name], squares[f"{name}_scale"], uneven=0.0)
        logs = squares[name].isel(left_out=0, seed=0, drop=True).copy(data=0.5 * spread.values[0])
        for place in np.ndindex(*(cube.sizes[dim] for dim in _CELL)):
            at = dict(zip(_CELL, place, strict=True))
            cell, ended = logs.isel(at).transpose("width", "draw"), trained.isel(at)
            where = ", ".join(f"{dim} {cube[dim].values[i]:g}" for dim, i in at.items())
            for width in widths[(widths > most) & ended.values]:
                fitted = cell.sel(width=(widths <= most) & ended.values)
                if fitted.sizes["width"] >= 3:
                    later = cell.sel(width=width).values
                    found = prediction(fitted["width"].values, fitted.values, float(width), later)
                    value, low, high = np.exp(found)
                    yield path.parent.name, name, where, int(width), value, low, high, float(np.exp(later.mean()))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cubes", type=Path, nargs="+")
    parser.add_argument("--most", type=int, default=256, help="largest width that is fitted")
    asked = parser.parse_args()
    found = [line for cube in asked.cubes for line in lines(cube, asked.most)]
    print(f"| experiment | distance | cell | width | predicted from widths ≤ {asked.most} | measured | within |")
    print("|---|---|---|---|---|---|---|")
    for experiment, name, where, width, value, low, high, measured in found:
        within = "yes" if low < measured < high else "no"
        print(
            f"| {experiment} | `{name}` | {where} | {width:,} | {value:.3f} [{low:.3f}, {high:.3f}] | {measured:.3f} "
            f"| {within} |"
        )
    inside = sum(low < measured < high for *_, low, high, measured in found)
    print(f"\n{inside} of {len(found)} within the 95 % prediction interval.")


if __name__ == "__main__":
    main()
