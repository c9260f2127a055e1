"""Whether a file between two jobs was made with the settings and data of the job that reads it."""

import json
from collections.abc import Mapping
from pathlib import Path

from ntk_atlas.arrays import read_labelled
from ntk_atlas.config.base import canonical_json
from ntk_atlas.datasets.dataset import Dataset, DatasetBase
from ntk_atlas.datasets.store import load_dataset
from ntk_atlas.jobs.parts.changes import spec_changes
from ntk_atlas.jobs.parts.slice import Slice

_MOST = 4
"""Differences that are named."""


class OtherSettingsError(ValueError):
    """A file was made with other settings or data, or by a version that did not say with which."""


def check_made_with(
    path: Path, attributes: Mapping[str, object], spec: Slice | str, data_digest: str | None = None
) -> None:
    """Checks that a file says it was made with these settings and data.

    Args:
        path: the file.
        attributes: what it says: `spec`, the canonical JSON of its job's spec, and `data_digest`.
        spec: the spec that its job has now.
        data_digest: digest of the data; None if the file depends on none, or they are not known.

    Raises:
        OtherSettingsError: naming the file and what differs.
    """
    what_to_do = "delete it and run again, which makes it anew"
    wanted, found = spec if isinstance(spec, str) else spec.canonical_json(), attributes.get("spec")
    if found is None:
        raise OtherSettingsError(f"{path} does not say what it was made with; an older version wrote it: {what_to_do}")
    if found != wanted:
        changes = sorted(spec_changes(json.loads(str(found)), json.loads(wanted)), key=lambda change: "→" not in change)
        named = "; ".join(changes[:_MOST]) + (f"; {len(changes) - _MOST} more" if len(changes) > _MOST else "")
        raise OtherSettingsError(
            f"{path} was made with other settings than this experiment has (there → here: {named}), so it was put here "
            f"from another one: {what_to_do}"
        )
    if data_digest is not None and attributes.get("data_digest") != data_digest:
        raise OtherSettingsError(f"{path} was made with other data than dataset.nc beside it: {what_to_do}")


def check_row(path: Path, attributes: Mapping[str, object], spec: Slice, data_digest: str | None = None) -> None:
    """Checks that the file of a row is of the networks that a spec is about, by all keys that both specs have.

    Args:
        path: the file: of the networks themselves, or of what another stage made of them.
        attributes: what it says of itself.
        spec: its job's, or the spec of a job that reads the file.
        data_digest: digest of the data; None if it is not known.

    Raises:
        OtherSettingsError: naming the file and what differs.
    """
    found, wanted = dict(attributes), spec.settings()
    if "spec" in found:
        there = json.loads(str(found["spec"]))
        found["spec"], wanted = canonical_json(_shared(there, wanted)), _shared(wanted, there)
    check_made_with(path, found, canonical_json(wanted), data_digest)


def _shared(settings: Mapping[str, object], others: Mapping[str, object]) -> dict[str, object]:
    """The settings that others have too, at any depth."""
    return {
        key: _shared(value, other) if isinstance(value, dict) and isinstance(other := others[key], dict) else value
        for key, value in settings.items()
        if key in others
    }


def load_prepared(path: Path, settings: DatasetBase) -> tuple[Dataset, str]:
    """A prepared data set and its digest.

    Args:
        path: what `prepare_dataset` wrote.
        settings: those that it must have been prepared with.

    Returns:
        The data, and the digest of their contents.

    Raises:
        DataError: if it is damaged.
        OtherSettingsError: if it was prepared with other settings.
    """
    dataset = load_dataset(path)
    attributes = dict(read_labelled(path, ()).attributes)
    if "spec" in attributes:
        attributes["spec"] = canonical_json({"dataset": json.loads(str(attributes["spec"])).get("dataset")})
    wanted = canonical_json({"dataset": json.loads(settings.canonical_json())})
    check_made_with(path, attributes, wanted)
    return dataset, str(attributes["digest"])
