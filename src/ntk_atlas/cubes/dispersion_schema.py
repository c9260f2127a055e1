"""The data dictionary of `dispersion.nc`: the kernel of untrained networks over (depth, width, init_scale)."""

from ntk_atlas.cubes.schema import Variable

ARCHITECTURE = ("depth", "width")
CELL = (*ARCHITECTURE, "init_scale")
_PARTS = (*CELL, "parameters")
_PAIRS = (*_PARTS, "correlation")
_NOT_RELU = "not ReLU, or biases that are not 0 at initialization"
_FEW = "fewer than two finite networks"

DISPERSION_COORDINATES = (
    Variable("depth", ("depth",), "hidden layers", valid_min=1),
    Variable("width", ("width",), "units of each hidden layer", valid_min=1),
    Variable("init_scale", ("init_scale",), "σ_w²: weight variance times fan-in", valid_min=0.0),
    Variable("parameters", ("parameters",), "which parameters Θ sums over: `all` that are trained, or the `weights`"),
    Variable("correlation", ("correlation",), "cosine r of x and x′, ‖x‖ = ‖x′‖; 1 is the diagonal", "1", -1.0, 1.0),
    Variable("lambda", ARCHITECTURE, "λ: weight layers over width, (depth + 1)/width", valid_min=0.0),
    Variable("sigma_w", ("init_scale",), "σ_w, the square root of init_scale", valid_min=0.0),
    Variable("chi_1", ("init_scale",), "χ₁: factor by which squared gradients grow a layer", valid_min=0.0),
    Variable("xi_1", ("init_scale",), "depth scale ξ₁ = 1/|log χ₁|", "layers", 0.0),
    Variable("phase", ("init_scale",), "ordered (χ₁ < 1), critical (χ₁ = 1) or chaotic (χ₁ > 1)"),
)


def _with_ends(name: str, dims: tuple[str, ...], long_name: str, units: str, low: float | None) -> tuple[Variable, ...]:
    return (
        Variable(name, dims, long_name, units, low, missing=_FEW),
        Variable(f"{name}_low", dims, f"lower end of the interval of {name}", units, low, missing=_FEW),
        Variable(f"{name}_high", dims, f"upper end of the interval of {name}", units, low, missing=_FEW),
    )


DISPERSION_ESTIMATES = (
    *_with_ends("ntk_ratio", _PAIRS, "R = E[Θ(x,x′)²]/E[Θ(x,x′)]² over networks at initialization", "1", 1.0),
    *_with_ends("log_ntk_variance", _PARTS, "Var log Θ(x,x) over networks whose Θ(x,x) is not 0", "1", 0.0),
    *_with_ends("ntk_mean", _PAIRS, "E[Θ(x,x′)] over networks", "kernel", None),
    Variable(
        "ntk_ratio_reliable",
        _PARTS,
        "1 where R on the diagonal can be trusted; 0 where Var log Θ > 1 with fewer than 10⁴ networks, or where R "
        "is not known to a factor: √((R⁴ − 1)/n) > ½ at R = exp(Var log Θ)",
        "1",
        0,
        1,
        "cell missing",
    ),
    Variable("n_finite", CELL, "networks whose kernel is finite", "1", 0, missing="cell missing"),
)

DISPERSION_THEORY = (
    Variable("ntk_ratio_exponential", ARCHITECTURE, "exp(5λ)", "1", 1.0, missing="cell missing"),
    Variable("ntk_ratio_limit", _PARTS, "limit of R in its phase, L, M → ∞ at fixed λ", "1", 1.0, missing=_NOT_RELU),
    Variable(
        "ntk_ratio_finite_sum", _PARTS, "R by sums over layers, leading order in 1/M", "1", 1.0, missing=_NOT_RELU
    ),
    Variable("ntk_ratio_exact", _PARTS, "R by draws of the exact law of Θ(x,x)", "1", 1.0, missing=_NOT_RELU),
    Variable("ntk_ratio_exact_error", _PARTS, "standard error of ntk_ratio_exact", "1", 0.0, missing=_NOT_RELU),
    Variable("log_ntk_variance_exact", _PARTS, "Var log Θ(x,x) by draws of the exact law", "1", 0.0, missing=_NOT_RELU),
    Variable(
        "log_ntk_variance_exact_error", _PARTS, "standard error of log_ntk_variance_exact", "1", 0.0, missing=_NOT_RELU
    ),
)
