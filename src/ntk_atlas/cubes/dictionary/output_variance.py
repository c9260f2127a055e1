"""The chapter of `output_variance.nc`."""

from ntk_atlas.cubes.dictionary.variable import THEORY, File, Variable

CELL = ("depth", "width", "init_scale", "n_train", "draw")
"""Dimensions of one set of networks: seeds are what is averaged over."""

SOURCES = {
    "network": "trained networks",
    "linearized": "the same networks linearized at their initialization (own NTK, own f₀)",
    "infinite_ntk": "theory at infinite width (NTK and NNGP)",
}
"""Whose outputs: the names that `*` stands for."""

RATIOS = (("network", "infinite_ntk"), ("linearized", "infinite_ntk"), ("network", "linearized"))
"""Pairs (above, below) of `variance_ratio_<above>_<below>`."""

_FEW = "no checkpoint at this n_train, or fewer than two networks left"
_INTERVAL = "as above, or fewer than eight networks left"

_CURVE = (*CELL, "epoch")

OUTPUT_VARIANCE_VARIABLES = (
    Variable(
        "output_variance_*",
        (*_CURVE, "probe"),
        "variance over initializations of the output at a probe sample, mean over outputs: *",
        "target²",
        0.0,
        missing=_FEW,
        names=SOURCES,
    ),
    Variable(
        "output_mean_*",
        (*_CURVE, "probe", "output"),
        "mean over initializations of the output at a probe sample: *",
        "target",
        missing=_FEW,
        names=SOURCES,
    ),
    *Variable(
        "variance_ratio_*",
        _CURVE,
        "output variance averaged over the probe samples: *",
        valid_min=0.0,
        missing=_FEW,
        names={f"{above}_{below}": f"{SOURCES[above]}, over {SOURCES[below]}" for above, below in RATIOS},
    ).with_ends("lower end of its interval", "upper end of its interval", _INTERVAL),
    *(
        Variable(name, CELL, words, valid_min=0, missing="never", dtype="int32")
        for name, words in (
            ("n_networks", "networks that did not diverge: those measured"),
            ("n_linearized", "networks whose linearization did not diverge"),
            ("n_both", "networks behind variance_ratio_network_linearized"),
        )
    ),
    Variable("learning_rate", CELL, "learning rate of all networks of the cell", valid_min=0.0, missing="never"),
)
OUTPUT_VARIANCE = File(
    "output_variance.nc",
    "NTK Atlas: variance of outputs over initializations, predicted and measured",
    (*_CURVE, *THEORY),
    {"Spread of outputs over initializations, in `output_variance.nc`": OUTPUT_VARIANCE_VARIABLES},
)
