"""Coordinate check (Yang et al. 2022, appendix D.1): do layers keep their size, and what they learn, as widths grow?

The size of a quantity is its root mean square over samples and units. With the size of every hidden layer's activations
and of their change after a few steps ∼ width⁰, learning rates and features have a limit at infinite width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.config.training import TrainingSettings
from ntk_atlas.families.fully_connected import fully_connected
from ntk_atlas.networks.stacked import StackedLayers
from ntk_atlas.streams import torch_stream
from ntk_atlas.training.train import train_unit
from ntk_atlas.training.unit import UnitData


@dataclass(frozen=True)
class CoordinateCheck:
    """Sizes of the layers of S networks at W widths, hidden layers first and the output last.

    Attributes:
        width: `(W,)`.
        size: activations at initialization, `(W, S, depth + 1)`.
        change: their change in training, `(W, S, depth + 1)`; NaN of networks that diverged.
    """

    width: np.ndarray
    size: np.ndarray
    change: np.ndarray

    def slopes(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns d log size/d log width and d log change/d log width of each layer, `(depth + 1,)` each."""
        of_width = np.log(self.width.astype(np.float64))
        return tuple(np.polyfit(of_width, np.log(sizes).mean(1), 1)[0] for sizes in (self.size, self.change))


def coordinate_check(
    network: NetworkSettings,
    training: TrainingSettings,
    x: Tensor,
    y: Tensor,
    *,
    depth: int,
    widths: Sequence[int],
    init_scale: float,
    seeds: int = 4,
) -> CoordinateCheck:
    """Trains fully connected networks of several widths for `training.max_epochs` and measures their layers.

    Args:
        network: the network.
        training: how to train, at the same absolute learning rate at all widths.
        x: inputs `(n, n_inputs)`, on which layers are measured too.
        y: targets `(n, C)`.
        depth: hidden layers.
        widths: units of each hidden layer.
        init_scale: σ_w².
        seeds: S, networks per width.

    Returns:
        The sizes.
    """
    data = UnitData(x_train=x, y_train=y, x_validation=x[:1], y_validation=y[:1], x_test=x[:1], y_test=y[:1], x_probe=x)
    sizes, changes = [], []
    for width in widths:
        stack = fully_connected.build(
            network, depth=depth, width=width, init_scale=init_scale, input_shape=tuple(x.shape[1:]),
            n_outputs=y.shape[1],
            generators=[torch_stream("coordinate check", width, seed) for seed in range(seeds)],
            dtype=getattr(torch, training.dtype),
        )  # fmt: skip
        before = _layers(stack, x)
        labels = [("coordinate check", seed) for seed in range(seeds)]
        train_unit(stack, data, settings=training, n_epochs=training.max_epochs, batch_labels=labels)
        after = _layers(stack, x)
        sizes.append(_sizes(before))
        changes.append(_sizes([late - early for early, late in zip(before, after, strict=True)]))
    return CoordinateCheck(np.array(widths), np.stack(sizes), np.stack(changes))


@torch.no_grad()
def _layers(stack: StackedLayers, x: Tensor) -> list[Tensor]:
    """Activations of the hidden layers, and the outputs, `(S, n, units)` each."""
    x = x.to(stack.layers[0].weight)
    layers = [x]
    for layer in stack.layers[:-1]:
        layers.append(stack.phi(layer(layers[-1])))
    return [*layers[1:], stack.output_scale * stack.layers[-1](layers[-1])]


def _sizes(layers: list[Tensor]) -> np.ndarray:
    return torch.stack([layer.double().square().mean((1, 2)).sqrt() for layer in layers], 1).cpu().numpy()
