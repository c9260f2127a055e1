"""Our side: the public API of the package."""

import numpy as np
import problems
import torch
from case import Case
from floors import SGEMM_ORDER
from torch import nn


def empirical_dense(*, output_reduction: str, n: int, **sizes: int) -> Case:
    """Empirical NTK of a fully connected ReLU network."""
    from ntk_atlas.kernels import empirical_ntk

    network = dense_network(**sizes)
    x = torch.from_numpy(problems.inputs(n, (sizes["n_inputs"],)))
    n_outputs = sizes["n_outputs"] if output_reduction == "full" else 1
    return Case(
        run=lambda _: empirical_ntk(network, x, output_reduction=output_reduction),
        arrays=lambda kernel: {"ntk": kernel[0]},
        warm_up=lambda: empirical_ntk(network, x[:8], output_reduction=output_reduction),
        result_bytes=4 * (n * n_outputs) ** 2,
    )


def dense_network(*, n_inputs: int, width: int, depth: int, n_outputs: int):
    """Returns the network of `problems.dense_weights`, a stack of one."""
    from ntk_atlas.config.network import NetworkSettings
    from ntk_atlas.families import build_networks

    network = build_networks(
        NetworkSettings(activation="relu"),
        depth=depth,
        width=width,
        init_scale=2.0,
        input_shape=(n_inputs,),
        n_outputs=n_outputs,
        generators=[torch.Generator()],
    )
    layers = problems.dense_weights(problems.layer_sizes(n_inputs, width, depth, n_outputs))
    flat = np.concatenate([np.concatenate([weight.ravel(), bias]) for weight, bias in layers])
    network.load_weights(torch.from_numpy(flat)[None])
    return network


def empirical_convolutional(*, n: int, width: int, n_outputs: int, image: int) -> Case:
    """Empirical NTK of the convolutional network."""
    from ntk_atlas.kernels import empirical_ntk

    network = convolutional_network(width, n_outputs, image)
    x = torch.from_numpy(problems.inputs(n, (3, image, image)))
    return Case(
        run=lambda _: empirical_ntk(network, x, output_reduction="trace"),
        arrays=lambda kernel: {"ntk": kernel},
        warm_up=lambda: empirical_ntk(network, x[:2], output_reduction="trace"),
        result_bytes=4 * n**2,
    )


def empirical_of_module(*, name: str, n: int, chunks: list[int], output_reduction: str = "trace") -> Case:
    """Empirical NTK of a network of `modules.py`; `chunks` are the rival's."""
    from ntk_atlas.kernels import empirical_ntk
    from sides.modules import built

    network, x = built(name, n)
    return Case(
        run=lambda _: empirical_ntk(network, x, output_reduction=output_reduction),
        arrays=lambda kernel: {"ntk": kernel},
        warm_up=lambda: empirical_ntk(network, x[:2], output_reduction=output_reduction),
        result_bytes=4 * n**2,
    )


def convolutional_network(width: int, n_outputs: int, image: int) -> nn.Sequential:
    """Returns the network of `problems.convolutional_weights`: images are pooled to a half, a quarter, one."""
    layers = problems.convolutional_weights(width, n_outputs)
    convolutions = [nn.Conv2d(weight.shape[2], width, 3, padding=1) for weight, _ in layers[:-1]]
    dense = nn.Linear(width, n_outputs)
    with torch.no_grad():
        for module, (weight, bias) in zip([*convolutions, dense], layers, strict=True):
            axes = (3, 2, 0, 1) if weight.ndim == 4 else (1, 0)
            module.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight.transpose(axes))))
            module.bias.copy_(torch.from_numpy(bias))
    first, second, third, fourth = convolutions
    return nn.Sequential(
        *(first, nn.ReLU()),
        *(second, nn.ReLU(), nn.AvgPool2d(2)),
        *(third, nn.ReLU(), nn.AvgPool2d(2)),
        *(fourth, nn.ReLU(), nn.AvgPool2d(image // 4)),
        *(nn.Flatten(), dense),
    )


def infinite(*, activation: str, depth: int, n: int, n_inputs: int) -> Case:
    """NNGP and NTK of one depth at infinite width."""
    from ntk_atlas.config.network import NetworkSettings
    from ntk_atlas.kernels import infinite_kernels

    x = torch.from_numpy(problems.inputs(n, (n_inputs,)))
    settings = NetworkSettings(activation=activation, parameterization="ntk", bias_variance=0.1)
    return Case(
        run=lambda _: infinite_kernels(x, depths=[depth], settings=settings, init_scale=1.5, dtype=torch.float32),
        arrays=lambda kernels: {"nngp": kernels.nngp[0], "ntk": kernels.ntk[0]},
    )


def solve(*, n: int, n_test: int, n_outputs: int) -> Case:
    """Kernel regression at one size."""
    from ntk_atlas.regression import solve

    gram, y, k_test = (torch.from_numpy(array) for array in problems.kernel_regression(n, n_outputs, n_test))
    return Case(
        run=lambda _: solve(gram, y, diag_reg=problems.DIAG_REG).predict(k_test),
        arrays=lambda predictions: {"predictions": predictions},
    )


def learning_curve(*, n: int, n_test: int, n_outputs: int, n_sizes: int, spacing: str) -> Case:
    """Kernel regression at many nested sizes."""
    from ntk_atlas.regression import solve_nested

    gram, y, k_test = (torch.from_numpy(array) for array in problems.kernel_regression(n, n_outputs, n_test))
    sizes = problems.curve_sizes(n, n_sizes, spacing)
    return Case(
        run=lambda _: solve_nested(gram, y, k_test, sizes=sizes, diag_reg=problems.DIAG_REG, residuals=False),
        arrays=lambda solution: {"predictions": solution.predictions},
    )


def ridge_path(*, n: int, n_outputs: int, n_ridges: int) -> Case:
    """A path of ridges with leave-one-out errors."""
    from ntk_atlas.regression import ridge_path as path

    gram, y, _ = (torch.from_numpy(array) for array in problems.kernel_regression(n, n_outputs))
    return Case(
        run=lambda _: path(gram, y, diag_reg=problems.ridges(n_ridges)),
        arrays=lambda solved: {"coefficients": solved.coefficients, "loo": solved.leave_one_out_mse},
    )


def sgemm() -> Case:
    """The product of two float32 matrices, whose rate stands for the machine's."""
    a, b = torch.from_numpy(problems.inputs(2, (SGEMM_ORDER, SGEMM_ORDER)))
    return Case(run=lambda _: a @ b, arrays=lambda _: {})


def stacked_training(*, n_seeds: int, batch_size: int, n_epochs: int, n: int, dtype: str, **sizes: int) -> Case:
    """Training of a stack of networks; what is recorded beside the training is kept as small as it goes."""
    from ntk_atlas.config.training import CheckpointSettings, LearningRateSettings, TrainingSettings
    from ntk_atlas.training.train import train_unit
    from ntk_atlas.training.unit import UnitData
    from sides import training

    x, y = training.data(n, sizes["n_inputs"], sizes["n_outputs"], dtype)
    few = {"x_validation": x[:2], "y_validation": y[:2], "x_test": x[:20], "y_test": y[:20], "x_probe": x[:2]}
    settings = TrainingSettings(
        optimizer="sgd",
        learning_rate=LearningRateSettings(absolute=training.LEARNING_RATE),
        batch_size=batch_size,
        max_epochs=n_epochs,
        checkpoints=CheckpointSettings(epochs=(0,)),
        dtype=dtype,
    )
    return Case(
        setup=lambda: training.networks(n_seeds=n_seeds, dtype=dtype, **sizes),
        run=lambda stack: train_unit(
            stack,
            UnitData(x, y, **few),
            settings=settings,
            n_epochs=n_epochs,
            batch_labels=[training.labels(seed) for seed in range(n_seeds)],
        ),
        arrays=lambda unit: {"predictions": unit.test_predictions},
    )
