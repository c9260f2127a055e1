"""Pages of studies and the lines of README are written from results, and README has no number that no page has."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from ntk_atlas.cubes import write_netcdf
from ntk_atlas.judging import judge_experiment, verdict_table
from ntk_atlas.judging.study_page import (
    MARKERS,
    NEAR,
    OPEN_AND_NEAR,
    headlines,
    measured_part,
    readme_markers,
    study_page,
)
from ntk_atlas.study import load_thresholds
from tests.synthetic_claims import BROKEN, synthetic_evidence
from tests.synthetic_cube import synthetic_cube, synthetic_laws

ROOT = Path(__file__).parents[2]
STUDIES = ("digits", "finite_width", "equivalence", "scaling_laws")
PAGE = f"# A study\n\nby hand\n\n{MARKERS[0]}\n\nEARLIER\n\n{MARKERS[1]}\nand after\n"


def numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?", text))


def costs(folder: Path) -> None:
    peak = {"peak memory of a job, MiB": 512.0}
    columns = ("experiment", "rule", "jobs", "wall seconds, sum", "CPU seconds, sum", "wall seconds, longest")
    rows = [("planted", "train_networks", 3, 600.0, 300.0, 240.0), ("planted", "assemble_cube", 1, 4.0, 3.0, 4.0)]
    pd.DataFrame(rows, columns=columns).assign(**peak).to_csv(folder / "cost.csv", index=False)


def unwrapped(page: str) -> str:
    return page.partition(MARKERS[0])[2].partition(MARKERS[1])[0]


def lines_file(study: str) -> Path:
    """The document with the lines of a study: README has those of the default one."""
    return ROOT / ("README.md" if study == "digits" else "docs/studies/README.md")


def test_every_number_of_the_measured_lines_of_readme_stands_in_a_page():
    for study in STUDIES:
        readme, (begin, end) = lines_file(study).read_text(), readme_markers(study)
        assert readme.count(begin) == readme.count(end) == 1
        lines = readme.partition(begin)[2].partition(end)[0]
        page = (ROOT / "docs" / "studies" / f"{study}.md").read_text()
        assert numbers(lines) <= numbers(unwrapped(page)), study


def test_prose_of_readme_states_no_result():
    """Numbers of results are written by the script alone: elsewhere README has no interval, exponent or share."""
    readme = (ROOT / "README.md").read_text()
    begin, end = readme_markers("digits")
    before, _, rest = readme.partition(begin)
    readme = before + rest.partition(end)[2]
    assert not re.findall(r"\d \[\d|n\^−\d|\d\.\d+ %", readme)


def test_a_study_with_claims(tmp_path):
    evidence = synthetic_evidence(BROKEN, np.random.default_rng(3))
    thresholds = load_thresholds(ROOT / "config" / "claims" / "finite_width.yaml")
    verdict_table(judge_experiment(evidence, thresholds)).to_csv(tmp_path / "claims.csv", index=False)
    costs(tmp_path)
    page = study_page(PAGE, {}, tmp_path, tmp_path, "two cores of a machine", "9 min")
    assert page.startswith("# A study\n\nby hand\n") and page.endswith("\nand after\n") and "EARLIER" not in page
    measured = unwrapped(page)
    assert (
        "Measured on two cores of a machine. The run took 9 min. Its 4 jobs took 10 min in all, 5 min of CPU time"
        in measured
    )
    for verdict in judge_experiment(evidence, thresholds):
        if verdict.verdict in ("supported", "not supported", "inconclusive"):
            stated = f"**{verdict.verdict}**"
            if verdict.nearness < NEAR:
                just = "" if verdict.verdict == "inconclusive" else f" (just {verdict.verdict})"
                stated = f"**{OPEN_AND_NEAR}**{just}"
            assert f"| {verdict.claim} | planted | {stated} |" in measured
            assert f"{verdict.value:.3g} [{verdict.low:.3g}, {verdict.high:.3g}]" in measured
    lines = headlines({}, tmp_path, tmp_path)
    assert "A2: planted;" in lines
    table = pd.read_csv(tmp_path / "claims.csv")
    table.loc[table["claim"] == "A2", "nearness"] = 0.19
    table.to_csv(tmp_path / "claims.csv", index=False)
    lines = headlines({}, tmp_path, tmp_path)
    stated = dict(line.removeprefix("* **").split("**: ") for line in lines.splitlines())
    assert "A2: planted (just supported)" in stated["open and near"] and "A2" not in stated["supported"]
    assert numbers(lines) <= numbers(page)
    assert "| A2 | planted | **open and near** (just supported) |" in study_page(
        PAGE, {}, tmp_path, tmp_path, "two cores"
    )


def test_no_word_of_a_document_is_nearer_to_another_than_a_fifth_of_a_half_width():
    """Pages say of such a word that it is open and near, and the list of studies says what the pages say."""
    readme = lines_file("finite_width").read_text()
    for study in STUDIES[1:]:
        page = unwrapped((ROOT / "docs" / "studies" / f"{study}.md").read_text())
        rows = re.findall(
            r"^\| (\S+) \| (.+?) \| \*\*(.+?)\*\*(?: \(.*?\))? \| .* \| (\S+) \| \d+ \|$", page, re.MULTILINE
        )
        assert rows
        lines = readme.partition(readme_markers(study)[0])[2].partition(readme_markers(study)[1])[0]
        for claim, experiment, word, nearness in rows:
            assert (word == OPEN_AND_NEAR) == (nearness != "–" and float(nearness) < NEAR), (claim, experiment)
            said = re.search(rf"\* \*\*{word}\*\*: (.*)", lines)[1]
            of_claim = next(part for part in said.split("; ") if part.startswith(f"{claim}: "))
            assert experiment in of_claim, (claim, experiment, word)


def test_a_study_without_claims(tmp_path):
    cube = synthetic_cube(np.random.default_rng(4), depth=(1, 2), width=(32,), init_scale=(1.0, 2.0), draws=3, seeds=2)
    folder = tmp_path / "planted"
    folder.mkdir()
    write_netcdf(cube, folder / "cube.nc")
    write_netcdf(synthetic_laws(cube).expand_dims(metric=["mse"]), folder / "scaling_laws.nc")
    said = ["NTK theory holds in 3 of 8 cells.", "At depth 2 the infinite NTK holds from width 417 [301, 655] on."]
    write_netcdf(xr.Dataset(attrs={"sentences": json.dumps(said)}), folder / "regimes.nc")
    costs(tmp_path)
    experiments = {"planted": synthetic_evidence(BROKEN, np.random.default_rng(0), dispersion=False).settings}
    page = study_page(PAGE, experiments, tmp_path, tmp_path, "a machine")
    n, place = int(cube["n_train"].max()), {"depth": 2, "width": 32, "init_scale": 2.0}
    at = cube.sel(place | {"n_train": n}, method=None)
    network = float(at["test_mse_network"].mean())
    assert f"| 2 | 32 | 2 | {n} | {network:.3g} |" in page
    lines = headlines(experiments, tmp_path, tmp_path)
    assert numbers(lines) <= numbers(page)
    assert lines.splitlines()[:2] == [f"* {sentence}" for sentence in said]
    assert "differences of exponents" in page and "networks that reached the training error asked" in lines


@pytest.mark.filterwarnings("error")
def test_a_cell_without_a_number_has_a_dash(tmp_path):
    """A kernel that no draw was regressed with at one size, as a pretrained one below its own, warns of nothing."""
    cube = synthetic_cube(np.random.default_rng(4), depth=(1,), width=(32,), init_scale=(2.0,), draws=3, seeds=2)
    n = cube["n_train"].values
    name = next(str(name) for name in cube["predictor"].values if name != "network" and f"test_mse_{name}" in cube)
    cube[f"test_mse_{name}"] = cube[f"test_mse_{name}"].where(cube["n_train"] != n.min())
    folder = tmp_path / "planted"
    folder.mkdir()
    write_netcdf(cube, folder / "cube.nc")
    costs(tmp_path)
    experiments = {"planted": synthetic_evidence(BROKEN, np.random.default_rng(0), dispersion=False).settings}
    page = study_page(PAGE, experiments, tmp_path, tmp_path, "a machine")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| 1 | 32 | 2 | {n.min()} | 0")][:1]
    assert " – |" in row


def test_a_page_without_a_place_for_numbers_is_refused():
    with pytest.raises(ValueError, match="no place for what is measured"):
        measured_part("# A page", "text")
