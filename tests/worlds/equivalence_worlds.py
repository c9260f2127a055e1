"""Claims about equivalence (C) at the quick study's depths and draws, with two networks per draw."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
import xarray as xr
from worlds.decision_worlds import REJECTED, SUPPORTED, Noise, normal, skewed, uneven
from worlds.world import THRESHOLD, World, judged

from ntk_atlas.claims.evidence import Evidence
from ntk_atlas.config.study import ExperimentSettings

NETWORK = ("depth", "width", "init_scale", "n_train", "draw", "seed")
KERNEL = ("depth", "init_scale", "n_train", "draw", "ridge")
DEPTHS, WIDTHS, DRAWS, SEEDS = (1, 2, 3), (64, 128, 256, 512), 10, 2
NTK = np.array([0.4, 0.3, 0.25])
"""The NTK's error by depth."""


@cache
def settings() -> ExperimentSettings:
    return ExperimentSettings.model_validate(
        {
            "grid": {
                "depth": DEPTHS, "width": WIDTHS, "init_scale": [2.0], "n_train": [200], "draws": DRAWS, "seeds": SEEDS,
            },
            "network": {"bias_variance": 0.1},
            "training": {"seed": 1234, "initial_output": "subtract"},
            "regression": {"predictors": ["infinite_ntk", "laplace", "rbf"], "keep_predictions": True},
        }
    )  # fmt: skip


def study(
    claim: str, *, network: np.ndarray = NTK, squared_distance: Callable[[np.ndarray], np.ndarray] | None = None,
    rivals: Sequence[float] = (), spread: float = 0.04, alike: float = 0.15, noise: Noise = normal,
    jitter: float = 0.1,
):  # fmt: skip
    """The word on a claim.

    Args:
        claim: the claim.
        network: the network's error by depth.
        squared_distance: of the network's function from the NTK's over the NTK's error, by width.
        rivals: errors of two rival kernels, over the NTK's at the deepest.
        spread: of each predictor's log error; a draw's network has it too, and so has each of its seeds.
        alike: of what a draw does to all log errors alike.
        noise: its law.
        jitter: spread of the log squared distances, of a draw and of a seed.
    """
    coordinates = {"depth": np.array(DEPTHS), "width": np.array(WIDTHS), "init_scale": [2.0], "n_train": [200]}
    coordinates |= {"draw": np.arange(DRAWS), "seed": np.arange(SEEDS), "ridge": ["zero", "tuned"]}

    def kernel(generator: np.random.Generator, errors: np.ndarray, shared: np.ndarray) -> np.ndarray:
        values = errors[..., None] * np.exp(shared + spread * noise(generator, (*errors.shape, DRAWS)))
        return np.stack([values, values], -1)

    def word(generator: np.random.Generator) -> str:
        shared = alike * noise(generator, (DRAWS,))
        cube = xr.Dataset(coords=coordinates)
        cube["test_mse_infinite_ntk"] = KERNEL, kernel(generator, NTK, shared)[:, None, None]
        of_draw = shared + spread * noise(generator, (3, 4, DRAWS))
        errors = np.exp(of_draw[..., None] + spread * generator.standard_normal((3, 4, DRAWS, SEEDS)))
        cube["test_mse_network"] = NETWORK, (network[:, None, None, None] * errors)[:, :, None, None]
        cube["status"] = NETWORK, np.zeros((3, 4, 1, 1, DRAWS, SEEDS), dtype=np.int8)
        for name, factor in zip(("laplace", "rbf"), rivals, strict=False):
            cube[f"test_mse_{name}"] = KERNEL[2:], kernel(generator, np.array(factor * NTK[-1]), shared)[None]
        for name in [name for name in cube if name.startswith("test_mse_") and name != "test_mse_network"]:
            cube[f"validation_{name.removeprefix('test_')}"] = cube[name] * np.exp(
                0.05 * generator.standard_normal(cube[name].shape)
            )
        functions = None
        if squared_distance is not None:
            mean = squared_distance(np.array(WIDTHS, dtype=float))[:, None, None] * NTK[:, None, None, None]
            factor = (
                jitter * (noise(generator, (3, 4, DRAWS, 1)) + generator.standard_normal((3, 4, DRAWS, SEEDS)))
                - jitter**2
            )
            distance = np.sqrt(mean * np.exp(factor + shared[:, None]))[:, :, None, None]
            functions = xr.Dataset(
                {"distance_network_infinite_ntk": ((*NETWORK, "ridge"), np.stack([distance, distance], -1))},
                coordinates,
            )
        return judged(claim, "equivalence", Evidence("planted", settings(), cube, functions=functions))

    return word


def changed(share: float) -> np.ndarray:
    """Errors whose second layer changes the network's by `share` of the NTK's more, and whose third does not."""
    return NTK + share * NTK[0] * np.array([0.0, 1.0, 1.0])


def approaching(limit: float, at_widest: float) -> Callable[[np.ndarray], np.ndarray]:
    """d² = limit + A/M, with A such that what the finite width adds at 512 is `at_widest`."""
    return lambda width: limit + at_widest * WIDTHS[-1] / width


_BOUND = 0.33**2
_FAR = approaching(0.0, 0.04)
_KEYS: Mapping[str, object] = {"squared_distance": _FAR}

WORLDS = (
    World("C1", "layers change both alike", study("C1"), REJECTED),
    World("C1", "one step apart by the margin", study("C1", network=changed(0.1)), THRESHOLD),
    World("C1", "one step apart by twice the margin", study("C1", network=changed(0.2)), SUPPORTED, powerful=True),
    World("C1", "by the margin, draws differ in spread", study("C1", network=changed(0.1), noise=uneven), THRESHOLD),
    World("C1", "by the margin, skewed", study("C1", network=changed(0.1), noise=skewed), THRESHOLD, skewed=True),
    World("C3", "the better rival as good as the NTK", study("C3", rivals=(1.2, 1.0)), SUPPORTED),
    World("C3", "the better rival worse by the margin", study("C3", rivals=(1.3, 1.05)), THRESHOLD),
    World("C3", "the better rival worse by three margins", study("C3", rivals=(1.3, 1.16)), REJECTED),
    World("C5", "the same errors, a fifth apart", study("C5", **_KEYS), REJECTED),
    World("C5", "distance at the threshold",
          study("C5", squared_distance=lambda width: _BOUND + 0.0 * width), THRESHOLD),
    World("C5", "distance at twice the threshold",
          study("C5", squared_distance=lambda width: 4.0 * _BOUND + 0.0 * width), SUPPORTED, powerful=True),
    World("C5", "errors apart by the margin", study("C5", network=1.1 * NTK, **_KEYS), THRESHOLD),
    World("C5", "errors apart by twice the margin", study("C5", network=1.21 * NTK, **_KEYS), SUPPORTED, powerful=True),
    World("C5∞", "apart at 512 by .6, together in the limit",
          study("C5∞", squared_distance=approaching(0.0, 0.36)), REJECTED),
    World("C5∞", "limit at the threshold",
          study("C5∞", squared_distance=approaching(_BOUND, 0.1)), THRESHOLD),
    World("C5∞", "limit at twice the threshold",
          study("C5∞", squared_distance=approaching(4.0 * _BOUND, 0.1)), SUPPORTED, powerful=True),
)  # fmt: skip
