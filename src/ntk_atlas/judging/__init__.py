"""The judge of claims: evidence, estimates and decisions, the verdicts of an experiment and of a study."""

_HOMES = {
    "COLUMNS": "verdicts",
    "Comparison": "decision",
    "Decision": "decision",
    "Evidence": "evidence",
    "JUDGED": "join",
    "Measurement": "measurement",
    "NotJudgedError": "decision",
    "Region": "decision",
    "SeedsError": "verdicts",
    "Word": "decision",
    "at_largest_n": "networks",
    "cell": "evidence",
    "cell_estimate": "networks",
    "cell_median": "networks",
    "decide": "decision",
    "decide_any": "decision",
    "holm": "decision",
    "inputs_text": "dispersion",
    "join_verdicts": "join",
    "judge": "verdicts",
    "judge_experiment": "verdicts",
    "layer_change_table": "layer_changes",
    "measured": "verdicts",
    "need_settings": "evidence",
    "places": "evidence",
    "ratio_estimate": "networks",
    "read_evidence": "evidence",
    "read_verdicts": "join",
    "remarks": "measurement",
    "settled_depths": "evidence",
    "verdict_table": "verdicts",
    "with_replicates": "power",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
