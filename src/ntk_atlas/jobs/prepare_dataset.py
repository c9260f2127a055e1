"""Reads a data set, checks it, and gives it the encoding of its targets and the number of its shares."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ntk_atlas.datasets.read import draw_shares
from ntk_atlas.datasets.sources import SOURCES, source_of
from ntk_atlas.jobs import Job, Slice
from ntk_atlas.jobs.parts.slice import code_file_digest
from ntk_atlas.provenance import file_digest
from ntk_atlas.registry import is_own

if TYPE_CHECKING:
    from ntk_atlas.config.study import ExperimentSettings


def _found(experiment: "ExperimentSettings") -> Mapping[str, object]:
    """Digests of the user's files, which may be replaced by ones with an older time stamp, and the number of shares.

    Samples are cut into shares so that draws are disjoint; 0 for permutations of all of them.
    """
    dataset = experiment.dataset
    digests = [file_digest(file) for file in source_of(dataset).own_files(dataset)]
    if is_own(dataset.source):
        digests.append(code_file_digest(Path(dataset.source.rpartition(":")[0])))
    return {"files": "+".join(digests), "shares": draw_shares(experiment)}


def _reader(part: Slice) -> tuple[Path, ...]:
    """Of the source that reads the data; no other job depends on the code that reads."""
    source = part.dataset.source
    return () if is_own(source) else (SOURCES.module_file(source),)


JOB = Job(
    reads=("dataset",),
    folder="dataset",
    kind="dataset",
    found=_found,
    code=_reader,
    message="reading and checking the data",
    memory_mb=2000,
    minutes=30,
)

import logging
from dataclasses import replace

from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.draw_checks import notices
from ntk_atlas.datasets.draws import make_draw
from ntk_atlas.datasets.read import read_dataset

log = logging.getLogger(__name__)


def prepare_dataset(part: Slice) -> Dataset:
    """The data of an experiment, with what was noticed of them among their attributes."""
    dataset = replace(read_dataset(part.dataset), shares=part.found["shares"])
    pool = len(make_draw(dataset, part.dataset, 0).y_pool)
    log.info(
        "%s: %d samples of shape %s, %d outputs, pool of %d",
        dataset.name, len(dataset.x), dataset.x.shape[1:], dataset.y.shape[1], pool,
    )  # fmt: skip
    said = notices(dataset, part.dataset)
    for notice in said:
        log.warning("%s", notice)
    of_job = {"spec": part.canonical_json(), "notices": "\n".join(said)}
    return replace(dataset, attributes={**dataset.attributes, **of_job})
