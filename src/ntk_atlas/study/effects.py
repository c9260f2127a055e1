"""What runs again when a key of the config is changed: the table of `config/README.md`, read off the jobs.

A job runs again when its own slice of the config changes or what it is made of is new. Rules whose slice has a key are
known from what each job declares; here stand only the sentences about what is kept all the same.
"""

from collections.abc import Iterable, Iterator
from typing import Any, get_args

from pydantic import BaseModel

from ntk_atlas.config.dataset import section_of
from ntk_atlas.config.study import ExperimentSettings, StudySettings
from ntk_atlas.datasets import SOURCES, DatasetBase
from ntk_atlas.jobs.parts.results import all_jobs, rules_after, rules_before, rules_of

_NOTES = (
    (("experiments",), "of the new experiment only"),
    (
        ("dataset.side", "dataset.dimension"),
        "nothing of that experiment is kept; untrained networks are, if `dispersion.n_inputs` is set",
    ),
    (
        ("dataset.*",),
        "nothing of that experiment is kept; untrained networks are, if their inputs have as many features as before",
    ),
    (
        ("kernel_variants.n_samples",),
        "where draws get other samples (docs/conventions.md), all but `sample_initial_kernels` runs",
    ),
    (
        ("grid.n_train", "grid.draws"),
        "only new units train; kernels before training, infinite ones and rivals regress at all sizes again; where "
        "draws get other samples (docs/conventions.md), all but `sample_initial_kernels` runs and nothing is kept",
    ),
    (("grid.seeds",), "only the new seeds train and regress"),
    (
        ("grid.depth", "grid.width"),
        "only new rows train and regress; the width matters to infinite kernels in the standard parameterization only",
    ),
    (("grid.init_scale",), "only new rows train and regress, only new init scales are sampled"),
    (("network.*",), "data and rivals are kept"),
    (
        ("training.seeds_per_unit", "training.target_mse", "training.max_seconds"),
        "rows are joined anew; nothing trains but what was stopped by a lower `max_seconds`",
    ),
    (("training.*",), "kernels before training are kept, but with another `seed` or `dtype`"),
    (("regression.solver_memory_mb",), "kernels regress anew where `solver: auto` picks another one"),
    (
        ("regression.predictors",),
        "only the job that makes the new predictor; finished units are kept, but for kernels of single checkpoints, "
        "which are units together",
    ),
    (("regression.*",), "nothing trains"),
    (
        ("scaling.*", "movement.*", "max_failed_share", "variant_of"),
        "files that record the whole config are joined anew, in seconds",
    ),
    (("dispersion.*",), "chunks of networks are kept where they are the same"),
    (("regimes",), "the file's contents count, not its comments"),
    (("claims",), "the file's contents count, not its comments"),
    (("show",), "only figures that are not there yet"),
    (("jobs.init_scales_per_job",), "rows are joined anew, nothing trains or regresses again"),
    (
        ("only", "preset", "presets"),
        "whatever the keys that a preset lays over the config say; results of experiments that are left out stay",
    ),
)  # fmt: skip
"""What is kept, by keys; a key that a row names comes before a row that names its section."""


def all_keys() -> tuple[str, ...]:
    """Keys of the root, and of an experiment without `experiments.<name>`; those of all kinds of data once."""
    return tuple(dict.fromkeys([*_keys(StudySettings), *_keys(ExperimentSettings)]))


def note_of(key: str) -> str:
    """What is kept when a key changes, and what else is to be known; empty if nothing is."""
    exact = [note for keys, note in _NOTES if key in keys]
    section = [note for keys, note in _NOTES if any(_is_in(key, pattern) for pattern in keys)]
    return next(iter(exact or section), "")


def direct_rules(key: str) -> tuple[str, ...]:
    """The rules that depend on a key themselves, without those that run anyway since another one does."""
    found: list[str] = []
    wanted = rules_of(key) if key != "experiments" else frozenset(n for n, job in all_jobs().items() if not job.made_of)
    for name in all_jobs():
        if name in wanted and name not in rules_after(found):
            found.append(name)
    return tuple(found)


def effects_markdown() -> str:
    """The table in Markdown: keys of the same effect share a row, all keys of a section are `section.*`."""
    rows: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for key in all_keys():
        rows.setdefault((direct_rules(key), note_of(key)), []).append(key)
    lines = ["| you change | these rules run, and what is made of their results | |", "| --- | --- | --- |"]
    for (rules, note), keys in rows.items():
        named = ", ".join(f"`{key}`" for key in _shortened(keys))
        lines.append(f"| {named} | {', '.join(f'`{rule}`' for rule in rules) or 'none'} | {note} |")
    return "\n".join(lines) + "\n"


def jobs_mermaid() -> str:
    """The jobs and what each is made of, as a Mermaid graph; an arrow that another path implies is left out."""
    jobs = all_jobs()
    lines = ["```mermaid", "flowchart LR"]
    for name, job in jobs.items():
        per = (
            f"<br/>one per {job.per.wildcard.replace('_', ' ').replace('kernels', 'group of kernels')}"
            if job.per.wildcard
            else ""
        )
        lines.append(f'  {name}["{name}{per}"]')
    for name, job in jobs.items():
        longer = {before for part in job.made_of for before in rules_before(part)}
        lines += [f"  {part} --> {name}" for part in job.made_of if part not in longer]
    return "\n".join([*lines, "```"]) + "\n"


def _shortened(keys: Iterable[str]) -> list[str]:
    """Keys, with `section.*` where all keys of a section are among them, or most: those of no other row."""
    found, every = list(keys), all_keys()
    sections = sorted({key.rpartition(".")[0] for key in every if "." in key}, key=lambda name: name.count("."))
    for section in sections:
        inside = [key for key in every if key.startswith(f"{section}.")]
        here = [key for key in found if key in inside]
        if len(here) > 1 and 2 * len(here) > len(inside):
            place = found.index(here[0])
            found = [key for key in found if key not in inside]
            found.insert(place, f"{section}.*")
    return found


def _is_in(key: str, pattern: str) -> bool:
    return pattern.endswith(".*") and key.startswith(pattern.removesuffix("*"))


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted keys of all values below a section, sections in it included."""
    for name, field in model.model_fields.items():
        inside = [section for section in _sections(field.annotation) if section is not ExperimentSettings]
        for section in inside:
            yield from _keys(section, f"{prefix}{name}.")
        if not inside:
            yield f"{prefix}{name}"


def _sections(annotation: Any) -> list[type[BaseModel]]:
    if annotation is DatasetBase:
        return [section_of(name) for name in SOURCES.names()]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _sections(argument)]
