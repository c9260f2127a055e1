"""The documents that are generated from the code: `python -m ntk_atlas.study.documents` writes them anew.

The written contract comes from the settings: the JSON schema and the table of keys and defaults. What runs again when
a key is changed is read off the jobs: a job runs again when its own slice of the config changes or what it is made of
is new. Only the sentences about what is kept all the same stand here.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from ntk_atlas.config.network import SECTIONS
from ntk_atlas.config.study import ExperimentSettings, StudySettings, section_of
from ntk_atlas.config.thresholds import CLAIMS, Claim
from ntk_atlas.cubes.dictionary import CUBE, FUNCTIONS, LAWS, OUTPUT_VARIANCE
from ntk_atlas.cubes.variables import COORDINATES, DISPERSION, KERNEL_VARIANTS, SCHEMA_VERSION, Variable
from ntk_atlas.datasets import SOURCES, DatasetBase
from ntk_atlas.jobs.parts.results import all_jobs, rules_after, rules_before, rules_of
from ntk_atlas.regimes.map_file import REGIMES


def json_schema() -> str:
    """The JSON schema of the config, as editors take it."""
    return json.dumps(StudySettings.model_json_schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def keys_markdown() -> str:
    """Every key with its type, default and meaning, a Markdown table a section."""
    schema = StudySettings.model_json_schema()
    definitions = schema["$defs"]
    sections = [("the root", schema), ("`experiments.<name>`", definitions["ExperimentSettings"])]
    for source in SOURCES.names():
        section = definitions[section_of(source).__name__]
        sections.append((f"`experiments.<name>.dataset` with `source: {source}`", section))
    named = ("grid", "network", "training", "regression", "scaling", "movement", "dispersion", "output_variance")
    for name in (*named, "kernel_variants"):
        sections.append((f"`experiments.<name>.{name}`", definitions[f"{_camel(name)}Settings"]))
    training = "`experiments.<name>.training"
    for family, own in SECTIONS.items():
        sections.append((f"`experiments.<name>.network.{family}`", definitions[own.__name__]))
    sections.append((f"{training}.learning_rate`", definitions["LearningRateSettings"]))
    sections.append((f"{training}.checkpoints`", definitions["CheckpointSettings"]))
    sections += [("`figures`", definitions["FigureSettings"]), ("`jobs`", definitions["JobSettings"])]
    return "\n".join(line for title, section in sections for line in _section(title, section)) + "\n"


def _section(title: str, section: dict[str, Any]) -> Iterator[str]:
    yield f"### {title}\n"
    yield f"{_one_line(section['description'])}\n"
    yield "| key | values | default | meaning |"
    yield "| --- | --- | --- | --- |"
    required = section.get("required", [])
    for key, field in section["properties"].items():
        default = "**required**" if key in required else f"`{_default(field)}`"
        yield f"| `{key}` | {_values(field)} | {default} | {_one_line(field.get('description', ''))} |"
    yield ""


def _values(field: dict[str, Any]) -> str:
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "anyOf" in field or "oneOf" in field:
        return " or ".join(_values(option) for option in field.get("anyOf", field.get("oneOf")))
    if "$ref" in field:
        return "section"
    if field.get("type") == "array":
        return f"list of {_values(field['items'])}"
    if field.get("type") == "object":
        return "section by name"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {field[name]:g}" for name, sign in signs.items() if name in field]
    kind = {"string": "text", "boolean": "true, false"}.get(field["type"], field["type"])
    return " ".join([kind, ", ".join(bounds)]).strip()


def _default(field: dict[str, Any]) -> str:
    if isinstance(field.get("default"), dict):
        return "see its section"
    return json.dumps(field.get("default"), ensure_ascii=False)


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


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


FILES = (CUBE, LAWS, FUNCTIONS, REGIMES, DISPERSION, OUTPUT_VARIANCE, KERNEL_VARIANTS)
"""Kinds of NetCDF files that are results."""
MARKERS = "<!-- generated: begin -->", "<!-- generated: end -->"
JOB_MARKERS = "<!-- generated, jobs: begin -->", "<!-- generated, jobs: end -->"
EFFECT_MARKERS = "<!-- generated, effects: begin -->", "<!-- generated, effects: end -->"


def generated_documents(repository: Path) -> dict[Path, str]:
    """What each generated file should contain.

    Args:
        repository: folder of the repository, whose documents have hand-written parts around the markers.

    Returns:
        File → text.
    """
    keys, cube = repository / "config" / "README.md", repository / "docs" / "cube.md"
    claims, architecture = repository / "docs" / "claims.md", repository / "docs" / "architecture.md"
    return {
        repository / "config" / "schema.json": json_schema(),
        keys: _between(EFFECT_MARKERS, _between(MARKERS, keys.read_text(), keys_markdown()), effects_markdown()),
        cube: _between(MARKERS, cube.read_text(), dictionary_markdown()),
        claims: _with_claims(claims.read_text()),
        architecture: _between(JOB_MARKERS, architecture.read_text(), jobs_mermaid()),
    }


def dictionary_markdown() -> str:
    """The dictionary of variables and coordinates as Markdown tables."""
    of_file = {row.name: [file.name for file in FILES if row.name in file.coordinates] for row in COORDINATES.values()}
    lines = [
        f"The schema version of these files is {SCHEMA_VERSION}.",
        "",
        "### Coordinates",
        "",
        "| coordinate | dimensions | meaning | unit | type | in |",
        "|---|---|---|---|---|---|",
    ]
    for row in COORDINATES.values():
        files = "all files" if len(of_file[row.name]) == len(FILES) else ", ".join(f"`{f}`" for f in of_file[row.name])
        lines.append(f"| {' | '.join(_cells(row))} | {files} |")
    for title, rows in (table for file in FILES for table in file.tables.items()):
        heads = "| variable | dimensions | meaning | unit | type | NaN (−1 in integers) means |"
        lines += ["", f"### {title}", "", heads, "|---|---|---|---|---|---|"]
        lines += [f"| {' | '.join(_cells(row))} | {row.missing} |" for row in rows]
    return "\n".join(lines)


def _cells(row: Variable) -> tuple[str, ...]:
    flags = ", ".join(f"{int(flag)} {flag.name.lower()}" for flag in row.flags).replace("-", "−")
    meaning = f"{row.long_name}: {flags}" if flags else row.long_name
    return f"`{row.name}`", ", ".join(row.dims), meaning, row.units, row.dtype


def claims_markdown(study: str) -> str:
    """What the claims of a study compare, by their files: those whose names begin with a letter."""
    found = [CLAIMS.head(name) for name in CLAIMS.names() if name.startswith(study.lower())]
    return "\n".join(
        [
            "| claim | what is compared | threshold | where the claim stands |",
            "| --- | --- | --- | --- |",
            *map(_claim_rows, found),
        ]
    )


def _claim_rows(claim: Claim) -> str:
    numbers = ", ".join(f"`{name}` {threshold.value:g}" for name, threshold in claim.thresholds.items())
    rows = claim.compared or ((claim.statistic, numbers),)
    heads, sources = (claim.label, *[""] * len(rows)), (claim.source, *[""] * len(rows))
    cells = [(head, *row, source) for head, row, source in zip(heads, rows, sources, strict=False)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells)


def _with_claims(page: str) -> str:
    for study in "ABCR":
        markers = f"<!-- generated, claims {study}: begin -->", f"<!-- generated, claims {study}: end -->"
        page = _between(markers, page, claims_markdown(study))
    return page


def _between(markers: tuple[str, str], page: str, text: str) -> str:
    begin, end = markers
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}"


if __name__ == "__main__":
    for path, content in generated_documents(Path(sys.argv[1] if len(sys.argv) > 1 else ".")).items():
        path.write_text(content)
