"""Whether a file between two jobs was made with the settings and data of the job that reads it."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from ntk_atlas.arrays import read_labelled
from ntk_atlas.config.base import Settings
from ntk_atlas.datasets import DatasetBase
from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.store import load_dataset
from ntk_atlas.study.changes import spec_changes
from ntk_atlas.study.jobs import empirical_spec, train_spec
from ntk_atlas.study.linearized_specs import linearize_spec
from ntk_atlas.study.specs import NetworksSpec

ROWS = {
    "networks": ("train_networks", train_spec),
    "linearized": ("linearize_networks", linearize_spec),
    "empirical": ("regress_empirical", empirical_spec),
}
"""Kinds of files that there are of each row: the rule that makes them, and the spec that they carry."""
_MOST = 4
"""Differences that are named."""


class OtherSettingsError(ValueError):
    """A file was made with other settings or data, or by a version that did not say with which."""


def check_made_with(
    path: Path, attributes: Mapping[str, object], rule: str, spec: Settings | str, data_digest: str | None = None
) -> None:
    """Checks that a file says it was made with these settings and data.

    Args:
        path: the file.
        attributes: what it says: `spec`, the canonical JSON of its job's spec, and `data_digest`.
        rule: the rule that made it.
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
        changes = sorted(
            spec_changes(rule, json.loads(str(found)), json.loads(wanted)), key=lambda change: "→" not in change
        )
        named = "; ".join(changes[:_MOST]) + (f"; {len(changes) - _MOST} more" if len(changes) > _MOST else "")
        raise OtherSettingsError(
            f"{path} was made with other settings than this experiment has (there → here: {named}), so it was put here "
            f"from another one: {what_to_do}"
        )
    if data_digest is not None and attributes.get("data_digest") != data_digest:
        raise OtherSettingsError(f"{path} was made with other data than dataset.nc beside it: {what_to_do}")


def check_row(
    path: Path, attributes: Mapping[str, object], rule: str, spec: NetworksSpec, data_digest: str | None = None
) -> None:
    """Checks that the file of a row is of the networks that a spec is about, by all keys that both specs have.

    Args:
        path: the file: of the networks themselves, or of what another stage made of them.
        attributes: what it says of itself.
        rule: the rule that made it.
        spec: that rule's spec, or the spec of a job that reads the file.
        data_digest: digest of the data; None if it is not known.

    Raises:
        OtherSettingsError: naming the file and what differs.
    """
    found = dict(attributes)
    shared = json.loads(spec.canonical_json()).keys()
    if "spec" in found:
        shared &= json.loads(str(found["spec"])).keys()
        found["spec"] = _some(str(found["spec"]), shared)
    check_made_with(path, found, rule, _some(spec.canonical_json(), shared), data_digest)


def _some(spec: str, keys: Collection[str]) -> str:
    """A spec with some of its keys."""
    return json.dumps({key: value for key, value in json.loads(spec).items() if key in keys}, sort_keys=True)


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
        attributes["spec"] = _some(str(attributes["spec"]), ["dataset"])
    wanted = json.dumps({"dataset": json.loads(settings.canonical_json())}, sort_keys=True)
    check_made_with(path, attributes, "prepare_dataset", wanted)
    return dataset, str(attributes["digest"])
