"""What each claim needs of an experiment's settings: the plan says what is missing, and the judge in the same words.

A need is a function from what is asked (`Asked`) to what is missing, if anything is. The head of a claim's file lists
its needs; `judging.evidence.need_settings` raises the first that is not met: no condition stands twice.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.config.predictors import EPOCHS, PRETRAINED, known_predictors, predictor_label
from ntk_atlas.config.study import ExperimentSettings, StudySettings
from ntk_atlas.config.thresholds import Claim, ClaimSettings, Thresholds, claim_head
from ntk_atlas.config.training import TrainingSettings
from ntk_atlas.datasets.read import inspect_dataset
from ntk_atlas.dispersion.theory import has_exact_law
from ntk_atlas.optimizers import optimizer
from ntk_atlas.parameterizations import Parameter, parameterization
from ntk_atlas.phases import phase_of
from ntk_atlas.registry import is_own

PHASES = ("ordered", "critical", "chaotic")
KNOBS: dict[str, Callable[[TrainingSettings], object]] = {
    "learning rate": lambda t: (t.learning_rate, t.schedule),
    "batch size": lambda t: t.batch_size,
    "optimizer": lambda t: t.optimizer,
}
"""What B2 varies, and where a training's settings have it."""


class Unmet(NamedTuple):
    """What is missing.

    Attributes:
        word: the verdict that comes of it.
        reason: why, and what to configure.
    """

    word: Literal["not run", "not applicable", "inconclusive"]
    reason: str


@dataclass(frozen=True)
class Asked:
    """An experiment that a claim is asked of.

    Attributes:
        name: of the experiment.
        settings: of the experiment.
        thresholds: of the claim.
        variants: settings of the experiments that are variants of this one, by name.
        phases: names of the phases of the init scales; None where they are not known before data and code are run.
        classes: whether targets are classes.
        files: sections of the experiment whose files are at hand, whatever the settings say.
        run_code: whether parameterizations and optimizers in files of the user's may be run to be asked; a run is
            planned without, and then they count as if they met every need.
    """

    name: str
    settings: ExperimentSettings
    thresholds: ClaimSettings
    variants: Mapping[str, ExperimentSettings] = field(default_factory=dict)
    phases: Sequence[str] | None = None
    classes: bool = True
    files: Sequence[str] = ()
    run_code: bool = True

    def codeless(self, name: str) -> bool:
        """Whether a value cannot be asked, because it is in a file of the user's that is not run here."""
        return is_own(name) and not self.run_code

    def number(self, name: str, default: float) -> float:
        """A threshold of the claim, or what holds for claims that have none of that name."""
        threshold = getattr(self.thresholds, name, None)
        return default if threshold is None else threshold.value


Need = Callable[[Asked], Unmet | None]


def unmet_needs(claim: Claim, asked: Asked) -> list[Unmet]:
    """Everything that a claim lacks in the settings of an experiment, in the order in which it is looked for.

    Args:
        claim: the claim.
        asked: the experiment and the thresholds.

    Returns:
        What is missing; empty if the settings can bear a verdict.
    """
    found = (need(asked) for need in claim.needs)
    return [unmet for unmet in found if unmet is not None]


def replicates(claim: Claim, experiment: ExperimentSettings) -> int:
    """Replicates of a claim's intervals: draws, or the seeds of a single draw where the claim is about networks."""
    grid = experiment.grid
    return grid.draws if grid.draws > 1 or not claim.seeds else grid.seeds


def trains_biases(network: NetworkSettings) -> bool:
    """Whether gradients in the biases are in the NTK of a network."""
    bias = Parameter("hidden", "bias", 1, 1)
    value = parameterization(network.parameterization)
    return network.trainable_biases and value.kernel_factor(bias, network.bias_variance) > 0.0


def has_classes(experiment: ExperimentSettings) -> bool:
    """Whether the targets of an experiment are classes, by its data set."""
    return inspect_dataset(experiment.dataset).task != "regression"


def too_few_text(n: int, fewest: int) -> str:
    """That too few replicates are behind a number, in the words of verdicts."""
    return f"rests on {n} replicate(s), {fewest} are needed"


def claim_notices(study: StudySettings, thresholds: Thresholds) -> list[str]:
    """What the plan says of claims that the study asks for and cannot judge, before anything runs.

    Args:
        study: the study.
        thresholds: the claims that it asks for.

    Returns:
        A sentence for each claim that no experiment can judge, with the reasons, too few replicates among them, and one
        for each claim that has too few replicates somewhere ever to be rejected.
    """
    experiments, given = study.active(), thresholds.claims.by_name()
    variants = {name: {other: of for other, of in experiments.items() if of.variant_of == name} for name in experiments}
    phases = {name: _phases_of(experiment) for name, experiment in experiments.items()}
    classes = {name: has_classes(experiment) for name, experiment in experiments.items()}
    said = []
    for key, settings in given.items():
        claim = claim_head(key)
        if claim.over_experiments or not experiments:
            continue
        lacking: dict[Unmet, list[str]] = {}
        asked_of = {
            name: Asked(name, experiment, settings, variants[name], phases[name], classes[name], run_code=False)
            for name, experiment in experiments.items()
        }
        said += _never_rejected(claim, asked_of.values(), 0.5 * (1.0 - thresholds.confidence))
        for name, experiment in experiments.items():
            unmet = unmet_needs(claim, asked_of[name])
            fewest = thresholds.least_replicates if claim.trained else 0
            n = replicates(claim, experiment)
            if not unmet and n < fewest:
                unmet = [Unmet("inconclusive", f"each number {too_few_text(n, fewest)}: raise grid.draws")]
            if not unmet:
                break
            lacking.setdefault(unmet[0], []).append(name)
        else:
            missing = {unmet: names for unmet, names in lacking.items() if unmet.word != "not applicable"}
            reasons = "; ".join(f"{unmet.reason} ({_listed(names)})" for unmet, names in (missing or lacking).items())
            said.append(f"{claim.label} will not be judged: {reasons}")
    return said


def _never_rejected(claim: Claim, experiments: Iterable[Asked], level: float) -> Iterator[str]:
    """Where a claim on medians has more comparisons than its replicates can reject one of.

    A median of n replicates has a p value of 2⁻ⁿ or more, and Holm's first step asks for level/(number of comparisons).
    """
    if claim.medians is None:
        return
    for asked in experiments:
        if unmet_needs(claim, asked):
            continue
        n, family = replicates(claim, asked.settings), claim.medians(asked)
        if family and family * 0.5**n > level:
            fewest = math.ceil(math.log2(family / level))
            yield (
                f"{claim.label} can be supported and never rejected in {asked.name}: Holm's correction for up to "
                f"{family} comparisons asks more of a median than {n} replicates can show: raise grid.draws to "
                f"{fewest}, or lower the number of ordered cells"
            )


def _phases_of(experiment: ExperimentSettings) -> tuple[str, ...] | None:
    network = experiment.network
    if network.family.without_phases() or is_own(network.activation):
        return None
    return tuple(phase_of(network, scale).name for scale in experiment.grid.init_scale)


def _listed(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def section(name: str, reason: str) -> Need:
    """A section of the experiment, or its file."""

    def need(asked: Asked) -> Unmet | None:
        there = name in asked.files or getattr(asked.settings, name) is not None
        return None if there else Unmet("not run", reason)

    return need


def differing_phases(*phases: str) -> Need:
    """Phases that a claim compares: known, different in the kernel, and on the grid."""

    def need(asked: Asked) -> Unmet | None:
        network = asked.settings.network
        if reason := network.family.without_phases():
            return Unmet("not applicable", reason)
        if not asked.codeless(network.parameterization) and not trains_biases(network):
            return Unmet(
                "not applicable",
                "with σ_b = 0 under NTK parameterization, or without trainable biases, no bias gradient is in the "
                "kernel, and only through them do the phases differ",
            )
        present = list(dict.fromkeys(asked.phases or ()))
        if len(present) == 1:
            return Unmet("not applicable", f"all init scales are {present[0]}: there are no phases to compare")
        return _missing_phases(asked, phases)

    return need


def some_phases(*phases: str) -> Need:
    """Phases on the grid, whether or not the kernel at initialization tells them apart."""

    def need(asked: Asked) -> Unmet | None:
        if reason := asked.settings.network.family.without_phases():
            return Unmet("not applicable", reason)
        return _missing_phases(asked, phases)

    return need


def _missing_phases(asked: Asked, phases: Sequence[str]) -> Unmet | None:
    missing = [phase for phase in phases if asked.phases is not None and phase not in asked.phases]
    return Unmet("not run", f"no init scale is {' or '.join(missing)}: add one to grid.init_scale") if missing else None


def settled_comparisons(asked: Asked) -> int:
    """Comparisons of a claim on all ordered cells that have settled, M L χ₁^L at most `unsettled` at ‖x‖² = n₀.

    One of each cell of untrained networks, two of each cell of trained ones: at the last epoch and at equal loss.
    """
    experiment, most = asked.settings, asked.number("unsettled", math.inf)
    if asked.phases is None:
        return 0
    found = 0
    for scale, phase in zip(experiment.grid.init_scale, asked.phases, strict=True):
        if phase != "ordered":
            continue
        chi_1 = phase_of(experiment.network, scale).chi_1
        for cells, each in ((experiment.dispersion, 1), (experiment.grid, 2)):
            if cells is not None:
                layers = [depth + 1 for depth in cells.depth]
                found += each * sum(width * n * chi_1**n <= most for width in cells.width for n in layers)
    return found


def settling_phase(asked: Asked) -> Unmet | None:
    """A phase in which training shows: critical or chaotic; a family that does not tell its phases is not asked."""
    if asked.settings.network.family.without_phases() or asked.phases is None:
        return None
    if {"critical", "chaotic"} & set(asked.phases):
        return None
    return Unmet("not run", "no init scale is critical or chaotic: add one to grid.init_scale")


def classes(asked: Asked) -> Unmet | None:
    """Data with classes."""
    if asked.classes:
        return None
    return Unmet("not applicable", "class blocks need classes, and these data are a regression task")


def fair_training(asked: Asked) -> Unmet | None:
    """An optimizer that does not rescale vanishing gradients, at several learning rates."""
    training = asked.settings.training
    if not asked.codeless(training.optimizer) and optimizer(training.optimizer).normalizes_gradients():
        name = training.optimizer
        return Unmet("not run", f"{name} rescales vanishing gradients and hides the claim: use sgd or momentum")
    if not isinstance(training.learning_rate.relative, tuple):
        return Unmet(
            "not run",
            "one learning rate cannot tell untrainable from ill chosen: give training.learning_rate.relative several",
        )
    return None


def several(axis: str) -> Need:
    """Two values or more on an axis of the grid."""

    def need(asked: Asked) -> Unmet | None:
        if len(getattr(asked.settings.grid, axis)) > 1:
            return None
        return Unmet("not run", f"there is one {axis} only: add some to grid.{axis}")

    return need


def two_depths_everywhere(asked: Asked) -> Unmet | None:
    """Two depths or more, of trained and of untrained networks."""
    sections = [asked.settings.grid, *([asked.settings.dispersion] if asked.settings.dispersion else [])]
    if min(len(section.depth) for section in sections) > 1:
        return None
    return Unmet("not run", "there is one depth only: add some to grid.depth and dispersion.depth")


def depths_to_grow_over(asked: Asked) -> Unmet | None:
    """Two depths of untrained networks, over which variability can grow."""
    section = asked.settings.dispersion
    if section is None or len(section.depth) > 1:
        return None
    return Unmet("not run", "growth needs two depths: add some to dispersion.depth")


def two_cells(asked: Asked) -> Unmet | None:
    """Two depths or two widths."""
    grid = asked.settings.grid
    if len(grid.depth) > 1 or len(grid.width) > 1:
        return None
    return Unmet("not run", "one depth and one width: add some to grid.depth or grid.width")


def deep_networks(*sections: str) -> Need:
    """Networks deep enough for a claim about depth: λ = (depth + 1)/width of the deepest and narrowest cell."""

    def need(asked: Asked) -> Unmet | None:
        for section in sections:
            cells = getattr(asked.settings, section)
            if cells is None:
                continue
            ratio = (max(cells.depth) + 1) / min(cells.width) if max(cells.depth) else 0.0
            if ratio < asked.number("least_lambda", 0.0):
                return Unmet("not run", no_deep_networks(ratio, asked.number("least_lambda", 0.0)))
        return None

    return need


def no_deep_networks(ratio: float, least_lambda: float) -> str:
    """That the deepest cell is not deep, in words."""
    return (
        f"no deep networks: the largest λ = (depth + 1)/width is {ratio:.2g}, the claim is about {least_lambda:g} "
        "and more: add deeper or narrower networks"
    )


def exact_law(asked: Asked) -> Unmet | None:
    """Networks whose exact law is known."""
    if has_exact_law(asked.settings.network):
        return None
    return Unmet("not applicable", "the exact law is known for ReLU networks with σ_b = 0 only")


def own_curves(asked: Asked) -> Unmet | None:
    """Learning curves of an experiment that is no variant of another."""
    variant_of = asked.settings.variant_of
    if variant_of is None:
        return None
    return Unmet("not applicable", f"a variant of {variant_of}, which is judged with it by B2")


def own_widths(asked: Asked) -> Unmet | None:
    """Curves of its own, or a variant that varies the width: that one is what the claim is about."""
    return None if len(asked.settings.grid.width) > 1 else own_curves(asked)


def sizes_of_a_law(asked: Asked) -> Unmet | None:
    """As many n_train as a law needs, of those that the fit range rule leaves."""
    experiment, fewest = asked.settings, asked.number("least_sizes", 2)
    n = sum(size >= experiment.scaling.n_train_min for size in experiment.grid.n_train)
    if n >= fewest:
        return None
    return Unmet(
        "not run", f"{n} n_train from scaling.n_train_min on, a law needs {fewest:g}: add some to grid.n_train"
    )


def predictor(*names: str) -> Need:
    """Kernels that are regressed on."""

    def need(asked: Asked) -> Unmet | None:
        missing = [name for name in names if name not in asked.settings.regression.predictors]
        if not missing:
            return None
        label = predictor_label(missing[0])
        return Unmet("not run", f"no regression with the {label}: add {missing[0]} to regression.predictors")

    return need


def pretrained_kernels(words: str) -> Need:
    """Kernels trained on m samples, with enough n ≥ m for a law."""

    def need(asked: Asked) -> Unmet | None:
        names = [name for name in asked.settings.regression.predictors if name.startswith(PRETRAINED)]
        if not names:
            return Unmet("not run", f"no kernel was trained on {words}: add {PRETRAINED}<m> to predictors")
        return None

    return need


def sizes_above_pretrained(asked: Asked) -> Unmet | None:
    """As many n ≥ m as a law needs, for every kernel trained on m samples."""
    settings, fewest = asked.settings, asked.number("least_sizes", 2)
    for name in settings.regression.predictors:
        if name.startswith(PRETRAINED):
            least = max(settings.scaling.n_train_min, int(name.removeprefix(PRETRAINED)))
            n = sum(size >= least for size in settings.grid.n_train)
            if n < fewest:
                return Unmet(
                    "not run",
                    f"{n} n_train from {name.removeprefix(PRETRAINED)} on, {fewest:g} are needed: add larger ones to "
                    f"grid.n_train, or take a smaller m than that of {name}",
                )
    return None


def varied_knobs(
    base: ExperimentSettings, variants: Mapping[str, ExperimentSettings], *, least_sizes: float
) -> dict[str, list[str]]:
    """What each variant's training changes of `KNOBS`, by name; those that change none, or have no law, are left out.

    A variant has a law if its n_train in the fit range are as many as `least_sizes`.
    """
    varied = {}
    for name, other in variants.items():
        sizes = [n for n in other.grid.n_train if n in base.grid.n_train and n >= base.scaling.n_train_min]
        knobs = [knob for knob, of in KNOBS.items() if of(other.training) != of(base.training)]
        if knobs and len(sizes) >= least_sizes:
            varied[name] = knobs
    return varied


def varied_training(asked: Asked) -> Unmet | None:
    """Variants in learning rate, batch size and optimizer, each in the same cells."""
    varied = varied_knobs(asked.settings, asked.variants, least_sizes=asked.number("least_sizes", 2))
    missing = [knob for knob in KNOBS if not any(knob in knobs for knobs in varied.values())]
    if missing:
        return Unmet(
            "not run", f"no variant has another {', '.join(missing)}: add experiments that are `variant_of` this one"
        )
    grid = asked.settings.grid
    for name in varied:
        other = asked.variants[name].grid
        if (other.depth, other.width, other.init_scale) != (grid.depth, grid.width, grid.init_scale):
            return Unmet(
                "not run", f"{name} has other depths, widths or init scales: leave the grid of a variant alone"
            )
    return None


def at_constant_rate(experiments: Mapping[str, ExperimentSettings]) -> str:
    """The first experiment that trains at a constant rate and regresses with the kernels of all checkpoints, or ""."""
    for name, settings in experiments.items():
        if EPOCHS in settings.regression.predictors and settings.training.schedule == "constant":
            return name
    return ""


def checkpoints_at_constant_rate(asked: Asked) -> Unmet | None:
    """Kernels of all checkpoints, of networks trained at a constant rate: the experiment's own or a variant's."""
    if at_constant_rate({asked.name: asked.settings, **asked.variants}):
        return None
    if any(EPOCHS in other.regression.predictors for other in (asked.settings, *asked.variants.values())):
        return Unmet(
            "not run",
            "a schedule brings the learning rate to 0, and the kernel comes to rest with it: train at a constant "
            f"rate, here or in an experiment with variant_of: {asked.name}, training.schedule: constant and {EPOCHS}",
        )
    return Unmet("not run", f"no regression with the kernels of all checkpoints: add {EPOCHS} to predictors")


def around_zero(asked: Asked) -> Unmet | None:
    """Kernels that predict around zero."""
    if asked.settings.regression.predictor_center != "network":
        return None
    return Unmet("not run", "kernels predict around the network, which matches by construction: use zero")


def outside_the_theorem(settings: ExperimentSettings, *, run_code: bool = True) -> str:
    """What of a training the theorem of equivalence does not cover, in words; empty if it covers all of it.

    Args:
        settings: of the experiment.
        run_code: whether an optimizer in a file of the user's is asked too.
    """
    training = settings.training
    asks = run_code or not is_own(training.optimizer)
    chosen = optimizer(training.optimizer) if asks else None
    found = {
        "cross-entropy": training.loss != "mse",
        chosen.label if chosen else "": chosen is not None and chosen.linearization() is None,
        f"minibatches of {training.batch_size}": training.batch_size != "full",
        "stopped at the best validation error": training.selection == "best_validation",
        "the initial output is kept, whose variance no width takes away": training.initial_output == "keep",
    }
    return ", ".join(words for words, holds in found.items() if holds)


def theorem(asked: Asked) -> Unmet | None:
    """Training that the theorem of equivalence covers."""
    outside = outside_the_theorem(asked.settings, run_code=asked.run_code)
    return Unmet("not applicable", f"the theorem says nothing of these networks: {outside}") if outside else None


def widths_of_a_law(asked: Asked) -> Unmet | None:
    """As many widths as the law of the distance takes."""
    n, fewest = len(asked.settings.grid.width), asked.number("least_widths", 2)
    return None if n >= fewest else Unmet("not run", f"{n} width(s), {fewest:g} are needed: add some to grid.width")


def kept_predictions(asked: Asked) -> Unmet | None:
    """Predictions on test samples that were kept."""
    if asked.settings.regression.keep_predictions:
        return None
    return Unmet("not run", "predictions were not kept: set regression.keep_predictions")


def rivals(asked: Asked) -> Unmet | None:
    """Kernels that know nothing of networks."""
    if set(known_predictors("rival")) & set(asked.settings.regression.predictors):
        return None
    return Unmet("not run", "there are no rivals: add laplace, rbf, ... to regression.predictors")


DISPERSION = section("dispersion", "no untrained networks were sampled: add `dispersion` to the experiment")
OUTPUT_VARIANCE = section(
    "output_variance", "output variances were not asked for: add `output_variance` to the experiment"
)
KERNEL_VARIANTS = section(
    "kernel_variants", "no networks were compared with the variants: add `kernel_variants` to the experiment"
)
