"""What holds of the repository as a whole: generated documents, pins, rules (imports: `lint-imports`)."""

import re
from pathlib import Path

import pytest
import yaml

from ntk_atlas.study import generated_documents

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("file", generated_documents(REPOSITORY), ids=lambda f: f.name)
def test_generated_documents_are_current(file):
    expected = generated_documents(REPOSITORY)[file]
    assert file.read_text() == expected, "run: python -m ntk_atlas.study.documents"


def test_the_environment_file_pins_what_the_lock_pins():
    environment = yaml.safe_load((REPOSITORY / "envs" / "environment.yaml").read_text())
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    pip = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    lock = [line for line in (REPOSITORY / "requirements.lock").read_text().splitlines() if line and line[0] != "#"]
    assert pip == [*lock, "-e .."]
    assert "torch==2.13.0" in lock
    assert not [line for line in lock if line.startswith(("nvidia", "cuda", "triton"))]


def test_every_rule_names_its_environment_log_source_and_resources():
    for file in (REPOSITORY / "workflow" / "rules").glob("*.smk"):
        rules = re.split(r"\n *rule\b", file.read_text())[1:]
        for rule in rules:
            for directive in ("conda:", "log:", "source=", "message:", "mem_mb=growing(", "runtime=growing("):
                assert directive in rule, f"{file.name}: {rule.split(':')[0]} has no {directive}"
