"""`make why`: what would run now, and why, in words."""

import argparse
import ast
import base64
import json
import re
from collections import defaultdict
from pathlib import Path

from planned_jobs import planned_jobs
from study_of_call import asked, sources

from ntk_atlas.jobs.parts.run import param_changes
from ntk_atlas.provenance import SourceMemory

_MISSING = re.compile(r"(?:Missing|Incomplete) output files: ([^;]*)")
_UPDATED = re.compile(r"Updated input files: ([^;]*)")
_PARAMS = re.compile(r"before: (.*) now: (.*?)\s*$", re.DOTALL)
_SHOWN = 3


def reasons(job: dict, makers: dict[str, str], memory: SourceMemory) -> list[str]:
    """Why a job would run: its own reasons, or those of what it is made of; `makers` are the rules of new files."""
    text, said = job["reason"], []
    if _MISSING.search(text):
        said.append("incomplete: a run before was killed" if "Incomplete" in text else "its result is not there yet")
    if updated := _UPDATED.search(text):
        said.append(f"{updated[1].strip()} was changed")
    if changed := _PARAMS.search(text):
        before, now = (_literals(part) for part in changed.groups())
        said += param_changes(job["rule_name"], before, now, memory)
    if "Set of input files has changed" in text:
        said += _other_files(job)
    if "environment" in text:
        said.append("its conda environment was changed")
    if not said and "updated by another job" in text:
        said.append(f"follows {', '.join(sorted({makers[file] for file in job['input'] if file in makers}))}")
    return said or [text]


def _literals(text: str) -> list:
    return [] if text.startswith("<nothing") else list(ast.literal_eval(f"[{text}]"))


def _other_files(job: dict) -> list[str]:
    """Which files a job is made of now and was not made of before, and the other way round."""
    name = base64.urlsafe_b64encode(job["output"][0].encode()).decode()
    parts = [name[i : i + 254] for i in range(0, len(name), 254)]
    record = Path(".snakemake/metadata", *[f"@{part}" for part in parts[:-1]], parts[-1])
    try:
        before = set(json.loads(record.read_text())["input"])
    except (OSError, ValueError, KeyError):
        return ["it is made of other files than before"]
    now = set(job["input"])
    added, removed = sorted(now - before), sorted(before - now)
    words = [(added, "is made of {} more: {}"), (removed, "no longer of {}: {}")]
    return [form.format(len(files), _some(files)) for files, form in words if files]


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f", … ({len(names)} in all)" if len(names) > _SHOWN else "")


def main() -> None:
    _, call, _ = asked(argparse.ArgumentParser(description=__doc__))
    memory, groups = sources(), defaultdict(list)
    jobs = list(planned_jobs(*call.options))
    makers = {file: job["rule_name"] for job in jobs for file in job["output"]}
    for job in jobs:
        if job["rule_name"] != "all":
            which = ["results", *job["wildcards"].values()][1:]
            place = which[0] if which else "the study"
            groups[job["rule_name"], place, tuple(reasons(job, makers, memory))].append(" ".join(which[1:]))
    for (rule, place, why), names in groups.items():
        cells = [name for name in names if name]
        number = f"{len(names)} job{'s' if len(names) > 1 else ''}"
        print(f"{place}: {rule}, {number}{f' ({_some(cells)})' if cells else ''}")
        for reason in why:
            print(f"    {reason}")
    print("nothing would run" if not groups else f"{sum(map(len, groups.values()))} jobs would run")


if __name__ == "__main__":
    main()
