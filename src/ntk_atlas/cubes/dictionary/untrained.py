"""The chapter of files of untrained networks: `dispersion.nc` and `kernel_variants.nc`."""

from ntk_atlas.cubes.dictionary.variable import ARCHITECTURE, THEORY, File, Variable

_SCALED = (*ARCHITECTURE, "init_scale")
_PARTS = (*_SCALED, "parameters")
_PAIRS = (*_PARTS, "correlation")
_NOT_RELU = "not ReLU, or biases that are not 0 at initialization"
_FEW = "fewer than two finite networks"


def _estimate(name: str, dims: tuple[str, ...], long_name: str, units: str, low: float | None) -> tuple[Variable, ...]:
    ends = (f"{end} end of the interval of {name}" for end in ("lower", "upper"))
    return Variable(name, dims, long_name, units, low, missing=_FEW).with_ends(*ends)


DISPERSION_ESTIMATES = (
    *_estimate("ntk_ratio", _PAIRS, "R = E[Θ(x,x′)²]/E[Θ(x,x′)]² over networks at initialization", "1", 1.0),
    *_estimate("log_ntk_variance", _PARTS, "Var log Θ(x,x) over networks whose Θ(x,x) is not 0", "1", 0.0),
    *_estimate("ntk_mean", _PAIRS, "E[Θ(x,x′)] over networks", "kernel", None),
    Variable(
        "ntk_ratio_reliable",
        _PARTS,
        "1 where R on the diagonal can be trusted; 0 where Var log Θ > 1 with fewer than 10⁴ networks, or where R "
        "is not known to a factor: √((R⁴ − 1)/n) > ½ at R = exp(Var log Θ)",
        "1",
        0,
        1,
        "cell missing",
        dtype="int8",
    ),
    Variable("n_finite", _SCALED, "networks whose kernel is finite", "1", 0, missing="cell missing", dtype="int64"),
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

DISPERSION = File(
    "dispersion.nc",
    "NTK Atlas: dispersion of the kernel at initialization",
    (*_PAIRS, *THEORY),
    {
        "Kernels of untrained networks, in `dispersion.nc`": DISPERSION_ESTIMATES,
        "Theory beside them": DISPERSION_THEORY,
    },
)

KERNEL_VARIANTS_VARIABLES = (
    Variable(
        "variant_distance",
        ("variant", "depth", "init_scale", "width", "network"),
        "relative distance ‖Θ̂ − Θ‖_F / ‖Θ‖_F of the kernel of a network from the infinite kernel of the variant",
        valid_min=0.0,
        missing="never",
    ),
)
KERNEL_VARIANTS = File(
    "kernel_variants.nc",
    "NTK Atlas: kernels of untrained networks beside the infinite kernel of each variant of the NTK",
    ("variant", "depth", "init_scale", "width", "network"),
    {"Untrained networks beside the variants of the NTK, in `kernel_variants.nc`": KERNEL_VARIANTS_VARIABLES},
)
