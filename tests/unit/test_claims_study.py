"""Thresholds as a file, claims over several experiments, the table on disk, and the figure."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.colors import to_rgb
from synthetic_claims import BROKEN, HOLDS, synthetic_evidence

from ntk_atlas.claims import CLAIMS
from ntk_atlas.config import FigureSettings, StudySettings
from ntk_atlas.figures.parts import plot_claims
from ntk_atlas.judging import join_verdicts, judge_experiment, read_verdicts, verdict_table
from ntk_atlas.study import ConfigError, consistency_problems, load_thresholds

FILE = Path(__file__).parents[2] / "config" / "claims" / "finite_width.yaml"
THRESHOLDS = load_thresholds(FILE)


def changed(folder: Path, change) -> Path:
    content = {"shared": {}} | THRESHOLDS.model_dump(mode="json", by_alias=True, exclude_none=True)
    change(content)
    path = folder / "thresholds.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def table(world=BROKEN, name="planted", **keys) -> pd.DataFrame:
    found = synthetic_evidence(world, np.random.default_rng(0), name=name, **keys)
    return verdict_table(judge_experiment(found, THRESHOLDS))


def seventh(tables: dict[str, pd.DataFrame], **activations: str) -> pd.Series:
    joined = join_verdicts(list(tables.values()), activations, THRESHOLDS)
    (row,) = [row for row in joined.itertuples() if row.claim == "A7"]
    return row


def test_one_rejected_part_rejects_the_claim_about_both_activations_whatever_is_missing():
    rejected = table().assign(verdict="supported")
    rejected.loc[rejected["claim"] == "A3", "verdict"] = "not supported"
    found = seventh({"a": rejected}, planted="relu")
    assert found.verdict == "not supported" and found.reason.startswith("not supported: A3 for relu")
    assert seventh({"a": rejected.assign(verdict="supported")}, planted="relu").verdict == "not run"


def test_the_studys_own_file_has_every_claim_with_its_reason():
    claims = THRESHOLDS.claims.by_name()
    assert list(claims) == [*(f"A{i}" for i in range(1, 8)), *(f"A'{i}" for i in range(1, 5))]
    assert all(claims["A3"].drift.value >= 2 * claims[name].drift.value for name in ("A4",)), "a gap between the two"


def test_every_verdict_says_where_its_claim_stands_as_its_file_does():
    written = {head.label: head.source for head in map(CLAIMS.head, CLAIMS.names())}
    assert all(written.values())
    assert dict(zip(*table()[["claim", "source"]].to_numpy().T, strict=True))["A'4"] == written["A'4"]
    assert seventh({"a": table()}, a="relu").source == written["A7"]


def test_a_file_of_thresholds_has_what_differs_from_the_claims_files(tmp_path):
    path = tmp_path / "thresholds.yaml"
    chosen = "chosen_with: {seeds: [0], note: none of them was run}\n"
    path.write_text(f"{chosen}claims: {{A2: {{growth: {{value: 2.0, reason: twice as much}}}}, A3: {{}}}}\n")
    given = load_thresholds(path).claims.by_name()
    assert list(given) == ["A2", "A3"]
    assert (
        given["A2"].growth.value == 2.0 and given["A2"].log_variance == THRESHOLDS.claims.by_name()["A2"].log_variance
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["claims"]["A2"].update(grow=1), r"claims\.A2\.grow: unknown key; did you mean `growth`"),
        (lambda c: c["claims"].update({"A'5": {}}), r"claims\.A'5: unknown key; .*A'1, A'2"),
        (lambda c: c["claims"]["A'2"]["growth"].pop("reason"), r"claims\.A'2\.growth\.reason: is required"),
        (lambda c: c["claims"]["A3"]["drift"].update(value="much"), r"claims\.A3\.drift\.value: .*'much'"),
        (lambda c: c["chosen_with"].update(seeds=[]), r"chosen_with\.seeds: is empty"),
        (lambda c: c.update(confidence=1.5), r"confidence: .*less than 1"),
    ],
)
def test_what_is_wrong_with_a_file_is_a_sentence_with_its_key(tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        load_thresholds(changed(tmp_path, change))


def test_no_file_and_no_mapping(tmp_path):
    with pytest.raises(ConfigError, match="there is no file of thresholds"):
        load_thresholds(tmp_path / "none.yaml")
    broken, text = tmp_path / "broken.yaml", tmp_path / "text.yaml"
    broken.write_text("claims: [1\n")
    text.write_text("claims\n")
    with pytest.raises(ConfigError, match=r"broken\.yaml, line 2: is not YAML"):
        load_thresholds(broken)
    with pytest.raises(ConfigError, match=r"text\.yaml, line 1: is a single value: write sections"):
        load_thresholds(text)


def test_the_digest_is_of_values_and_not_of_formatting(tmp_path):
    assert load_thresholds(changed(tmp_path, lambda c: c.pop("shared"))).digest() == THRESHOLDS.digest()
    other = load_thresholds(changed(tmp_path, lambda c: c["claims"]["A3"]["drift"].update(value=0.3)))
    assert other.digest() != THRESHOLDS.digest() and len(other.digest()) == 16


def test_a_study_with_claims_is_checked_before_it_runs():
    def problems(seed: int, claims: str) -> list[str]:
        one = {
            "grid": {"depth": [1], "width": [4], "init_scale": [2.0], "n_train": [8]},
            "training": {"seed": seed},
            "dispersion": {"depth": [2], "width": [8], "seed": seed},
        }
        study = StudySettings.model_validate({"experiments": {"one": one}, "claims": claims})
        return [f"{'.'.join(map(str, p.key))}: {p.message}" for p in consistency_problems(study)]

    assert not problems(101, str(FILE))
    (conflict,) = problems(THRESHOLDS.chosen_with.seeds[0], str(FILE))
    assert conflict.startswith("experiments.one.training.seed: 0 is among the seeds that chose the thresholds")
    (missing,) = problems(101, "nowhere.yaml")
    assert missing.startswith("claims: there is no file of thresholds nowhere.yaml")


def test_a7_needs_both_activations():
    both = {"r": table(name="r"), "s": table(name="s", network={"activation": "sigmoid"})}
    found = seventh(both, r="relu", s="sigmoid")
    assert (found.verdict, found.value, found.n) == ("supported", 6.0, 2)
    assert seventh({"r": both["r"]}, r="relu").verdict == "not run"
    assert "A2 for sigmoid" in seventh({"r": both["r"]}, r="relu").reason
    assert seventh(both, r="relu", s="tanh").verdict == "not run"


def test_a7_counts_rejections_and_disagreement():
    good = {"r": table(name="r"), "s": table(name="s", network={"activation": "sigmoid"})}
    bad = {"s": table(HOLDS, name="s", network={"activation": "sigmoid"})}
    found = seventh(good | bad, r="relu", s="sigmoid")
    assert found.verdict == "not supported" and "A2 for sigmoid" in found.reason and found.value == 4.0
    mixed = seventh(good | {"t": bad["s"].assign(experiment="t")}, r="relu", s="sigmoid", t="sigmoid")
    assert mixed.verdict == "inconclusive" and "A3 for sigmoid" in mixed.reason


def test_a7_joins_experiments_with_targets_of_one_size():
    """Networks whose targets are as large as their outputs say nothing of A3 and A4 at targets of size one."""
    good = {"r": table(name="r"), "s": table(name="s", network={"activation": "sigmoid"})}
    bad = {"f": table(HOLDS, name="f").query("claim != 'A2'")}
    activations = {"r": "relu", "s": "sigmoid", "f": "relu"}
    scales = {"r": "unit", "s": "unit", "f": "initial_output"}
    joined = join_verdicts(list((good | bad).values()), activations, THRESHOLDS, scales)
    one, other = joined.loc[joined["claim"] == "A7"].itertuples()
    assert (one.experiment, one.verdict) == ("all experiments, targets of size one", "supported")
    assert (other.experiment, other.verdict) == ("all experiments, targets of the size of f₀", "not supported")
    assert "not supported: A3 for relu; no experiment judges A3 for sigmoid" in other.reason


def test_a7_leaves_out_experiments_to_which_phases_do_not_apply():
    good = {"r": table(name="r"), "s": table(name="s", network={"activation": "sigmoid"})}
    flat = table(HOLDS, name="flat", network={"parameterization": "ntk"})
    assert set(flat.set_index("claim").loc[["A2", "A4"], "verdict"]) == {"not applicable"}
    assert seventh(good | {"flat": flat}, r="relu", s="sigmoid", flat="relu").verdict == "supported"


def test_a7_takes_parts_from_several_experiments():
    initial = table(name="a")
    initial.loc[initial["claim"] == "A3", "verdict"] = "inconclusive"
    later = table(name="b", dispersion=False)
    sigmoid = table(name="s", network={"activation": "sigmoid"})
    tables = {"a": initial, "b": later, "s": sigmoid}
    assert seventh(tables, a="relu", b="relu", s="sigmoid").verdict == "supported"


def test_tables_survive_the_disk_and_are_joined_in_order(tmp_path):
    first, second = table(name="b"), table(HOLDS, name="a", dataset={"source": "diabetes"}, dispersion=False)
    tables = []
    for name, verdicts in (("b", first), ("a", second)):
        verdicts.to_csv(tmp_path / f"{name}.csv", index=False, float_format="%.6g")
        tables.append(read_verdicts(tmp_path / f"{name}.csv"))
    joined = join_verdicts(tables, {"a": "relu", "b": "relu"}, THRESHOLDS)
    assert list(dict.fromkeys(joined["claim"])) == list(THRESHOLDS.claims.by_name())
    assert len(joined) == len(first) + len(second) + 1
    text = joined[["threshold", "variables", "reason"]]
    assert text.map(lambda value: isinstance(value, str)).all(axis=None)
    np.testing.assert_allclose(tables[0]["value"], first["value"], rtol=1e-5)


def test_the_figure_shows_every_claim_its_interval_and_its_verdict_in_words():
    verdicts = table(HOLDS, dataset={"source": "diabetes"}, draws=4)
    figure = plot_claims(verdicts, FigureSettings())
    assert len(figure.axes) == len(verdicts)
    for ax, row in zip(figure.axes, verdicts.itertuples(), strict=True):
        written = " ".join(text.get_text() for text in ax.texts)
        assert row.claim in written and row.verdict in written.lower()
        drawn = {line.get_gid(): line for line in ax.lines}
        if np.isfinite(row.value):
            assert drawn["value"].get_xdata() == [row.value]
            if not np.isfinite([row.low, row.high]).all():
                assert row.claim in ("A1", "A3", "A4", "A5", "A'3"), "medians of four draws have no interval"
                continue
            np.testing.assert_allclose(drawn["interval"].get_xdata(), [row.low, row.high])
            inner = drawn["interval of this data set"]
            np.testing.assert_allclose(inner.get_xdata(), [row.low_this_data, row.high_this_data])
            assert inner.get_linewidth() > drawn["interval"].get_linewidth()
            near = f"nearness {row.nearness:.2g}" in written
            assert near == np.isfinite(row.nearness), "four draws are near to nothing"
            low, high = ax.get_xlim()
            assert low < min(row.low, 0.0) and row.high < high
            assert {"threshold"} <= set(drawn), "bounds are lines"
        else:
            assert not drawn and "classes" in written.replace("\n", " ")
    title = figure._suptitle.get_text()
    assert "not supported" in title and "inconclusive" in title


def test_the_figure_is_grey():
    figure = plot_claims(table(), FigureSettings())
    colors = [line.get_color() for ax in figure.axes for line in ax.lines]
    assert all(max(to_rgb(c)) - min(to_rgb(c)) < 1e-9 for c in colors)
    words = {"supported": "o", "not supported": "X"}
    for ax in figure.axes:
        (value,) = [line for line in ax.lines if line.get_gid() == "value"]
        assert value.get_marker() == words["supported"]


def test_a_figure_of_nothing():
    assert plot_claims(table().iloc[:0], FigureSettings())._suptitle.get_text().startswith("Claims: none judged")
