"""Claims on equivalence (C) and laziness (R) on planted errors, functions and kernels, in the sizes of the quick study.

Spreads are those of a pilot: a draw's mean of three networks scatters by .08 of the kernel's error at each depth, a log
ratio of errors by .1, a log squared distance of functions by .3.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import xarray as xr
from worlds.decision_worlds import REJECTED, SUPPORTED, Noise, normal, skewed, uneven
from worlds.world import THRESHOLD, World, judged

from ntk_atlas.arrays import Status
from ntk_atlas.config import ExperimentSettings
from ntk_atlas.judging import Evidence

NETWORK = ("depth", "width", "init_scale", "n_train", "draw", "seed")
KERNEL = ("depth", "init_scale", "n_train", "draw", "ridge")
WIDTHS = np.array([64, 128, 256, 512, 1024])
RIVALS = ("laplace", "rbf")
FOLDS, ERROR = 8, 0.4


@cache
def settings(depths: int, widths: tuple[int, ...], draws: int) -> ExperimentSettings:
    depth = tuple(range(1, depths + 1))
    grid = {"depth": depth, "width": widths, "init_scale": (2.0,), "n_train": (200,), "draws": draws, "seeds": 1}
    return ExperimentSettings.model_validate(
        {
            "grid": grid,
            "network": {"bias_variance": 0.1},
            "training": {"seed": 1234, "initial_output": "subtract"},
            "regression": {"predictors": ("infinite_ntk", "nngp", *RIVALS), "keep_predictions": True},
        }
    )


def empty(experiment: ExperimentSettings) -> xr.Dataset:
    grid = experiment.grid
    cube = xr.Dataset(coords={dim: np.array(getattr(grid, dim)) for dim in NETWORK[:4]})
    cube = cube.assign_coords(draw=np.arange(grid.draws), seed=[0], ridge=["zero", "tuned"])
    shape = [cube.sizes[dim] for dim in NETWORK]
    cube["status"] = NETWORK, np.full(shape, int(Status.CONVERGED), dtype=np.int8)
    return cube


def plant(cube: xr.Dataset, name: str, errors: np.ndarray, field: str = "test_mse") -> None:
    """Errors `(depth, draw)`, or `(depth, draw, fold)` of which the mean over folds is the error."""
    folds = errors.ndim == 3
    for variable, values in ((field, errors.mean(-1) if folds else errors), (f"{field}_folds", errors)):
        if variable.endswith("folds") and not folds:
            continue
        if name == "network":
            dims, array = NETWORK, np.expand_dims(values, (1, 2, 3, 5))
        elif name in RIVALS:
            dims, array = KERNEL[2:], np.stack([values] * 2, 2)
        else:
            dims, array = KERNEL, np.stack([np.expand_dims(values, (1, 2))] * 2, 4)
        cube[f"{variable}_{name}"] = ((*dims, "test_fold") if variable.endswith("folds") else dims), array


def adding_layers(excess: Sequence[float], *, draws: int = 20, spread: float = 0.08, noise: Noise = normal,
                  shared: float = 0.0):  # fmt: skip
    """C1: at each depth the network's error is the kernel's plus this share of it.

    With `shared`, draws have samples in common, whose effects on that share spread by so much.
    """
    depths, middle = len(excess), np.asarray(excess)[:, None, None]

    def word(generator: np.random.Generator) -> str:
        experiment = settings(depths, (128,), draws)
        cube = empty(experiment)
        kernel = ERROR * np.exp(0.1 * generator.standard_normal((1, draws, 1))) * np.ones((depths, 1, FOLDS))
        own = spread * noise(generator, (depths, FOLDS, draws)).swapaxes(1, 2) * np.sqrt(FOLDS)
        common = shared * generator.standard_normal((depths, 1, FOLDS)) * np.sqrt(FOLDS)
        errors = kernel * (1.0 + middle + own + common)
        if shared:
            cube["test_fold_size"] = "test_fold", np.full(FOLDS, 32)
            cube["shared_test"], cube["shared_train"] = 0.14, ("n_train", [0.11])
        else:
            kernel, errors = kernel.mean(-1), errors.mean(-1)
        plant(cube, "infinite_ntk", kernel)
        plant(cube, "network", errors)
        return judged("C1", "equivalence", Evidence("planted", experiment, cube))

    return word


def untrained(ratios: Sequence[float], *, spread: float = 0.1, noise: Noise = normal):
    """C2: at each depth the NNGP's error is so many times the NTK's."""
    depths, draws = len(ratios), 10

    def word(generator: np.random.Generator) -> str:
        experiment = settings(depths, (128,), draws)
        cube = empty(experiment)
        kernel = ERROR * np.exp(0.1 * generator.standard_normal((1, draws))) * np.ones((depths, 1))
        plant(cube, "infinite_ntk", kernel)
        own = np.exp(spread * noise(generator, (depths, draws)))
        plant(cube, "nngp", kernel * np.asarray(ratios)[:, None] * own)
        return judged("C2", "equivalence", Evidence("planted", experiment, cube))

    return word


def rivals(ratios: Sequence[float], *, spread: float = 0.06, noise: Noise = normal):
    """C3: each of two rivals has so many times the error of the NTK; validation errors scatter on their own."""
    draws = 10

    def word(generator: np.random.Generator) -> str:
        experiment = settings(1, (128,), draws)
        cube = empty(experiment)
        level = np.exp(0.1 * generator.standard_normal((1, draws)))
        for name, factor in (("infinite_ntk", 1.0), *zip(RIVALS, ratios, strict=True)):
            for field in ("test_mse", "validation_mse"):
                own = spread / np.sqrt(2.0) * noise(generator, (1, draws))
                plant(cube, name, ERROR * factor * level * np.exp(own), field)
        return judged("C3", "equivalence", Evidence("planted", experiment, cube))

    return word


def variants(distance: float, exponent: float, *, networks: int = 24, spread: float = 0.25, noise: Noise = normal):
    """C4: distance of networks from a closed form at width 1,024, and its exponent in the width."""
    width = np.array([64, 256, 1024])

    def word(generator: np.random.Generator) -> str:
        law = distance * (width / 1024.0) ** exponent
        found = law[:, None] * np.exp(spread * noise(generator, (3, networks)))
        coordinates = {"variant": ["ntk_with_bias"], "depth": [1], "init_scale": [2.0], "width": width}
        dims = ("variant", "depth", "init_scale", "width", "network")
        cube = xr.Dataset({"variant_distance": (dims, found[None, None, None])}, coordinates)
        experiment = settings(1, (128,), 10)
        return judged("C4", "equivalence", Evidence("planted", experiment, empty(experiment), kernel_variants=cube))

    return word


def functions(cube: xr.Dataset, squared: np.ndarray) -> xr.Dataset:
    """The distance of network and NTK with this square over the kernel's error, `(depth, width, draw)`."""
    distance = np.sqrt(ERROR * squared)[:, :, None, None, :, None, None] * np.ones(2)
    return cube.coords.to_dataset().assign(distance_network_infinite_ntk=((*NETWORK, "ridge"), distance))


def at_this_width(ratios: Sequence[float], distances: Sequence[float], *, noise: Noise = normal):
    """C5: at each depth the ratio of errors and the distance of functions over the kernel's error."""
    depths, draws = len(ratios), 10

    def word(generator: np.random.Generator) -> str:
        experiment = settings(depths, (128,), draws)
        cube = empty(experiment)
        plant(cube, "infinite_ntk", np.full((depths, draws), ERROR))
        plant(cube, "network", ERROR * np.asarray(ratios)[:, None] * np.exp(0.1 * noise(generator, (depths, draws))))
        squared = np.asarray(distances)[:, None] ** 2 * np.exp(0.3 * noise(generator, (depths, draws)))
        return judged(
            "C5", "equivalence", Evidence("planted", experiment, cube, functions=functions(cube, squared[:, None]))
        )

    return word


def in_the_limit(*curves: np.ndarray, noise: Noise = normal, spread: float = 0.3, short: int = 0):
    """C5∞: the law of the squared distance over the kernel's error, at each depth; `short` networks lack training."""
    draws, laws = 10, np.stack(curves)

    def word(generator: np.random.Generator) -> str:
        experiment = settings(len(laws), tuple(WIDTHS.tolist()), draws)
        cube = empty(experiment)
        plant(cube, "infinite_ntk", np.full((len(laws), draws), ERROR))
        cube["test_mse_network"] = xr.full_like(cube["status"], ERROR, dtype=float)
        if short:
            status = cube["status"].copy()
            status[{"depth": -1, "width": 0, "draw": slice(0, short)}] = int(Status.BUDGET_SPENT)
            cube["status"] = status
        factor = 1.0 + spread * noise(generator, (len(laws), len(WIDTHS), draws))
        squared = laws[:, :, None] * np.maximum(factor, 0.05)
        return judged("C5∞", "equivalence", Evidence("planted", experiment, cube, functions=functions(cube, squared)))

    return word


def linear(distances: Sequence[float], *, noise: Noise = normal):
    """R1: at each depth the distance of networks from their linearization over its error."""
    depths, draws = len(distances), 10

    def word(generator: np.random.Generator) -> str:
        experiment = settings(depths, (128,), draws)
        regression = experiment.regression.model_copy(update={"predictors": ("linearized",)})
        experiment = experiment.model_copy(update={"regression": regression})
        cube = empty(experiment)
        cube["test_mse_linearized"] = xr.full_like(cube["status"], ERROR, dtype=float)
        squared = np.asarray(distances)[:, None] ** 2 * np.exp(0.3 * noise(generator, (depths, draws)))
        cube["distance_linearized"] = NETWORK, np.expand_dims(np.sqrt(squared), (1, 2, 3, 5))
        return judged("R1", "laziness", Evidence("planted", experiment, cube))

    return word


THIRD = 0.33**2
"""C5's threshold, squared."""


def law(limit: float, first: float = 40.0, second: float = 0.0) -> np.ndarray:
    """d²(∞) + A/M + B/M²."""
    return limit + first / WIDTHS + second / WIDTHS**2


BENT = 88.0 / (WIDTHS + 116.0)
"""No limit, and narrow networks nearer than 1/M has them: what a pilot on five features had."""

WORLDS = (
    World("C1", "network and NTK change alike", adding_layers([0.0] * 5), REJECTED),
    World("C1", "one step differs by the margin, .1", adding_layers([0.0, 0.1, 0.1, 0.1, 0.1]), THRESHOLD),
    World("C1", "by twice the margin", adding_layers([0.0, 0.2, 0.2, 0.2, 0.2]), SUPPORTED, powerful=True),
    World("C1", "each step by half, all by twice", adding_layers([0, 0.05, 0.1, 0.15, 0.2]), SUPPORTED, powerful=True),
    World("C1", "one step by three margins", adding_layers([0.0, 0.3, 0.0, 0.0, 0.0]), SUPPORTED),
    World("C1", "by the margin, skewed", adding_layers([0.0] + [0.1] * 4, noise=skewed), THRESHOLD, skewed=True),
    World("C1", "by the margin, spreads differ", adding_layers([0.0] + [0.1] * 4, noise=uneven), THRESHOLD),
    World("C1", "by the margin, draws share samples", adding_layers([0.0] + [0.1] * 4, shared=0.03), THRESHOLD),
    World("C1", "alike, draws share samples", adding_layers([0.0] * 5, shared=0.03), REJECTED),
    World("C2", "NNGP as good as the NTK", untrained([1.0] * 5), SUPPORTED),
    World("C2", "NNGP better by a quarter", untrained([0.75] * 5), SUPPORTED, powerful=True),
    World("C2", "NNGP worse by the margin at every depth", untrained([1.1] * 5), THRESHOLD),
    World("C2", "worse by the margin at one depth of five", untrained([1.1] + [0.9] * 4), THRESHOLD),
    World("C2", "worse by three margins at one depth", untrained([1.33] + [1.0] * 4), REJECTED),
    World("C2", "worse by the margin, skewed", untrained([1.1] + [0.9] * 4, noise=skewed), THRESHOLD, skewed=True),
    World("C3", "rivals as good as the NTK", rivals([1.0, 1.0]), SUPPORTED),
    World("C3", "one better by a tenth", rivals([0.9, 1.2]), SUPPORTED, powerful=True),
    World("C3", "both worse by the margin, .05", rivals([1.05, 1.05]), THRESHOLD),
    World("C3", "both worse by three margins", rivals([1.16, 1.16]), REJECTED),
    World("C3", "both worse by the margin, skewed", rivals([1.05, 1.05], noise=skewed), THRESHOLD, skewed=True),
    World("C4", "the closed form is the limit", variants(0.05, -0.5), SUPPORTED, powerful=True),
    World("C4", "a wrong limit", variants(0.3, 0.0), REJECTED),
    World("C4", "exponent at the margin", variants(0.05, -0.35), THRESHOLD),
    World("C4", "distance at the threshold", variants(0.15, -0.5), THRESHOLD),
    World("C4", "exponent at the margin, skewed", variants(0.05, -0.35, noise=skewed), THRESHOLD, skewed=True),
    World("C4", "exponent at the margin, five networks", variants(0.05, -0.35, networks=5), THRESHOLD),
    World("C5", "network is its kernel", at_this_width([1.0, 1.0], [0.1, 0.1]), REJECTED),
    World("C5", "error at the margin", at_this_width([1.0, 1.1], [0.1, 0.1]), THRESHOLD),
    World("C5", "error at twice the margin", at_this_width([1.0, 1.21], [0.1, 0.1]), SUPPORTED),
    World("C5", "distance at the threshold", at_this_width([1.0, 1.0], [0.1, 0.33]), THRESHOLD),
    World("C5", "distance at twice the threshold", at_this_width([1.0] * 2, [0.1, 0.66]), SUPPORTED, powerful=True),
    World("C5", "distance at the threshold, skewed", at_this_width([1.0] * 2, [0.1, 0.33], noise=skewed), THRESHOLD,
          skewed=True),
    World("C5∞", "the theorem holds", in_the_limit(law(0.0), law(0.0)), REJECTED, powerful=True),
    World("C5∞", "the theorem holds, the curve is bent", in_the_limit(law(0.0), BENT), REJECTED),
    World("C5∞", "limit at the threshold", in_the_limit(law(0.0), law(THIRD)), THRESHOLD),
    World("C5∞", "limit at the threshold, steeper at first", in_the_limit(law(0), law(THIRD, 20, 2000)), THRESHOLD),
    World("C5∞", "limit at the threshold, the curve is bent", in_the_limit(law(0.0), THIRD + BENT), THRESHOLD),
    World("C5∞", "limit at the threshold, skewed", in_the_limit(law(0.0), law(THIRD), noise=skewed), THRESHOLD,
          skewed=True),
    World("C5∞", "limit at twice the threshold", in_the_limit(law(0.0), law(4.0 * THIRD)), SUPPORTED, powerful=True),
    World("C5∞", "limit at half of the threshold", in_the_limit(law(0.0), law(0.25 * THIRD)), REJECTED),
    World("C5∞", "distance falls as M^(-1/4) to nothing", in_the_limit(law(0), 0.4 * (WIDTHS / 64) ** -0.5), REJECTED),
    World("C5∞", "the theorem holds, three networks in ten lack training",
          in_the_limit(law(0.0), law(4.0 * THIRD), short=3), REJECTED),
    World("R1", "lazy: at a third of the threshold", linear([0.11] * 3), SUPPORTED, powerful=True),
    World("R1", "one depth at the threshold", linear([0.11, 0.11, 0.33]), THRESHOLD),
    World("R1", "all depths at the threshold", linear([0.33] * 3), THRESHOLD),
    World("R1", "features: twice the threshold at one depth", linear([0.11, 0.11, 0.66]), REJECTED, powerful=True),
    World("R1", "one depth at the threshold, skewed", linear([0.11, 0.11, 0.33], noise=skewed), THRESHOLD, skewed=True),
)  # fmt: skip
