"""Claims about learning curves (B) on curves of a planted law, judged as the quick study is: 5 sizes, 6 draws."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
from synthetic_scaling import CELL, FEATURES, evidence, settings
from worlds.decision_worlds import REJECTED, SUPPORTED, Noise, normal, skewed
from worlds.world import THRESHOLD, World, judged

from ntk_atlas.arrays import Status
from ntk_atlas.judging import Evidence

SIZES = np.array([64, 128, 256, 512, 1024])
KERNEL = (*CELL, "ridge")
KNOBS = {
    "rate": {"learning_rate": {"absolute": 1e-3}},
    "batch": {"batch_size": 8},
    "optimizer": {"optimizer": "adam", "learning_rate": {"absolute": 1e-3}},
}
"""Variants of B2, and what each changes of the training."""


@cache
def template(*predictors: str, draws: int = 6, width: tuple[int, ...] = (16,)) -> Evidence:
    """Evidence whose errors are planted anew in every study."""
    keys = {"predictors": predictors, "n_train": tuple(SIZES.tolist()), "draws": draws, "width": width}
    return evidence(FEATURES, np.random.default_rng(0), **keys)


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
        elif name == "infinite_ntk":  # of all widths and seeds
            own = array[:, 0, ..., 0]
            cube["test_mse_infinite_ntk"] = (
                ("depth", "init_scale", "n_train", "draw", "ridge"),
                np.stack([1.3 * own, own], -1),
            )
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


def robust(networks: Mapping[str, np.ndarray], kernel: np.ndarray, *, spread: float = 0.05):
    """B2: networks of the experiment, and one variant for each other knob, beside one kernel."""

    def word(generator: np.random.Generator) -> str:
        laws = {**networks, "ntk_init": kernel}
        alike = spread * normal(generator, (6, len(SIZES)))
        errors = {n: v * np.exp(alike + spread * normal(generator, (6, len(SIZES)))) for n, v in laws.items()}
        base = planted(template("ntk_init"), {name: errors[name] for name in ("network", "ntk_init")})
        variants = {}
        for name, change in KNOBS.items():
            cube = planted(base, {"network": errors[name]}).cube
            variants[name] = settings(n_train=tuple(SIZES.tolist()), variant_of=base.name, **change), cube
        return judged("B2", "scaling_laws", Evidence(base.name, base.settings, base.cube, variants=variants))

    return word


def shared_draws(network: np.ndarray, kernel: np.ndarray, *, shared: float, spread: float = 0.05):
    """B1 on draws with samples in common, whose effects on how steep a curve is spread by so much."""
    steep = np.linspace(1.0, -1.0, len(SIZES))[:, None]

    def word(generator: np.random.Generator) -> str:
        found = template("ntk_init")
        cube = found.cube.copy()
        n_folds = cube.sizes["test_fold"]
        for name, truth in (("network", network), ("ntk_init", kernel)):
            common = shared * steep * generator.standard_normal(n_folds)
            own = spread * generator.standard_normal((6, len(SIZES), n_folds))
            errors = truth[:, None] * np.maximum(1.0 + np.sqrt(n_folds) * (common + own), 0.01)
            folds = errors.swapaxes(0, 1)[None, None, None, :, :, None]
            if name != "network":
                folds = np.stack([folds, folds], -2)
            dims = CELL if name == "network" else KERNEL
            cube[f"test_mse_folds_{name}"] = (*dims, "test_fold"), folds
            cube[f"test_mse_{name}"] = dims, folds.mean(-1)
        cube["shared_test"], cube["shared_train"] = 0.2, ("n_train", SIZES / 5000)
        return judged("B1", "scaling_laws", Evidence(found.name, found.settings, cube))

    return word


def infinite(network: np.ndarray, kernel: np.ndarray, **keys: object):
    return curves("B1∞", {"network": network, "infinite_ntk": kernel}, **keys)


def varied(*exponents: float) -> dict[str, np.ndarray]:
    """Laws of the experiment's networks, exponent .9, and of the variants'."""
    return {"network": law(0.9), **{name: law(exponent) for name, exponent in zip(KNOBS, exponents, strict=True)}}


def gaps(growth: float, shrinkage: float):
    """B3: the kernel's error over the network's grows with n, and falls from width 16 to 64, by these factors."""
    last = np.linspace(0.0, 1.0, len(SIZES))
    ratio = np.stack([growth**last, growth**last / shrinkage])[None, :, None, :, None, None]

    def word(generator: np.random.Generator) -> str:
        found = template("ntk_init", width=(16, 64))
        cube = found.cube.copy()
        level = law(0.5)[:, None, None] * np.exp(0.05 * generator.standard_normal((1, 2, 1, len(SIZES), 6, 1)))
        network, kernel = (level * np.exp(0.03 * generator.standard_normal(level.shape)) for _ in range(2))
        cube["test_mse_network"] = CELL, network
        cube["test_mse_ntk_init"] = KERNEL, np.stack([ratio * kernel] * 2, -1)
        return judged("B3", "scaling_laws", Evidence(found.name, found.settings, cube))

    return word


def evolving(slope: float, turn: float):
    """B6: slope of the log error of regression with Θ_t in log t, and velocities by which the kernel turns by so much.

    The turn is planted where it is small, and scatters from draw to draw.
    """

    def word(generator: np.random.Generator) -> str:
        found = evidence(FEATURES, generator, slope=slope, turn=turn, noise=0.3, predictors=("ntk_epochs",))
        velocity = found.cube["kernel_velocity"]
        scatter = np.exp(0.3 * generator.standard_normal(velocity.isel(epoch=0).shape))
        found.cube["kernel_velocity"] = velocity * scatter[..., None] ** 2  # angles go with the root
        return judged("B6", "scaling_laws", found)

    return word


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
    World("B1", "by the margin, draws share samples", shared_draws(law(0.45), law(0.4), shared=0.02), THRESHOLD),
    World("B1∞", "equal exponents", infinite(law(0.5), law(0.5)), REJECTED),
    World("B1∞", "better by the margin, .05", infinite(law(0.45), law(0.4)), THRESHOLD),
    World("B1∞", "better by .4", infinite(law(0.8), law(0.4)), SUPPORTED, powerful=True),
    World("B1∞", "equal exponents .6, floors .01 and .06", infinite(law(0.6, 0.01), law(0.6, 0.06)), REJECTED),
    World("B2", "one of three variants has the kernel's exponent", robust(varied(0.9, 0.9, 0.4), law(0.4)), REJECTED),
    World("B2", "all better by the margin", robust(varied(0.45, 0.45, 0.45), law(0.4)), THRESHOLD),
    World("B2", "one better by the margin", robust(varied(0.9, 0.9, 0.45), law(0.4)), THRESHOLD),
    World("B2", "all better by .5", robust(varied(0.9, 0.9, 0.9), law(0.4)), SUPPORTED),
    World("B3", "no advantage at any n or width", gaps(1.0, 1.0), REJECTED),
    World("B3", "growth at 1.1", gaps(1.1, 1.5), THRESHOLD),
    World("B3", "both at twice the threshold", gaps(1.21, 1.21), SUPPORTED),
    World("B4", "better by the margin", curves("B4", {"network": law(0.45), _PRETRAINED: law(0.4)}), THRESHOLD),
    World("B4", "equal exponents .6, floors .01 and .06",
          curves("B4", {"network": law(0.6, 0.01), _PRETRAINED: law(0.6, 0.06)}), REJECTED),
    World("B5", "as good a kernel at the largest n as at m",
          curves("B5", {"network": law(0.9), "ntk_final": law(0.5), _PRETRAINED: law(0.5)}), REJECTED),
    World("B5", "better by the threshold at the largest n",
          curves("B5", {"network": law(0.9), "ntk_final": law(0.5), _PRETRAINED: 1.1 * law(0.5)}), THRESHOLD),
    World("B5", "exponent larger by the margin",
          curves("B5", {"network": law(0.55), "ntk_final": law(0.5), _PRETRAINED: 2.0 * law(0.5)}), THRESHOLD),
    World("B6", "error and kernel at rest", evolving(0.0, 0.01), REJECTED),
    World("B6", "slope at −.05", evolving(-0.05, 0.5), THRESHOLD),
    World("B6", "turn at .1", evolving(-0.5, 0.1), THRESHOLD),
    World("B6", "both far beyond", evolving(-0.3, 0.4), SUPPORTED, powerful=True),
    *(
        World("B7", f"ratio {ratio:g} at every n",
              curves("B7", {"network": ratio * law(0.5), "ntk_final": law(0.5)}, spread=0.085), right)
        for ratio, right in ((1.0, SUPPORTED), (1.25, THRESHOLD), (1.5, REJECTED))
    ),
)  # fmt: skip
