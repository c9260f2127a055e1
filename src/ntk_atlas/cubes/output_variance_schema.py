"""The data dictionary of `output_variance.nc`: every variable, its dimensions, unit and meaning."""

from ntk_atlas.cubes.schema import Variable

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
_COUNTS = "–"

OUTPUT_VARIANCE_COORDINATES = (
    Variable("depth", ("depth",), "hidden layers; 0 is a linear model", valid_min=0),
    Variable("width", ("width",), "units of each hidden layer", valid_min=1),
    Variable("init_scale", ("init_scale",), "σ_w²: weight variance times fan-in", valid_min=0.0),
    Variable("n_train", ("n_train",), "training samples", valid_min=1),
    Variable(
        "draw", ("draw",), "draw of the data (docs/conventions.md); its networks are independent of those of others"
    ),
    Variable("epoch", ("epoch",), "full-batch steps done; 0 is initialization", valid_min=0),
    Variable("sigma_w", ("init_scale",), "σ_w, the square root of init_scale", valid_min=0.0),
    Variable("lambda", ("depth", "width"), "weight layers over width, (depth + 1)/width", valid_min=0.0),
    Variable("chi_1", ("init_scale",), "χ₁: factor by which squared gradients grow a layer", valid_min=0.0),
    Variable("xi_1", ("init_scale",), "ξ₁ = 1/|log χ₁|, the depth scale of gradients", "layers", 0.0),
    Variable("phase", ("init_scale",), "ordered (χ₁ < 1), critical (χ₁ = 1) or chaotic (χ₁ > 1)"),
)

OUTPUT_VARIANCE_VARIABLES = (
    Variable(
        "output_variance_*",
        (*CELL, "epoch", "probe"),
        "variance over initializations of the output at a probe sample, mean over outputs: *",
        "target²",
        0.0,
        missing=_FEW,
    ),
    Variable(
        "output_mean_*",
        (*CELL, "epoch", "probe", "output"),
        "mean over initializations of the output at a probe sample: *",
        "target",
        missing=_FEW,
    ),
    Variable(
        "variance_ratio_*",
        (*CELL, "epoch"),
        "output variance averaged over the probe samples: *",
        "1",
        0.0,
        missing=_FEW,
    ),
    Variable("variance_ratio_*_low", (*CELL, "epoch"), "lower end of its interval", "1", 0.0, missing=_INTERVAL),
    Variable("variance_ratio_*_high", (*CELL, "epoch"), "upper end of its interval", "1", 0.0, missing=_INTERVAL),
    Variable("n_networks", CELL, "networks that did not diverge: those measured", valid_min=0, missing=_COUNTS),
    Variable("n_linearized", CELL, "networks whose linearization did not diverge", valid_min=0, missing=_COUNTS),
    Variable("n_both", CELL, "networks behind variance_ratio_network_linearized", valid_min=0, missing=_COUNTS),
    Variable(
        "learning_rate",
        CELL,
        "learning rate of all networks of the cell",
        valid_min=0.0,
        missing="never",
    ),
)


def variable_attributes() -> dict[str, dict]:
    """Attributes of every variable of the file by its name, `*` written out."""
    ratios = {f"{above}_{below}": f"{SOURCES[above]}, over {SOURCES[below]}" for above, below in RATIOS}
    attributes = {}
    for variable in (*OUTPUT_VARIANCE_COORDINATES, *OUTPUT_VARIANCE_VARIABLES):
        of = ratios if variable.name.startswith("variance_ratio") else SOURCES
        for name, text in of.items() if "*" in variable.name else (("", ""),):
            named = variable.attributes()
            attributes[variable.name.replace("*", name)] = named | {"long_name": variable.long_name.replace("*", text)}
    return attributes
