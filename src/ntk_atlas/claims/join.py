"""The verdicts of all experiments in one table, and claims that need several of them: A7."""

import math
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import pandas as pd

from ntk_atlas.claims.decide import Word
from ntk_atlas.claims.judge import COLUMNS, Verdict, verdict_table
from ntk_atlas.claims.measurement import remarks
from ntk_atlas.claims.movement import TARGETS
from ntk_atlas.config.claims.file import Thresholds

JUDGED = ("supported", "not supported", "inconclusive")
_UNIT, _UNTRAINED = "unit", "A2"
_PARTS, _ACTIVATIONS = ("A2", "A3", "A4"), ("relu", "sigmoid")
_STATEMENT = "A2, A3 and A4 hold for ReLU and for sigmoid networks."
_SOURCE = "abstract"
_TEXT = (
    "claim", "experiment", "statement", "statistic", "threshold", "verdict", "reason", "variables", "thresholds",
    "source",
)  # fmt: skip


def read_verdicts(path: Path) -> pd.DataFrame:
    """Reads `claims.csv` of an experiment or a study; empty text stays text."""
    table = pd.read_csv(path, dtype=dict.fromkeys(_TEXT, str), keep_default_na=True)
    return table.fillna(dict.fromkeys(_TEXT, ""))


def join_verdicts(
    tables: Sequence[pd.DataFrame],
    activations: Mapping[str, str],
    thresholds: Thresholds,
    target_scales: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """The verdicts of a study.

    Args:
        tables: `claims.csv` of each experiment.
        activations: activation of each experiment's networks, by name of the experiment.
        thresholds: thresholds; A7 is judged if it stands in them, once for each size of the targets.
        target_scales: `training.target_scale` of each experiment, by name; `unit` where it has none.

    Returns:
        All rows, by claim and experiment, with those over several experiments.
    """
    scales = target_scales or {}
    joined = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)
    settings = thresholds.claims.a7
    if settings is not None:
        n_parts = len(_PARTS) * len(_ACTIVATIONS)
        for scale in sorted({scales.get(name, _UNIT) for name in activations}, reverse=True) or [_UNIT]:
            matching = {name for name in activations if scales.get(name, _UNIT) == scale}
            word, reason, n_supported, n_experiments = _both_activations(joined, activations, matching)
            verdict = Verdict(
                "A7", f"all experiments, {TARGETS[scale]}", _STATEMENT, settings.statistic, n_supported,
                *[math.nan] * 5, f"{n_parts} of {n_parts} supported", word, f"{reason}; {TARGETS[scale]}",
                "verdicts of A2 A3 A4", n_experiments, thresholds=thresholds.digest(), source=_SOURCE,
            )  # fmt: skip
            joined = pd.concat([joined, verdict_table([verdict])], ignore_index=True)
    order = {name: i for i, name in enumerate(thresholds.claims.by_name())}
    return joined.sort_values(
        "claim", kind="stable", key=lambda names: names.map(lambda name: order.get(name, len(order)))
    ).reset_index(drop=True)


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
