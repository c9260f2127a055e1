"""The NetCDF file of theory that the output variance is assembled from."""

import numpy as np

from ntk_atlas.labelled import LabelledArray, LabelledArrays
from ntk_atlas.stages.predict_output_variance import theory_epochs
from ntk_atlas.study.output_variance_specs import VarianceTheorySpec
from ntk_atlas.unit_store import Arrays


def variance_theory(spec: VarianceTheorySpec, arrays: Arrays) -> LabelledArrays:
    """Labels the arrays of `predict_output_variance`; there is a width only where the kernel depends on it."""
    has_width = bool(spec.width)
    cell = ("depth", *(("width",) if has_width else ()), "n_train", "draw")
    dims = {"mean": ("epoch", "probe", "output"), "variance": ("epoch", "probe"), "learning_rate": ()}
    coordinates = {
        "depth": spec.depth,
        **({"width": spec.width} if has_width else {}),
        "n_train": spec.n_train,
        "draw": range(spec.draws),
        "epoch": theory_epochs(spec),
    }
    labelled = {name: LabelledArray((name,), np.array(values)) for name, values in coordinates.items()}
    for name, values in arrays.items():
        labelled[name] = LabelledArray((*cell, *dims[name]), values if has_width else values[:, 0])
    return LabelledArrays(labelled, {"spec": spec.canonical_json()})
