"""Claims about learning curves (B) on curves of a planted law, judged as the quick study is: 5 sizes, 6 draws."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
from synthetic_scaling import CELL, FEATURES, evidence
from worlds.decision_worlds import REJECTED, SUPPORTED, Noise, normal, skewed
from worlds.world import THRESHOLD, World, judged

from ntk_atlas.claims.evidence import Evidence
from ntk_atlas.status import Status

SIZES = np.array([64, 128, 256, 512, 1024])
KERNEL = (*CELL, "ridge")


@cache
def template(*predictors: str, draws: int = 6) -> Evidence:
    """Evidence whose errors are planted anew in every study."""
    generator = np.random.default_rng(0)
    return evidence(FEATURES, generator, predictors=predictors, n_train=tuple(SIZES.tolist()), draws=draws)


def law(exponent: float, floor: float = 0.0) -> np.ndarray:
    """E + .4 (n/64)^−α: for α = .5 and E = 0 an error of .4 at the smallest size and of .1 at the largest."""
    return floor + 0.4 * (SIZES / SIZES[0]) ** -exponent


def planted(found: Evidence, errors: Mapping[str, np.ndarray], unfinished: Sequence[int] = ()) -> Evidence:
    """The evidence with these test errors `(draws, sizes)`; at `unfinished` sizes networks end above their target."""
    cube = found.cube.copy()
    for name, values in errors.items():
        array = values.T[None, None, None, :, :, None]
        if name == "network":
            cube["test_mse_network"] = CELL, array
        else:
            cube[f"test_mse_{name}"] = KERNEL, np.stack([1.3 * array, array], -1)
    if unfinished:
        status = cube["status"].copy()
        status.loc[{"n_train": list(unfinished)}] = int(Status.BUDGET_SPENT)
        cube["status"] = status
    return Evidence(found.name, found.settings, cube)


def curves(
    claim: str, laws: Mapping[str, np.ndarray], *, spread: float | np.ndarray = 0.05, draws: int = 6,
    noise: Noise = normal, unfinished: Sequence[int] = (),
    change: Callable[[np.random.Generator, dict[str, np.ndarray]], None] | None = None,
):  # fmt: skip
    """The word on a claim where these are the laws of network and kernels, with noise of the log errors.

    `spread` is that of each predictor's own noise; as much again is what a draw does to all of them alike.
    """
    predictors = tuple(name for name in laws if name != "network")

    def word(generator: np.random.Generator) -> str:
        alike = spread * noise(generator, (draws, len(SIZES)))
        errors = {n: v * np.exp(alike + spread * noise(generator, (draws, len(SIZES)))) for n, v in laws.items()}
        if change is not None:
            change(generator, errors)
        return judged(claim, "scaling_laws", planted(template(*predictors, draws=draws), errors, unfinished))

    return word


def b1(network: np.ndarray, kernel: np.ndarray, **keys: object):
    return curves("B1", {"network": network, "ntk_init": kernel}, **keys)


def short(factor: float) -> np.ndarray:
    """A true difference of .1 where the networks at the largest size ended above their target."""
    return law(0.5) * np.where(SIZES == SIZES[-1], factor, 1.0)


def without_the_largest(_: np.random.Generator, errors: dict[str, np.ndarray]) -> None:
    errors["ntk_init"][:, -1] = np.nan


def without_some(generator: np.random.Generator, errors: dict[str, np.ndarray]) -> None:
    """In each draw one size of the five, another each time, has no error of the kernel."""
    errors["ntk_init"][np.arange(6), generator.integers(0, len(SIZES), 6)] = np.nan


_BENT = law(0.6, 0.06)
_LAST = (int(SIZES[-1]),)
_PRETRAINED = "ntk_pretrained_64"

WORLDS = (
    World("B1", "equal exponents", b1(law(0.5), law(0.5)), REJECTED),
    World("B1", "better by the margin, .05", b1(law(0.45), law(0.4)), THRESHOLD),
    World("B1", "better by twice the margin", b1(law(0.5), law(0.4)), SUPPORTED),
    World("B1", "better by .4", b1(law(0.8), law(0.4)), SUPPORTED, powerful=True),
    World("B1", "network .8, a kernel that learns nothing", b1(law(0.8), law(0.0)), SUPPORTED),
    World("B1", "equal exponents .6, the kernel keeps .7 of its error", b1(law(0.6), 0.3 * law(0.6) + 0.28), REJECTED),
    World("B1", "by the margin, noise grows twelvefold with n",
          b1(law(0.45), law(0.4), spread=np.geomspace(0.02, 0.25, 5)), THRESHOLD),
    World("B1", "by the margin, skewed noise", b1(law(0.45), law(0.4), noise=skewed), THRESHOLD, skewed=True),
    World("B1", "equal exponents .6, floors .01 and .06", b1(law(0.6, 0.01), law(0.6, 0.06)), REJECTED),
    World("B1", "equal exponents .6, floors .06 and .01", b1(law(0.6, 0.06), law(0.6, 0.01)), REJECTED),
    World("B1", ".7 against .5, a common floor of .08", b1(law(0.7, 0.08), law(0.5, 0.08)), SUPPORTED),
    World("B1", "by the margin, a common floor too small to see", b1(law(0.45, 0.008), law(0.4, 0.008)), THRESHOLD),
    World("B1", "by the margin, a floor of the kernel's too small to see", b1(law(0.45), law(0.4, 0.012)), THRESHOLD),
    *(
        World("B1", f"better by .1, last point {share:.0%} too high and flagged",
              b1(short(1.0 + share), law(0.4), unfinished=_LAST), SUPPORTED)
        for share in (0.1, 0.25, 0.5)
    ),
    *(
        World("B1", f"equal exponents, last point {share:.0%} too high and not flagged",
              b1(short(1.0 + share), law(0.5)), REJECTED)
        for share in (0.1, 0.25, 0.5)
    ),
    World("B1", "one bent curve for both, kernel singular at the largest n",
          b1(_BENT, _BENT, change=without_the_largest), REJECTED),
    World("B1", "by the margin, one size in five missing", b1(law(0.45), law(0.4), change=without_some), THRESHOLD),
    World("B4", "better by the margin", curves("B4", {"network": law(0.45), _PRETRAINED: law(0.4)}), THRESHOLD),
    World("B4", "equal exponents .6, floors .01 and .06",
          curves("B4", {"network": law(0.6, 0.01), _PRETRAINED: law(0.6, 0.06)}), REJECTED),
    *(
        World("B7", f"ratio {ratio:g} at every n",
              curves("B7", {"network": ratio * law(0.5), "ntk_final": law(0.5)}, spread=0.085), right)
        for ratio, right in ((1.0, SUPPORTED), (1.25, THRESHOLD), (1.5, REJECTED))
    ),
)  # fmt: skip
