"""The verdicts on an experiment, one a claim with thresholds; the table of all experiments, and claims across them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pandas as pd

from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.config.thresholds import CLAIMS, Claim, ClaimSettings, Thresholds, claim_head
from ntk_atlas.judging.decision import Measurement, NotJudgedError, Region, Word, decide, decide_any
from ntk_atlas.judging.evidence import Evidence, need_settings
from ntk_atlas.study.config_files import seed_conflict


class SeedsError(ValueError):
    """An experiment judged on networks that chose its thresholds."""


@dataclass(frozen=True)
class Verdict:
    """One row of `claims.csv`.

    Attributes:
        claim: `A1`, …
        experiment: name of the experiment.
        statement: the claim in one sentence.
        statistic: what is measured, in words.
        value: the number that the verdict turns on, that of the comparison furthest from holding.
        low: low end of its interval for new data of this kind, which the verdict is judged by.
        high: high end.
        low_this_data: low end of its interval for this data set, over further draws of the same samples.
        high_this_data: high end.
        nearness: how far the verdict is from another word, in half-widths of the interval that decides
            (`decide.nearness_of`).
        threshold: where the claim says it lies, in words.
        verdict: supported, not supported, inconclusive, not run or not applicable.
        reason: why, in one sentence.
        variables: variables of the files that were used.
        n: replicates behind the value.
        lower: lower bound of the region, NaN if there is none.
        upper: upper bound.
        outside: whether the region lies beyond the bounds instead of between them.
        thresholds: digest of the thresholds.
        source: where the statement stands in the literature.
    """

    claim: str
    experiment: str
    statement: str
    statistic: str
    value: float
    low: float
    high: float
    low_this_data: float
    high_this_data: float
    nearness: float
    threshold: str
    verdict: Word
    reason: str
    variables: str = ""
    n: int = 0
    lower: float = math.nan
    upper: float = math.nan
    outside: bool = False
    thresholds: str = ""
    source: str = ""


COLUMNS = [field.name for field in fields(Verdict)]


def check_seeds(name: str, experiment: ExperimentSettings, thresholds: Thresholds) -> None:
    """Checks that an experiment's networks are not those that the thresholds were chosen with.

    Args:
        name: name of the experiment.
        experiment: its settings.
        thresholds: thresholds, with the seeds that chose them.

    Raises:
        SeedsError: naming the key of the seed.
    """
    conflict = seed_conflict(experiment, thresholds)
    if conflict:
        raise SeedsError(f"experiments.{name}.{conflict[0]}: {conflict[1]}")


def judge_experiment(evidence: Evidence, thresholds: Thresholds) -> list[Verdict]:
    """Judges the claims that have thresholds and that a single experiment can support.

    Args:
        evidence: what the experiment offers.
        thresholds: thresholds, with the seeds that chose them.

    Returns:
        One verdict a claim, the built-in ones in the order of their names.

    Raises:
        SeedsError: if the experiment's networks are those that the thresholds were chosen with.
    """
    check_seeds(evidence.name, evidence.settings, thresholds)
    given = [(claim_head(key), settings) for key, settings in thresholds.claims.by_name().items()]
    return [judge(claim, evidence, settings, thresholds) for claim, settings in given if not claim.over_experiments]


def measured(claim: Claim, evidence: Evidence, settings: ClaimSettings) -> Measurement:
    """What a claim compares in an experiment.

    Raises:
        NotJudgedError: where the claim cannot be judged, with the reason.
    """
    if not claim.asks_itself:
        need_settings(claim, evidence, settings)
    return CLAIMS.work(claim.name, "measure", passes=(NotJudgedError,))(evidence, settings)


def judge(claim: Claim, evidence: Evidence, settings: ClaimSettings, thresholds: Thresholds) -> Verdict:
    """Judges one claim.

    Args:
        claim: the claim.
        evidence: what the experiment offers.
        settings: thresholds of this claim.
        thresholds: the file they are from; gives confidence and replicates.

    Returns:
        The verdict; a claim that cannot be judged says why.
    """
    head = (claim.label, evidence.name, claim.statement, settings.statistic)
    digest = thresholds.digest()
    try:
        found = measured(claim, evidence, settings)
    except NotJudgedError as reason:
        return Verdict(
            *head, *[math.nan] * 6, "", reason.word, str(reason), thresholds=digest, source=claim.source
        )  # fmt: skip
    decision = (decide_any if found.any_of else decide)(
        found.comparisons,
        confidence=thresholds.confidence,
        least_replicates=thresholds.least_replicates,
        remark=found.remark,
        replicates="draws" if evidence.cube.sizes.get("draw", 1) > 1 else "networks",
    )
    comparison = decision.comparison or found.comparisons[0]
    region: Region = comparison.region
    return Verdict(
        *head,
        decision.value,
        decision.low,
        decision.high,
        decision.low_this_data,
        decision.high_this_data,
        decision.nearness,
        str(region),
        decision.word,
        decision.reason,
        " ".join(found.variables),
        comparison.estimate.n,
        region.lower if math.isfinite(region.lower) else math.nan,
        region.upper if math.isfinite(region.upper) else math.nan,
        region.outside,
        digest,
        claim.source,
    )


def verdict_table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """The verdicts as a table, a row each."""
    return pd.DataFrame([asdict(verdict) for verdict in verdicts], columns=COLUMNS)


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
