"""What a dry run says beside its jobs: how many networks, how much time and disk they will take."""

import re

import pytest
import yaml
from conftest import Project
from workflow_micro import MICRO

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

MODULE = """
configfile: "config.yaml"

module ntk:
    snakefile: "{snakefile}"
    config: config["ntk"]

use rule * from ntk as ntk_*

rule all:
    default_target: True
    input: rules.ntk_all.input
"""


def test_a_dry_run_says_what_is_to_come(fresh):
    said = fresh.snakemake("-n", "--quiet", "rules")
    (line,) = [line for line in said.splitlines() if line.startswith("two: ")]
    assert line.startswith(
        "two: 2 cells (depth 1 × width 4 × init_scale 2.0 × n_train 8, 16), "
        "2 disjoint draws × 2 seeds = 8 networks; about "
    )
    assert re.search(r"of CPU time \(.*train_networks \d+ s for 12 steps", line)
    n = len(MICRO["experiments"])
    assert re.search(rf"^all {n} experiments: about \d+ (s|min) of CPU time$", said, re.M)
    assert "disk: probe kernels" in line and line.endswith("MiB")
    assert [path.name for path in (fresh.folder / "results").iterdir()] == ["snakemake_records"]


def test_another_workflow_uses_this_one_as_a_module(fresh, tmp_path):
    """Its config is a section of the other's; numbers are those of the file, not of Snakemake's reader."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "Snakefile").write_text(MODULE.format(snakefile=fresh.folder / "Snakefile"))
    config = {"ntk": {"experiments": {"two": MICRO["experiments"]["two"]}}}
    (other / "config.yaml").write_text(yaml.safe_dump(config))
    said = Project(other).snakemake("-n", "--quiet", "rules")
    assert re.search(r"^ntk_train_networks +1$", said, re.M)
    assert "two: 2 cells (depth 1 × width 4 × init_scale 2.0 × n_train 8, 16)" in said
    (other / "config.yaml").write_text((other / "config.yaml").read_text().replace("draws: 2", "draws: 010"))
    said = Project(other).snakemake("-n", check=False)
    assert "config.yaml, line " in said
    assert "experiments.two.grid.draws: input should be a valid integer (it is '010'): write 10" in said


def test_planning_imports_no_torch_no_lightning_and_no_xarray(fresh, tmp_path):
    """They take seconds, which every `snakemake -n` would take: an import of one of them raises here."""
    for name in ("torch", "pytorch_lightning", "xarray"):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('planning imports {name}')")
    environment = {"PYTHONPATH": str(tmp_path)}
    assert fresh.plan(environment)["train_networks"] == 3
