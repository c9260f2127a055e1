"""Writes neural_tangents_reference.npz: numbers of an independent implementation for the kernel tests.

It needs an environment of its own (Python 3.11), because the peers are older than the project's:

    python3.11 -m venv /tmp/nt && /tmp/nt/bin/pip install jax==0.4.23 jaxlib==0.4.23 neural-tangents==0.6.5 \
        numpy==1.26.4 scipy==1.11.4 ml_dtypes==0.3.2
    /tmp/nt/bin/python tests/data/make_neural_tangents_reference.py

Conventions: `stax.Dense(W_std, b_std)` has bias parameters only if b_std > 0, so every case has σ_b² > 0 but
the bias-free ones, which are compared with frozen biases.
"""

import json
from pathlib import Path

import jax
import neural_tangents as nt
import numpy as np
from neural_tangents import stax

jax.config.update("jax_enable_x64", True)

WIDTH = 24
DEPTHS = (0, 1, 3, 6)
CASES = [
    {"activation": a, "parameterization": p, "init_scale": w, "bias_variance": b}
    for a, w in (("relu", 2.0), ("erf", 1.7476), ("leaky_relu", 1.9), ("gelu", 1.5))
    for p in ("standard", "ntk")
    for b in (0.0, 0.18)
]

PHI = {
    "relu": stax.Relu,
    "erf": stax.Erf,
    "leaky_relu": lambda: stax.LeakyRelu(0.01),
    "gelu": lambda: stax.Gelu(approximate=False),
}
# Images of 5 x 4 pixels with 2 channels; (convolutions, pool) of each block.
CONVOLUTIONAL = [
    {"blocks": blocks, "kernel_size": k, "readout": readout, **CASES[case]}
    for blocks, k, readout, case in (
        (((2, False),), 3, "flatten", 1),
        (((2, False),), 3, "global_average", 6),
        (((1, True), (1, False)), 3, "flatten", 3),
        (((1, True), (2, True)), 3, "flatten", 1),
        (((2, True), (1, False)), 3, "global_average", 2),
        (((1, False), (1, True), (1, False)), 5, "global_average", 7),
        (((1, True),), 1, "flatten", 13),
        (((1, True), (1, False)), 3, "global_average", 15),
    )
]


def network(case, depth, n_outputs, width=WIDTH):
    """Layers of one case."""
    phi = PHI[case["activation"]]
    b_std = np.sqrt(case["bias_variance"]) or None

    def dense(n_out):
        return stax.Dense(n_out, np.sqrt(case["init_scale"]), b_std, parameterization=case["parameterization"])

    return stax.serial(*[layer for _ in range(depth) for layer in (dense(width), phi())], dense(n_outputs))


def convolutional(case):
    """Layers of one convolutional case: zero SAME padding, 2 x 2 average pools that drop odd rows."""
    w_std, b_std = np.sqrt(case["init_scale"]), np.sqrt(case["bias_variance"]) or None
    common = {"W_std": w_std, "b_std": b_std, "parameterization": case["parameterization"]}
    layers = []
    for n_convolutions, pool in case["blocks"]:
        for _ in range(n_convolutions):
            window = (case["kernel_size"],) * 2
            layers += [stax.Conv(WIDTH, window, padding="SAME", **common), PHI[case["activation"]]()]
        if pool:
            layers.append(stax.AvgPool((2, 2), strides=(2, 2), padding="VALID"))
    layers.append(stax.Flatten() if case["readout"] == "flatten" else stax.GlobalAvgPool())
    return stax.serial(*layers, stax.Dense(1, **common))


def empirical_ntk(net, x1, x2, seed):
    """Full empirical NTK of one draw, its weights and its biases (zeros if none), each in one vector."""
    init, apply, _ = net
    _, parameters = init(jax.random.PRNGKey(seed), (-1, x1.shape[1]))
    layers = [layer for layer in parameters if layer]  # activations have none; (W, None) without bias
    weights = [np.asarray(weight) for weight, _ in layers]
    biases = [np.zeros(w.shape[1]) if b is None else np.ravel(b) for w, b in layers]
    kernel = nt.empirical_ntk_fn(apply, trace_axes=())(x1, x2, parameters)
    return np.asarray(kernel), np.concatenate([w.ravel() for w in weights]), np.concatenate(biases)


def main():
    """Evaluates all cases and writes the file beside this one."""
    rng = np.random.default_rng(20)
    x1, x2 = rng.standard_normal((6, 5)), rng.standard_normal((4, 5))
    arrays = {"x1": x1, "x2": x2}
    for other, name in ((None, "same"), (x2, "cross")):
        for kind in ("nngp", "ntk"):
            arrays[f"{kind}_{name}"] = np.array(
                [[network(case, depth, 1)[2](x1, other, kind) for depth in DEPTHS] for case in CASES]
            )
    empirical = [empirical_ntk(network(case, 2, 3, width=7), x1, x2, seed) for seed, case in enumerate(CASES[:8])]
    for position, name in enumerate(("empirical_full", "empirical_weights", "empirical_biases")):
        arrays[name] = np.array([of_case[position] for of_case in empirical])
    images1, images2 = rng.standard_normal((3, 5, 4, 2)), rng.standard_normal((2, 5, 4, 2))
    # Channels last there, first here.
    arrays |= {"images1": np.moveaxis(images1, 3, 1), "images2": np.moveaxis(images2, 3, 1)}
    for other, name in ((None, "same"), (images2, "cross")):
        for kind in ("nngp", "ntk"):
            arrays[f"convolutional_{kind}_{name}"] = np.array(
                [convolutional(case)[2](images1, other, kind) for case in CONVOLUTIONAL]
            )
    meta = {
        "cases": CASES,
        "convolutional": CONVOLUTIONAL,
        "depths": DEPTHS,
        "width": WIDTH,
        "neural_tangents": nt.__version__,
    }
    path = Path(__file__).parent / "neural_tangents_reference.npz"
    np.savez_compressed(path, meta=json.dumps(meta), **arrays)


if __name__ == "__main__":
    main()
