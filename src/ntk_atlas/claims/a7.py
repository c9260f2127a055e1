"""A7: what A2, A3 and A4 say holds for ReLU and for sigmoid networks; judged over all experiments of a study."""

from ntk_atlas.claims import Claim

CLAIM = Claim(
    statement="A2, A3 and A4 hold for ReLU and for sigmoid networks.",
    statistic=(
        "Number of A2, A3 and A4 supported by an experiment and rejected by none, for ReLU and for sigmoid networks; "
        "one target scale"
    ),
    compared=(
        (
            (
                "A2, A3, A4 for ReLU and for sigmoid networks: supported by an experiment, rejected by none; once for "
                "each target scale, with A3 and A4 at that scale"
            ),
            "6 of 6",
        ),
    ),
    source="abstract",
    over_experiments=True,
)

import math
from collections.abc import Mapping, Sequence, Set

import pandas as pd

from ntk_atlas.config.thresholds import ClaimSettings, Thresholds
from ntk_atlas.judging.decision import Word, remarks
from ntk_atlas.judging.kernels import TARGETS
from ntk_atlas.judging.verdicts import JUDGED, Verdict

_UNIT, _UNTRAINED = "unit", "A2"
_PARTS, _ACTIVATIONS = ("A2", "A3", "A4"), ("relu", "sigmoid")


def join(
    verdicts: pd.DataFrame,
    activations: Mapping[str, str],
    target_scales: Mapping[str, str],
    settings: ClaimSettings,
    thresholds: Thresholds,
) -> list[Verdict]:
    """The claim once for each size of the targets, from the verdicts of a study's experiments.

    Args:
        verdicts: rows of `claims.csv` of all experiments.
        activations: activation of each experiment's networks, by name of the experiment.
        target_scales: `training.target_scale` of each experiment, by name; `unit` where it has none.
        settings: of this claim.
        thresholds: of all claims.

    Returns:
        The verdicts.
    """
    n_parts, found = len(_PARTS) * len(_ACTIVATIONS), []
    for scale in sorted({target_scales.get(name, _UNIT) for name in activations}, reverse=True) or [_UNIT]:
        matching = {name for name in activations if target_scales.get(name, _UNIT) == scale}
        word, reason, n_supported, n_experiments = _both_activations(verdicts, activations, matching)
        found.append(
            Verdict(
                "A7", f"all experiments, {TARGETS[scale]}", CLAIM.statement, settings.statistic, n_supported,
                math.nan, math.nan, math.nan, math.nan, math.nan, f"{n_parts} of {n_parts} supported", word,
                f"{reason}; {TARGETS[scale]}",
                "verdicts of A2 A3 A4", n_experiments, thresholds=thresholds.digest(), source=CLAIM.source,
            )
        )  # fmt: skip
    return found


def _both_activations(
    joined: pd.DataFrame, activations: Mapping[str, str], matching: Set[str]
) -> tuple[Word, str, float, int]:
    """Verdict, reason, number of supported (activation, claim) pairs and of experiments behind them.

    Verdicts on A3 and A4 count from experiments with targets of one size (`matching`), since the size of the targets
    decides how far a kernel must move; verdicts on A2, which is about untrained networks, count from all experiments.

    An intersection–union test: each of the six must be supported by an experiment and rejected by none. One that is
    rejected and supported by none settles the matter the other way. Experiments to which a part does not apply (NTK
    parameterization without biases) do not count.
    """
    verdicts = {(row.experiment, row.claim): row.verdict for row in joined.itertuples()}
    apply = [e for e in activations if not any(verdicts.get((e, part)) == "not applicable" for part in _PARTS)]
    words, used, lacking = {}, 0, []
    for activation in _ACTIVATIONS:
        experiments = [e for e in apply if activations[e] == activation]
        used += sum(any(verdicts.get((e, part)) in JUDGED for part in _PARTS) for e in experiments)
        for part in _PARTS:
            of_part = [e for e in experiments if part == _UNTRAINED or e in matching]
            found = {verdicts.get((e, part)) for e in of_part} & set(JUDGED)
            words[activation, part] = found
            lacking += [] if found else [(activation, part)]
    supported = [pair for pair, found in words.items() if "supported" in found and "not supported" not in found]
    rejected = [pair for pair, found in words.items() if "not supported" in found and "supported" not in found]
    unjudged = f"no experiment judges {_names(lacking)}" if lacking else ""
    if rejected:
        return "not supported", remarks(f"not supported: {_names(rejected)}", unjudged), float(len(supported)), used
    if lacking:
        return "not run", unjudged, float(len(supported)), used
    if len(supported) == len(words):
        return "supported", "all six are supported", float(len(supported)), used
    open_pairs = [pair for pair in words if pair not in supported]
    return "inconclusive", f"open, or not alike in all experiments: {_names(open_pairs)}", float(len(supported)), used


def _names(pairs: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{part} for {activation}" for activation, part in pairs)
