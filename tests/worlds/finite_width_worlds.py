"""Claims about finite width (A, A') on planted kernels and outputs: nine draws of one network, as in the quick study.

What networks do is planted at its median, which is what the claims on movement are about.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import numpy as np
from scipy.special import ndtri
from synthetic_claims import BROKEN, synthetic_dispersion, synthetic_evidence, synthetic_output_variance
from worlds.decision_worlds import REJECTED, SUPPORTED
from worlds.world import THRESHOLD, World, judged

from ntk_atlas.claims.evidence import Evidence

DRAWS = 9
MOVEMENT = ("kernel_drift", "kernel_drift_at_equal_loss")

Factors = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def lognormal(spread: float = 0.4) -> Factors:
    return lambda generator, shape: np.exp(spread * generator.standard_normal(shape))


LOGNORMAL = lognormal()


def jumping(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """One network in six moves tenfold; of median 1."""
    jumps = np.where(generator.random(shape) < 1.0 / 6.0, 10.0, 1.0)
    return np.exp(0.3 * (generator.standard_normal(shape) - ndtri(0.6))) * jumps


def heavy(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.exp(0.3 * generator.standard_t(2.0, shape))


def skewed(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Exponential, of median 1."""
    return generator.exponential(1.0, shape) / np.log(2.0)


def uneven(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draws whose spreads differ by a factor of four."""
    spreads = np.geomspace(0.2, 0.8, DRAWS)[:, None]
    return np.exp(spreads * generator.standard_normal(shape))


def in_common(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Half of each factor is that of all init scales: networks of one seed start from the same random numbers."""
    return np.exp(0.4 * generator.standard_normal((1, 1, 1, 1, *shape[4:])) + 0.2 * generator.standard_normal(shape))


class Template:
    """Evidence of a world without noise; what is random is planted anew in every study."""

    def __init__(self, world: Mapping) -> None:
        self.world = world
        self.evidence = synthetic_evidence(world, np.random.default_rng(0), noise=0.0, draws=DRAWS, seeds=1)

    def moving(self, generator: np.random.Generator, factors: Factors) -> Evidence:
        cube = self.evidence.cube.copy()
        factor = factors(generator, tuple(cube[MOVEMENT[1]].shape))
        cube[MOVEMENT[0]] = cube[MOVEMENT[0]].dims, cube[MOVEMENT[0]].values * factor[..., None]
        cube[MOVEMENT[1]] = cube[MOVEMENT[1]].dims, cube[MOVEMENT[1]].values * factor
        cube["final_train_mse"] = cube["final_train_mse"].dims, cube["final_train_mse"].values * factor
        for name, start in (("within_class_ratio", 0.6), ("between_class_ratio", 0.55)):
            cube[name] = cube[name].dims, start + (cube[name].values - start) * factor[..., None]
        return replace(self.evidence, cube=cube)


@cache
def template(key: tuple) -> Template:
    return Template(BROKEN | {name: dict(value) if isinstance(value, tuple) else value for name, value in key})


def planted(claim: str, factors: Factors = LOGNORMAL, **world: object):
    """The word on a claim about trained networks; `world` is what differs from one in which all claims hold."""
    key = tuple((name, tuple(value.items()) if isinstance(value, dict) else value) for name, value in world.items())

    def word(generator: np.random.Generator) -> str:
        return judged(claim, "finite_width", template(key).moving(generator, factors))

    return word


def sampled(claim: str, *, scaled: float = 1.0, **world: Mapping[str, float]):
    """The word on a claim about untrained networks or output variances, whose samples are drawn anew.

    `scaled` is Var log Θ of networks over that of the exact law.
    """
    key = tuple((name, tuple(value.items())) for name, value in world.items())

    def word(generator: np.random.Generator) -> str:
        base = template(key)
        found, settings = base.evidence, base.evidence.settings
        dispersion = synthetic_dispersion(base.world, settings, generator)
        for suffix in ("", "_low", "_high"):
            dispersion[f"log_ntk_variance{suffix}"] = scaled * dispersion[f"log_ntk_variance{suffix}"]
        outputs = synthetic_output_variance(base.world, settings, generator)
        return judged(claim, "finite_width", replace(found, dispersion=dispersion, output_variance=outputs))

    return word


def drift(ordered: float = 0.03, critical: float = 0.6, chaotic: float = 0.8) -> dict[str, float]:
    return {"ordered": ordered, "critical": critical, "chaotic": chaotic}


def slopes(ordered: float = 0.0, critical: float = 2.5, chaotic: float = 4.0) -> dict[str, float]:
    return {"ordered": ordered, "critical": critical, "chaotic": chaotic}


def share(ordered: float) -> dict[str, float]:
    return {"ordered": ordered, "critical": 0.05, "chaotic": 0.05}


# Drift at equal loss is .8 of that at the last epoch: it is at A3's threshold of .2 where the other is at .25.
_A3, _A4, _A3_TWICE = drift(chaotic=0.25), drift(ordered=0.1), drift(chaotic=0.5)
_REGIME = drift(ordered=0.2, chaotic=0.3)  # chaotic over ordered 1.5, A1's factor

WORLDS = (
    World("A1", "drift in chaos over the ordered phase's at the factor",
          planted("A1", in_common, drift=_REGIME), THRESHOLD),
    World("A2", "slope of Var log Θ in λ at the threshold", sampled("A2", slope=slopes(chaotic=1.0)), THRESHOLD),
    World("A2", "at twice the threshold", sampled("A2", slope=slopes(chaotic=2.0)), SUPPORTED, powerful=True),
    World("A2", "slope 0: Var log Θ is .02 everywhere", sampled("A2", slope=slopes(chaotic=0.0)), REJECTED),
    World("A3", "drift a quarter of the threshold", planted("A3", drift=drift(chaotic=0.06)), REJECTED),
    World("A3", "at the threshold at equal loss", planted("A3", drift=_A3), THRESHOLD),
    World("A3", "at twice the threshold", planted("A3", drift=_A3_TWICE), SUPPORTED, powerful=True),
    World("A3", "at the threshold, heavy tails", planted("A3", heavy, drift=_A3), THRESHOLD),
    World("A3", "at the threshold, skewed", planted("A3", skewed, drift=_A3), THRESHOLD, skewed=True),
    World("A3", "at the threshold, draws differ in spread", planted("A3", uneven, drift=_A3), THRESHOLD),
    World("A4", "drift a third of the threshold", planted("A4", drift=drift()), SUPPORTED),
    World("A4", "at the threshold", planted("A4", drift=_A4), THRESHOLD),
    World("A4", "three times the threshold", planted("A4", drift=drift(ordered=0.3)), REJECTED),
    World("A4", "median at the threshold, one network in six jumps tenfold",
          planted("A4", jumping, drift=_A4), THRESHOLD, skewed=True),
    World("A5", "ordered networks keep half of the error, the threshold",
          planted("A5", lognormal(0.1), share=share(0.5)), THRESHOLD),
    World("A6", "shallow variances at the factor of theory's",
          sampled("A6", variance_ratio={"easy": 1.3, "hard": 3.0}), THRESHOLD),
    World("A6", "deep variances at it",
          sampled("A6", variance_ratio={"easy": 1.02, "hard": 1.3}), THRESHOLD),
    World("A'1", "networks off the exact law by the factor", sampled("A'1", scaled=1.2), THRESHOLD),
    World("A'2", "slope at criticality at the threshold", sampled("A'2", slope=slopes(critical=1.0)), THRESHOLD),
    World("A'3", "ordered drift at the threshold", planted("A'3", drift=_A4), THRESHOLD),
    World("A'3", "critical drift at the threshold", planted("A'3", drift=drift(critical=0.2)), THRESHOLD),
    World("A'4", "change of the blocks at the threshold", planted("A'4", blocks=0.05), THRESHOLD),
    World("A'4", "no change", planted("A'4", blocks=0.0), REJECTED),
    World("A'4", "at twice the threshold", planted("A'4", blocks=0.1), SUPPORTED, powerful=True),
)  # fmt: skip
