"""Runs one job: reads what it is given, has it computed, and writes the file that says what it was made with."""

import importlib
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from ntk_atlas.arrays import LabelledArrays, join, made_again_if_lost, read_labelled, write_labelled
from ntk_atlas.jobs import Given, Job
from ntk_atlas.jobs.parts.finished import row_grid
from ntk_atlas.jobs.parts.made_with import check_row, load_prepared
from ntk_atlas.jobs.parts.slice import Slice, Unit


def run_job(
    job: Job,
    part: Slice,
    inputs: Mapping[str, Path],
    output: Path,
    *,
    units: Path = Path(),
    source: str = "",
    save_every: float = 60.0,
    memory: int | None = None,
) -> None:
    """Runs one job.

    Args:
        job: its kind.
        part: the slice of the config that it reads.
        inputs: the files that it is made of, by what they are: `dataset`, `networks`.
        output: its file.
        units: folder of the finished units of all stages.
        source: digest of the code that units depend on.
        save_every: seconds after which the state of a training under way is written.
        memory: bytes that kernels may take; None for what is free.
    """
    work = importlib.import_module(f"ntk_atlas.jobs.{job.name}")
    if job.kind == "dataset":
        from ntk_atlas.datasets.store import save_dataset

        save_dataset(work.prepare_dataset(part), output)
        return
    from ntk_atlas.numerics import memory_limited, precise_math  # torch, which reading data does without

    given, written = Given(None, units=units, source=source, save_every=save_every), {}  # type: ignore[arg-type]
    if "dataset" in inputs:
        dataset, data_digest = load_prepared(inputs["dataset"], part.dataset)
        given = replace(given, dataset=dataset, data_digest=data_digest)
        written["data_digest"] = data_digest
    with precise_math(threads=job.threads(part)), memory_limited(memory) if memory else nullcontext():
        if job.per.wildcard == "row":
            arrays = _row(work.compute, part, given, inputs.get("networks"))
        else:
            arrays = work.compute(part, given)
    write_labelled(arrays.with_attributes(**written), output)


def _row(
    compute: Callable[[Slice, Given], LabelledArrays], part: Slice, given: Given, networks: Path | None
) -> LabelledArrays:
    """Each init scale of a row, joined."""
    trained: Mapping[float, dict[Unit, str]] = {}
    if networks is not None:
        row = read_labelled(networks, ("init_scale", "n_train", "draw", "unit_digest"))
        check_row(networks, row.attributes, part, given.data_digest)
        trained = recorded_digests(row)
    parts = {}
    for scale, of_scale in part.per_init_scale().items():
        given_scale = replace(given, trained=trained.get(scale, {}))
        if networks is None:
            parts[scale] = compute(of_scale, given_scale)
            continue
        with made_again_if_lost(networks):
            parts[scale] = compute(of_scale, given_scale)
    return join_row(part, parts)


def join_row(part: Slice, parts: Mapping[float, LabelledArrays]) -> LabelledArrays:
    """The file of a whole row.

    Args:
        part: of a row, with all its init scales.
        parts: what there is at each init scale.

    Returns:
        Arrays with `init_scale` as their first dimension, coordinates without it.

    Raises:
        ValueError: if the parts are not those of the row, or have labels that the row does not.
    """
    if tuple(parts) != part.grid.init_scale:
        raise ValueError(f"{part.row.name} is joined of init scales {list(parts)}: give its own, in order")
    joined = join([arrays.at(init_scale=scale) for scale, arrays in parts.items()], row_grid(part))
    return joined.with_attributes(row=part.row.name, spec=part.canonical_json())


def recorded_digests(row: LabelledArrays) -> dict[float, dict[Unit, str]]:
    """The digest of each training in a row's file at each init scale, as `train_networks` recorded it."""
    return {
        float(scale): {
            Unit(int(n), int(draw)): str(row["unit_digest"][s, i, j])
            for i, n in enumerate(row["n_train"])
            for j, draw in enumerate(row["draw"])
        }
        for s, scale in enumerate(row["init_scale"])
    }
