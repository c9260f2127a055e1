"""The gap between networks and their infinite-width kernel, taken apart: differences of test errors, term by term."""

import xarray as xr

GAP_TERMS = (("network", "linearized"), ("linearized", "ntk_init"), ("ntk_init", "infinite_ntk"))
"""Training beyond the linear regime; finite time and the initial output; a finite width at initialization."""
WHOLE_GAP = ("network", "infinite_ntk")
"""Their sum."""
OTHER_PAIRS = (("network", "ntk_init"), ("network", "ntk_final"), ("nngp", "infinite_ntk"))
"""Pairs that are compared besides; the first stands for two terms where there is no linearized network."""
PAIRS = (*GAP_TERMS, WHOLE_GAP, *OTHER_PAIRS)


def pair_name(first: str, second: str) -> str:
    """The part of a variable's name that names a pair."""
    return f"{first}_{second}"


def gap_terms(cube: xr.Dataset) -> xr.Dataset:
    """Test error of the first of each pair minus that of the second, network by network and ridge by ridge.

    At each ridge (network − linearized) + (linearized − ntk_init) + (ntk_init − infinite_ntk) is
    network − infinite_ntk, exactly.

    Args:
        cube: with the test errors of whichever predictors there are.

    Returns:
        `gap_<first>_<second>` of the pairs whose errors are both there.
    """
    terms = {}
    for pair in PAIRS:
        first, second = (cube.get(f"test_mse_{name}") for name in pair)
        if first is not None and second is not None:
            difference = first - second
            order = [dim for dim in (*ORDER, "ridge") if dim in difference.dims]
            terms[f"gap_{pair_name(*pair)}"] = difference.transpose(*order)
    return xr.Dataset(terms)


ORDER = ("depth", "width", "init_scale", "n_train", "draw", "seed")
