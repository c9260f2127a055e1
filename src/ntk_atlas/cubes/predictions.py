"""The NetCDF files of kernel predictions: `<field>_<predictor>` over the dimensions the predictor depends on."""

from collections.abc import Mapping, Sequence

import numpy as np

from ntk_atlas.kernels.infinite.variants import depends_on_the_width
from ntk_atlas.labelled import LabelledArray, LabelledArrays
from ntk_atlas.regression.regress import NestedRegression
from ntk_atlas.stages.regression_arrays import TEST_FOLDS, TEST_PREDICTIONS
from ntk_atlas.study.prediction_specs import InfiniteSpec, RivalSpec
from ntk_atlas.study.specs import DataSpec
from ntk_atlas.unit_store import Arrays


def infinite_predictions(spec: InfiniteSpec, arrays: Mapping[str, Arrays]) -> LabelledArrays:
    """Labels the arrays of `regress_infinite`."""
    variables = {}
    for predictor, fields in arrays.items():
        has_width = depends_on_the_width(predictor, spec.network)
        dims = ("depth", *(("width",) if has_width else ()), "n_train", "draw", "ridge")
        variables |= {f"{field}_{predictor}": (field_dims(field, dims), values) for field, values in fields.items()}
    width = {"width": spec.width} if spec.width else {}
    return labelled_predictions(spec, variables, depth=spec.depth, **width)


def rival_predictions(spec: RivalSpec, arrays: Mapping[str, Arrays]) -> LabelledArrays:
    """Labels the arrays of `regress_rivals`."""
    dims = ("n_train", "draw", "ridge")
    return labelled_predictions(
        spec,
        {
            f"{field}_{kernel}": (field_dims(field, dims), values)
            for kernel, fields in arrays.items()
            for field, values in fields.items()
        },
    )


def field_dims(field: str, dims: tuple[str, ...]) -> tuple[str, ...]:
    """Dimensions of a field or its variable: the predictor's, and what predictions and folds have besides."""
    if field.startswith(TEST_PREDICTIONS):
        return (*dims, "test_sample", "output")
    return (*dims, "test_fold") if field.startswith(TEST_FOLDS) else dims


def labelled_predictions(spec: DataSpec, variables: dict[str, tuple], **coordinates: Sequence) -> LabelledArrays:
    """Variables (dims, values) with the coordinates that every file of predictions has, and `coordinates`."""
    shared = {"n_train": spec.n_train, "draw": range(spec.draws)}
    arrays = {name: LabelledArray((name,), np.array(values)) for name, values in {**shared, **coordinates}.items()}
    arrays["ridge"] = LabelledArray(("ridge",), np.array(NestedRegression.RIDGE_POLICIES, dtype=object))
    arrays |= {name: LabelledArray(dims, values) for name, (dims, values) in variables.items()}
    return LabelledArrays(arrays, {"spec": spec.canonical_json()})
