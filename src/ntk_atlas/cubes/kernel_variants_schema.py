"""The data dictionary of `kernel_variants.nc`: empirical kernels beside the infinite kernel of each NTK variant."""

from ntk_atlas.cubes.schema import Variable

KERNEL_VARIANTS_VARIABLES = (
    Variable("variant", ("variant",), "variant of the NTK", missing="–"),
    Variable("depth", ("depth",), "hidden layers", valid_min=1, missing="–"),
    Variable("init_scale", ("init_scale",), "σ_w²: weight variance times fan-in", valid_min=0.0, missing="–"),
    Variable("width", ("width",), "units of each hidden layer", valid_min=1, missing="–"),
    Variable("network", ("network",), "untrained network of a cell", valid_min=0, missing="–"),
    Variable(
        "variant_distance",
        ("variant", "depth", "init_scale", "width", "network"),
        "relative distance ‖Θ̂ − Θ‖_F / ‖Θ‖_F of the kernel of a network from the infinite kernel of the variant",
        valid_min=0.0,
        missing="never",
    ),
)
