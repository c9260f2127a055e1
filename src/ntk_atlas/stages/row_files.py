"""What is written of one row: its finished units, joined at one init scale and then over all of them."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ntk_atlas.arrays import Grid, LabelledArrays, UnitStore, join
from ntk_atlas.status import Status
from ntk_atlas.study.cells import Unit
from ntk_atlas.study.specs import NetworksSpec, TrainSpec
from ntk_atlas.training.unit import TrainedUnit


def network_row(spec: TrainSpec, store: UnitStore, digests: Mapping[Unit, str]) -> LabelledArrays:
    """The trained networks of a row: curves, probe kernels, predictions, and where the weights lie.

    Epochs at which a unit has no checkpoint are NaN: units differ in their last epoch under `min_steps`. So is all of
    a network that is not finished, whose status is `missing` or `timed_out`; a row without any has its status alone.

    Args:
        spec: the row, at one init scale.
        store: the finished units.
        digests: digest of each unit.

    Returns:
        Arrays over (n_train, draw, seed), with `epoch`, `probe` and `probe_2` (samples of the kernels) and
        `output_probe` (samples of the outputs) where they apply;
        `unit_digest` (n_train, draw) names the units that hold the weights.
    """
    pieces, seeds = [], range(spec.seeds)
    for unit, digest in digests.items():
        stopped = store.timed_out(unit.name, digest)
        status = [Status.TIMED_OUT if seed in stopped else Status.MISSING for seed in seeds]
        own = {"status": (("seed",), np.array(status, dtype=np.int8)), "unit_digest": ((), digest)}
        pieces.append(LabelledArrays.of(own, seed=seeds).at(n_train=unit.n_train, draw=unit.draw))
    names = [name for name in TrainedUnit.DIMS if name != "weights"]
    return join([*pieces, *_finished(spec, store, digests, names)], row_grid(spec))


def linearized_row(spec: TrainSpec, store: UnitStore, digests: Mapping[Unit, str]) -> LabelledArrays:
    """The linearized networks of a row, over (n_train, draw, seed); what is missing is NaN, see `network_row`."""
    return join(_finished(spec, store, digests), row_grid(spec))


def row_grid(spec: NetworksSpec) -> Grid:
    """The labels on which what there is of a row is joined; checkpoints are those that any unit has."""
    labels = {"init_scale": spec.init_scale, "n_train": spec.n_train, "draw": range(spec.draws)}
    return labels | {"seed": range(spec.seeds), "epoch": None}


def row_file(spec: NetworksSpec, parts: Mapping[float, LabelledArrays]) -> LabelledArrays:
    """The file of a whole row.

    Args:
        spec: the row, with all its init scales.
        parts: what there is at each init scale.

    Returns:
        Arrays with `init_scale` as their first dimension, coordinates without it.

    Raises:
        ValueError: if the parts are not those of the row, or have labels that the row does not.
    """
    if tuple(parts) != spec.init_scale:
        raise ValueError(f"{spec.row.name} is joined of init scales {list(parts)}: give its own, in order")
    joined = join([part.at(init_scale=scale) for scale, part in parts.items()], row_grid(spec))
    return joined.with_attributes(row=spec.row.name, spec=spec.canonical_json())


def training_digests(row: LabelledArrays) -> dict[float, dict[Unit, str]]:
    """The digest of each unit of a row's file at each init scale, as `network_row` recorded it."""
    return {
        float(scale): {
            Unit(int(n), int(draw)): str(row["unit_digest"][s, i, j])
            for i, n in enumerate(row["n_train"])
            for j, draw in enumerate(row["draw"])
        }
        for s, scale in enumerate(row["init_scale"])
    }


def _finished(
    spec: NetworksSpec, store: UnitStore, digests: Mapping[Unit, str], names: Sequence[str] = ()
) -> Iterator[LabelledArrays]:
    """What there is of each unit."""
    for unit, digest in digests.items():
        found = store.load(unit.name, digest, range(spec.seeds), names, partial=True)
        yield found.at(n_train=unit.n_train, draw=unit.draw)
