"""The verdicts of all experiments in one table, and claims that need several of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ntk_atlas.config.claims import CLAIMS, Thresholds, claim_head
from ntk_atlas.judging.verdicts import COLUMNS, verdict_table

JUDGED = ("supported", "not supported", "inconclusive")
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
    """The verdicts of a study, those of claims over several experiments among them.

    Args:
        tables: `claims.csv` of each experiment.
        activations: activation of each experiment's networks, by name of the experiment.
        thresholds: of the claims.
        target_scales: `training.target_scale` of each experiment, by name; `unit` where it has none.

    Returns:
        All rows, by claim and experiment, with those over several experiments.
    """
    scales = target_scales or {}
    joined = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)
    for key, settings in thresholds.claims.by_name().items():
        claim = claim_head(key)
        if claim.over_experiments:
            verdicts = CLAIMS.work(claim.name, "join")(joined, activations, scales, settings, thresholds)
            joined = pd.concat([joined, verdict_table(verdicts)], ignore_index=True)
    order = {name: i for i, name in enumerate(claim_head(key).label for key in thresholds.claims.by_name())}
    return joined.sort_values(
        "claim", kind="stable", key=lambda names: names.map(lambda name: order.get(name, len(order)))
    ).reset_index(drop=True)
