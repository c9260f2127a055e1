"""Claims about finite width (A1–A6, A'1–A'4) on planted evidence, judged as the quick study is: nine draws.

Medians over networks are planted where a claim is about the median network. Noise is of logarithms: normal, skewed, or
a jump: one network in six is ten times as large. Its median is subtracted, so that the planted number is the truth.
"""

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import pandas as pd
from synthetic_claims import BROKEN, synthetic_evidence
from worlds.decision_worlds import REJECTED, SUPPORTED
from worlds.world import THRESHOLD, World, judged, thresholds_of

from ntk_atlas.judging import COLUMNS, Evidence, join_verdicts

DRAWS, NETWORKS = 9, 2000
EPOCHS = np.array([0.0, 0.5, 1.0])
"""How far measures along training have gone at the three checkpoints of the evidence."""
Noise = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def normal(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return 0.4 * generator.standard_normal(shape)


def skewed(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return 0.5 * (generator.exponential(1.0, shape) - np.log(2.0))


def jumping(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return _jump(generator, shape) - _middle_of_jumps()


def _jump(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return 0.3 * generator.standard_normal(shape) + np.log(10.0) * (generator.random(shape) < 1.0 / 6.0)


@cache
def _middle_of_jumps() -> float:
    return float(np.median(_jump(np.random.default_rng(0), (2_000_000,))))


@cache
def template() -> Evidence:
    """Evidence whose numbers are planted anew in every study: depths 3 and 15, widths 32 and 128, three phases."""
    return synthetic_evidence(BROKEN, np.random.default_rng(0), draws=DRAWS, seeds=1)


def changed(found: Evidence, cube: Mapping | None = None, dispersion: Mapping | None = None, variance=None) -> Evidence:
    parts = [part.copy() for part in (found.cube, found.dispersion, found.output_variance)]
    for part, change in zip(parts, (cube, dispersion, variance), strict=True):
        for name, values in (change or {}).items():
            part[name] = (part[name].dims, np.broadcast_to(values, part[name].shape))
    return Evidence(found.name, found.settings, *parts)


def per_network(values: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """(depth, init_scale) and noise over draws, as an array over a cube's cells: the same at both widths."""
    return (values[:, None, :, None, None] * np.exp(noise))[..., None]


def drifts(
    ordered: float = 0.02, critical: float = 0.8, chaotic: float = 1.0, *, shallow: float = 0.3, noise: Noise = normal,
    lost: int = 0,
):  # fmt: skip
    """Median drift of deep networks in each phase; shallow ones have a share of it.

    Equal loss is at the last epoch, and the networks of the first `lost` draws never reach it.
    """

    def plant(generator: np.random.Generator) -> dict[str, dict]:
        deep = np.array([ordered, critical, chaotic])
        networks = per_network(np.stack([shallow * deep, deep]), noise(generator, (2, 2, 3, 1, DRAWS)))
        there = np.where(np.arange(DRAWS)[:, None] < lost, np.nan, networks)
        return {"cube": {"kernel_drift": networks[..., None] * EPOCHS, "kernel_drift_at_equal_loss": there}}

    return plant


def blocks(change: float, noise: Noise = normal):
    """Median change of (within − between)/diagonal over training."""

    def plant(generator: np.random.Generator) -> dict[str, dict]:
        networks = per_network(np.full((2, 3), change), noise(generator, (2, 2, 3, 1, DRAWS)))[..., None] * EPOCHS
        return {"cube": {"within_class_ratio": 0.6 + 0.5 * networks, "between_class_ratio": 0.6 - 0.5 * networks}}

    return plant


def shares(ordered: float, critical: float, noise: Noise = normal):
    """Median final training MSE of deep networks over that of predicting zero; shallow ones are trained."""

    def plant(generator: np.random.Generator) -> dict[str, dict]:
        deep = np.array([ordered, critical, 0.05])
        networks = per_network(np.stack([np.full(3, 0.02), deep]), noise(generator, (2, 2, 3, 1, DRAWS)))
        return {"cube": {"final_train_mse": networks}}

    return plant


def variances(slopes: tuple[float, float, float], start: float = 0.02):
    """Var log Θ(x, x) = start + slope · λ in each phase, with the errors of a variance of normals."""

    def plant(generator: np.random.Generator) -> dict[str, dict]:
        dispersion = template().dispersion
        ratio = dispersion["lambda"].values[:, :, None, None]
        error = np.sqrt(2.0 / NETWORKS)
        true = start + ratio * np.array(slopes)[:, None]
        measured = true * np.exp(error * generator.standard_normal(true.shape))
        ends = (("", 0.0), ("_low", -1.96), ("_high", 1.96))
        planted = {f"log_ntk_variance{end}": measured * np.exp(sign * error) for end, sign in ends}
        return {"dispersion": planted}

    return plant


def beside_the_law(factor: float):
    """Var log Θ of networks, this factor times that of the exact law."""

    def plant(generator: np.random.Generator) -> dict[str, dict]:
        error, true = np.sqrt(2.0 / NETWORKS), template().dispersion["log_ntk_variance_exact"].values
        measured = factor * true * np.exp(error * generator.standard_normal(true.shape))
        ends = (("", 0.0), ("_low", -1.96), ("_high", 1.96))
        return {"dispersion": {f"log_ntk_variance{end}": measured * np.exp(sign * error) for end, sign in ends}}

    return plant


def spreads(shallow: float, deep: tuple[float, float, float], error: float = 0.06):
    """Variance of networks over theory at the shallow wide cell and, by phase, at the deep narrow one."""

    def plant(generator: np.random.Generator) -> dict[str, dict]:
        log = np.full((2, 2, 3, 1, DRAWS, 1), np.log(shallow))
        log[1, 0] = np.log(deep)[:, None, None, None]
        log[0, 0] = log[1, 1] = 0.5 * (np.log(shallow) + np.log(deep))[:, None, None, None]
        values = np.exp(log + error * np.sqrt(DRAWS) * generator.standard_normal(log.shape))
        return {"variance": {"variance_ratio_network_infinite_ntk": np.broadcast_to(values, (*log.shape[:-1], 2))}}

    return plant


def world(claim: str, *plants: Callable):
    """The word on a claim where these numbers are planted."""

    def word(generator: np.random.Generator) -> str:
        parts: dict[str, dict] = {}
        for plant in plants:
            for part, values in plant(generator).items():
                parts.setdefault(part, {}).update(values)
        return judged(claim, "finite_width", changed(template(), **parts))

    return word


def both(*plants: Callable):
    """A7: the words on A2, A3 and A4 of two experiments, ReLU and sigmoid, each on numbers of its own."""
    parts = {claim: world(claim, *plants) for claim in ("A2", "A3", "A4")}
    activations = {activation: activation for activation in ("relu", "sigmoid")}

    def word(generator: np.random.Generator) -> str:
        rows = [
            {"experiment": name, "claim": claim, "verdict": said(generator)}
            for name in activations
            for claim, said in parts.items()
        ]
        joined = join_verdicts([pd.DataFrame(rows, columns=COLUMNS)], activations, thresholds_of("finite_width"))
        return str(joined.loc[joined["claim"] == "A7", "verdict"].item())

    return word


RANDOM = variances((0.05, 2.5, 4.0))
"""Var log Θ as theory has it: small and flat in the ordered phase, growing in the others."""

WORLDS = (
    World("A1", "phases alike", world("A1", variances((1.0,) * 3), drifts(0.5, 0.5, 0.5, shallow=1.0)), REJECTED),
    World("A1", "ratio of drifts at 1.5", world("A1", RANDOM, drifts(0.4, 0.5, 0.6, shallow=0.3)), THRESHOLD),
    World(
        "A1", "ratio at 1.5, jumps", world("A1", RANDOM, drifts(0.4, 0.5, 0.6, noise=jumping)), THRESHOLD, skewed=True
    ),
    World("A1", "phases differ", world("A1", RANDOM, drifts(0.02, 0.8, 1.0, shallow=0.1)), SUPPORTED, powerful=True),
    World("A2", "not random, not growing", world("A2", variances((0.0,) * 3)), REJECTED),
    World("A2", "Var log Θ at .25", world("A2", variances((0.0, 2.0, 2.0), start=0.25 - 2.0 * 0.31)), THRESHOLD),
    World("A2", "slope at 1", world("A2", variances((0.0, 1.0, 1.0), start=0.5)), THRESHOLD),
    World("A2", "twice both", world("A2", RANDOM), SUPPORTED, powerful=True),
    World("A3", "well below", world("A3", drifts(chaotic=0.04)), REJECTED),
    World("A3", "at .2", world("A3", drifts(chaotic=0.2)), THRESHOLD),
    World("A3", "at .2, skewed", world("A3", drifts(chaotic=0.2, noise=skewed)), THRESHOLD, skewed=True),
    World("A3", "at .2, one in six jumps", world("A3", drifts(chaotic=0.2, noise=jumping)), THRESHOLD, skewed=True),
    World(
        "A3",
        "at .2, one network in nine never gets to the loss",
        world("A3", drifts(chaotic=0.2, lost=1)),
        THRESHOLD,
    ),
    World(
        "A3", "at .6, one network in nine never gets to the loss", world("A3", drifts(chaotic=0.6, lost=1)), SUPPORTED
    ),
    World("A3", "at .2, four of nine never get to the loss", world("A3", drifts(chaotic=0.2, lost=4)), THRESHOLD),
    World("A3", "at twice .2", world("A3", drifts(chaotic=0.4)), SUPPORTED, powerful=True),
    World("A4", "well inside", world("A4", RANDOM, drifts(ordered=0.03)), SUPPORTED, powerful=True),
    World("A4", "drift at .1", world("A4", RANDOM, drifts(ordered=0.1)), THRESHOLD),
    World("A4", "drift at .1, skewed", world("A4", RANDOM, drifts(ordered=0.1, noise=skewed)), THRESHOLD, skewed=True),
    World(
        "A4",
        "drift at .1, one in six jumps",
        world("A4", RANDOM, drifts(ordered=0.1, noise=jumping)),
        THRESHOLD,
        skewed=True,
    ),
    World("A4", "Var log Θ at .1", world("A4", variances((0.0,) * 3, start=0.1), drifts(ordered=0.02)), THRESHOLD),
    World("A4", "well outside", world("A4", RANDOM, drifts(ordered=0.5)), REJECTED),
    World("A5", "as claimed", world("A5", shares(0.97, 0.05, noise=lambda g, s: 0.2 * normal(g, s))), SUPPORTED),
    World("A5", "ordered at .5", world("A5", shares(0.5, 0.05)), THRESHOLD),
    World("A5", "critical at .25, skewed", world("A5", shares(5.0, 0.25, noise=skewed)), THRESHOLD, skewed=True),
    World("A5", "critical at .25, one in six jumps", world("A5", shares(5.0, 0.25, jumping)), THRESHOLD, skewed=True),
    World("A5", "ordered networks train", world("A5", shares(0.05, 0.05)), REJECTED),
    World("A6", "theory holds everywhere", world("A6", spreads(1.0, (1.0, 1.0, 1.0))), REJECTED),
    World("A6", "all phases at 1.3", world("A6", spreads(1.0, (1.3, 1.3, 1.3))), THRESHOLD),
    World("A6", "ordered alone at 1.69", world("A6", spreads(1.0, (1.69, 1.0, 1.0))), SUPPORTED),
    World("A6", "shallow at 1.3", world("A6", spreads(1.3, (3.0, 3.0, 3.0))), THRESHOLD),
    World("A6", "fails shallow too", world("A6", spreads(2.0, (3.0, 3.0, 3.0))), REJECTED),
    World("A7", "all hold", both(RANDOM, drifts(ordered=0.03)), SUPPORTED, powerful=True),
    World(
        "A7", "all six at a threshold", both(variances((0.0, 1.0, 1.0), start=0.1), drifts(0.1, 0.2, 0.2)), THRESHOLD
    ),
    World(
        "A7",
        "drifts at thresholds, one in six jumps",
        both(RANDOM, drifts(0.1, 0.2, 0.2, noise=jumping)),
        THRESHOLD,
        skewed=True,
    ),
    World("A7", "ordered kernels move", both(RANDOM, drifts(ordered=0.5)), REJECTED),
    World("A'1", "the exact law", world("A'1", beside_the_law(1.0)), SUPPORTED, powerful=True),
    World("A'1", "1.2 times as large", world("A'1", beside_the_law(1.2)), THRESHOLD),
    World("A'1", "1.44 times as large", world("A'1", beside_the_law(1.44)), REJECTED),
    World("A'2", "as theory", world("A'2", variances((0.0, 2.5, 4.0))), SUPPORTED, powerful=True),
    World("A'2", "critical slope at 1", world("A'2", variances((0.0, 1.0, 4.0))), THRESHOLD),
    World("A'2", "ordered slope at .25", world("A'2", variances((0.25, 2.5, 4.0))), THRESHOLD),
    World("A'2", "no growth", world("A'2", variances((0.0, 0.0, 0.0))), REJECTED),
    World("A'3", "as claimed", world("A'3", drifts()), SUPPORTED, powerful=True),
    World("A'3", "ordered at .1", world("A'3", drifts(ordered=0.1)), THRESHOLD),
    World("A'3", "all at thresholds", world("A'3", drifts(0.1, 0.2, 0.2)), THRESHOLD),
    World("A'3", "ordered at .1, one in six jumps", world("A'3", drifts(0.1, noise=jumping)), THRESHOLD, skewed=True),
    World("A'3", "all still", world("A'3", drifts(0.02, 0.04, 0.04)), REJECTED),
    World("A'4", "nothing changes", world("A'4", blocks(0.01)), REJECTED),
    World("A'4", "at .05", world("A'4", blocks(0.05)), THRESHOLD),
    World("A'4", "at .05, one in six jumps", world("A'4", blocks(0.05, jumping)), THRESHOLD, skewed=True),
    World("A'4", "at twice .05", world("A'4", blocks(0.1)), SUPPORTED, powerful=True),
)
