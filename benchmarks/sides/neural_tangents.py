"""neural-tangents, compiled ahead of time so that neither time nor memory of the compiler counts."""

import jax
import neural_tangents as nt
import numpy as np
import problems
from case import Case
from jax import numpy as jnp
from neural_tangents import stax

_STRUCTURED = nt.NtkImplementation.STRUCTURED_DERIVATIVES
_CONTRACTION = nt.NtkImplementation.JACOBIAN_CONTRACTION


def structured(*, output_reduction: str, n: int, n_inputs: int, width: int, depth: int, n_outputs: int) -> Case:
    """Empirical NTK of a fully connected network, by its implementation that is best for such networks."""
    sizes = problems.layer_sizes(n_inputs, width, depth, n_outputs)
    layers = [stax.Dense(size, np.sqrt(2.0), 0.1, parameterization="standard") for size in sizes[1:]]
    hidden = [module for layer in layers[:-1] for module in (layer, stax.Relu())]
    network = stax.serial(*hidden, layers[-1])
    x = problems.inputs(n, (n_inputs,))
    return _empirical(network, problems.dense_weights(sizes), x, n_outputs, output_reduction, _STRUCTURED)


def convolutional(*, n: int, width: int, n_outputs: int, image: int) -> Case:
    """Empirical NTK of the convolutional network, by its implementation that is best without batches."""

    def convolution() -> tuple:
        return stax.Conv(width, (3, 3), padding="SAME", W_std=np.sqrt(2.0), b_std=0.1, parameterization="standard")

    def pool(size: int) -> tuple:
        return stax.AvgPool((size, size), strides=(size, size))

    network = stax.serial(
        *(convolution(), stax.Relu()),
        *(convolution(), stax.Relu(), pool(2)),
        *(convolution(), stax.Relu(), pool(2)),
        *(convolution(), stax.Relu(), pool(image // 4)),
        *(stax.Flatten(), stax.Dense(n_outputs, np.sqrt(2.0), 0.1, parameterization="standard")),
    )
    x = np.ascontiguousarray(problems.inputs(n, (3, image, image)).transpose(0, 2, 3, 1))
    return _empirical(network, problems.convolutional_weights(width, n_outputs), x, n_outputs, "trace", _CONTRACTION)


def _empirical(network, weights, x: np.ndarray, n_outputs: int, output_reduction: str, implementation) -> Case:
    init, apply, _ = network
    parameters = init(jax.random.PRNGKey(0), (-1, *x.shape[1:]))[1]
    drawn = iter(weights)
    parameters = [_filled(layer, drawn) if jax.tree_util.tree_leaves(layer) else layer for layer in parameters]
    trace = output_reduction == "trace"
    kernel = nt.empirical_ntk_fn(apply, trace_axes=(-1,) if trace else (), vmap_axes=0, implementation=implementation)
    x = jnp.asarray(x)
    compiled = jax.jit(lambda x, parameters: kernel(x, None, parameters)).lower(x, parameters).compile()
    factor = n_outputs if trace else 1  # a trace in neural-tangents is a mean
    return Case(
        run=lambda _: compiled(x, parameters).block_until_ready(),
        arrays=lambda ntk: {"ntk": factor * np.asarray(ntk)},
        result_bytes=4 * len(x) ** 2 * (1 if trace else n_outputs**2),
    )


def _filled(layer: tuple, drawn) -> tuple:
    weight, bias = next(drawn)
    return jnp.asarray(weight).reshape(layer[0].shape), jnp.asarray(bias).reshape(layer[1].shape)


def infinite(*, activation: str, depth: int, n: int, n_inputs: int) -> Case:
    """NNGP and NTK at infinite width."""
    phi = {"relu": stax.Relu, "erf": stax.Erf}[activation]
    dense = stax.Dense(1, np.sqrt(1.5), np.sqrt(0.1), parameterization="ntk")
    kernel = stax.serial(*[layer for _ in range(depth) for layer in (dense, phi())], dense)[2]
    x = jnp.asarray(problems.inputs(n, (n_inputs,)))
    compiled = jax.jit(lambda x: tuple(kernel(x, None, ("nngp", "ntk")))).lower(x).compile()
    return Case(
        run=lambda _: jax.block_until_ready(compiled(x)),
        arrays=lambda kernels: {"nngp": kernels[0], "ntk": kernels[1]},
    )
