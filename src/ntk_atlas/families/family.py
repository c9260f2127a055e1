"""What a family of networks is: how an input passes their layers, what is known of them, and what is not.

A family is asked for everything that depends on the kind of a network: layers and stacks, kernels of infinite width,
phases, estimates. Nothing here imports torch before it is used: a run is planned with the same objects.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ntk_atlas.config.base import Settings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ntk_atlas.config.network import NetworkSettings
    from ntk_atlas.kernels.infinite.kernels import InfiniteKernels
    from ntk_atlas.networks.notices import NetworkNotices
    from ntk_atlas.networks.stacked import StackedNetwork
    from ntk_atlas.phases import Phase


class FamilyError(ValueError):
    """A name that is no family's, something in a user's file that is none, or a family that contradicts itself."""


@dataclass(frozen=True)
class LayerSize:
    """One layer with weights and biases.

    Attributes:
        fan_in: numbers that each of its outputs sees.
        fan_out: its outputs, at each position.
        positions: how often it is applied to a sample: pixels of a convolution, else 1.
    """

    fan_in: int
    fan_out: int
    positions: int = 1

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return (self.fan_in + 1) * self.fan_out

    @property
    def multiply_adds(self) -> int:
        """Multiplications of one forward pass of one sample."""
        return self.fan_in * self.fan_out * self.positions


def dense_layers(input_shape: Sequence[int], depth: int, width: int, n_outputs: int) -> tuple[LayerSize, ...]:
    """`depth` hidden layers of `width` units and a readout, each applied to all outputs of the layer before it."""
    sizes = [math.prod(input_shape), *[width] * depth, n_outputs]
    return tuple(LayerSize(*pair) for pair in pairwise(sizes))


class Family(ABC):
    """A family of networks: one member for each depth, width and σ_w², drawn from a random stream.

    A family of affine layers and one activation needs `title` and `layers`, and a method
    `forward(layers, phi, x)` if they do not stand one after another: layers in their order, φ, and samples flattened,
    `(n, n_inputs)` for all members or `(S, n, n_inputs)`, give the outputs `(S, n, n_outputs)`. It keeps nothing
    between calls. Other families write `build`. Whatever else a family does not write, its networks do not have, and
    the `without_…` methods say so: they are asked before any work, and give the reason as the end of a sentence,
    empty if there is none.

    Attributes:
        name: in a config.
        title: the networks in sentences, "residual networks".
        summary: what the networks are, for the table of keys of a built-in family.
        section: the class of the family's own section, `network.<name>`; None if it has none.
        keys: keys of `network` that mean something to the family; None for all but the sections of other families.
        measured: whether sizes and costs are known only from networks that were built, and networks are built with
            samples to try them on.
        sees_images: whether rows of numbers lose what the networks see, so that kernels of rows are stand-ins.
        layer_step: CPU seconds of one layer in one optimizer step of a stack, whatever its arithmetic.
    """

    name: str = ""
    title: str
    summary: str = ""
    section: type[Settings] | None = None
    keys: frozenset[str] | None = None
    measured: bool = False
    sees_images: bool = False
    layer_step: float = 3.5e-4

    @abstractmethod
    def layers(
        self, settings: "NetworkSettings", input_shape: tuple[int, ...], depth: int, width: int, n_outputs: int
    ) -> tuple[LayerSize, ...]:
        """The layers of a network, from input to output; the readout is the last.

        Args:
            settings: the network.
            input_shape: of one sample.
            depth: hidden layers.
            width: units or channels.
            n_outputs: outputs.

        Raises:
            ValueError: if the samples are none that such a network takes.
        """

    def build(
        self,
        settings: "NetworkSettings",
        *,
        depth: int,
        width: int,
        init_scale: float,
        input_shape: tuple[int, ...],
        n_outputs: int,
        generators: "Sequence[torch.Generator]",
        dtype: "torch.dtype",
        samples: "Tensor | None" = None,
    ) -> "StackedNetwork":
        """Draws one network per generator, see `build_networks`."""
        from ntk_atlas.activations import activation

        # By public names, here and below: who builds networks or has kernels depends on their code, not all who plan.
        from ntk_atlas.networks import ActivationLayer, StackedLayers, StackedLinear, drawn_layers

        sizes = self.layers(settings, input_shape, depth, width, n_outputs)
        fan_ins, shapes = [layer.fan_in for layer in sizes], [(layer.fan_in, layer.fan_out) for layer in sizes]
        weights = [math.sqrt(init_scale) / math.sqrt(fan_in) for fan_in in fan_ins]
        drawn = drawn_layers(settings, shapes, fan_ins, weights, width=width, generators=generators, dtype=dtype)
        layers = [StackedLinear(*layer) for layer in drawn]
        for layer in layers:
            if layer.bias is not None:
                layer.bias.requires_grad_(settings.trainable_biases)
        phi, through = ActivationLayer(activation(settings.activation)), getattr(self, "forward", None)
        return StackedLayers(layers, phi, settings.output_scale, input_shape, through=through)

    def problems(
        self, settings: "NetworkSettings", input_shape: tuple[int, ...], depths: Sequence[int], width: int
    ) -> Iterator[tuple[str, str]]:
        """What keeps networks of some depths from these samples: key of the experiment and message of each problem."""
        try:
            for depth in depths:
                self.layers(settings, input_shape, depth, width, 1)
        except ValueError as error:
            yield "network.architecture", str(error)

    def notices(
        self,
        settings: "NetworkSettings",
        grid: Mapping[str, Sequence[float]],
        samples: "Tensor",
        n_outputs: int,
    ) -> "NetworkNotices":
        """What the user should know of networks that were tried on samples `(n, *input_shape)`.

        Args:
            settings: the network.
            grid: the values of `depth`, `width` and `init_scale`.
            samples: two or more training inputs.
            n_outputs: outputs.
        """
        from ntk_atlas.networks import NetworkNotices

        return NetworkNotices()

    def infinite_kernels(
        self,
        x1: "Tensor",
        x2: "Tensor | None" = None,
        *,
        depths: Sequence[int],
        settings: "NetworkSettings",
        init_scale: float,
        width: int | None = None,
    ) -> "InfiniteKernels":
        """NNGP and NTK at infinite width.

        Args:
            x1: inputs `(n1, *shape)`.
            x2: inputs `(n2, *shape)`; None stands for `x1` and gives exactly symmetric kernels.
            depths: numbers of hidden layers.
            settings: the network.
            init_scale: σ_w².
            width: hidden units or channels, for parameterizations whose NTK grows with them.

        Returns:
            Both kernels, `(n_depths, n1, n2)`, float64, with bounds of their errors.

        Raises:
            KernelInputError: if there are none, or the inputs cannot be those of the network.
        """
        from ntk_atlas.kernels import KernelInputError

        raise KernelInputError(f"there are no kernels of infinite width: {self.without_infinite_kernel()}")

    def without_infinite_kernel(self) -> str:
        """Why there are no kernels of infinite width; empty if there are."""
        if type(self).infinite_kernels is not Family.infinite_kernels:
            return ""
        return f"kernels of infinite width are not written for {self.title}"

    def output_variance(self, x: "Tensor", *, depth: int, settings: "NetworkSettings", init_scale: float) -> "Tensor":
        """Variance of each output at initialization and infinite width, the NNGP of inputs with themselves.

        Args:
            x: inputs `(n, *shape)`.
            depth: hidden layers.
            settings: the network.
            init_scale: σ_w².

        Returns:
            α² K(x, x), `(n,)`, float64.

        Raises:
            KernelInputError: as `infinite_kernels`.
        """
        import torch

        kernels = (
            self.infinite_kernels(part, depths=[depth], settings=settings, init_scale=init_scale, width=1)
            for part in x.split(64)
        )
        return torch.cat([part.nngp[0].diagonal() for part in kernels])

    def infinite_cost(
        self,
        n_train: int,
        n_rest: int,
        *,
        input_shape: tuple[int, ...],
        depths: Sequence[int],
        settings: "NetworkSettings",
    ) -> float:
        """Seconds that kernels of infinite width take in one regression; 0 if they are not worth a word.

        Args:
            n_train: training samples, each with each.
            n_rest: samples predicted, each with all training samples.
            input_shape: of one sample.
            depths: numbers of hidden layers.
            settings: the network.
        """
        return 0.0

    def kernel_sweeps(self, depths: Sequence[int]) -> Sequence[int]:
        """Depths of the networks whose infinite kernels are evaluated: the deepest one's sweep has all depths in it."""
        return [max(depths)]

    def kernel_pairs(self, settings: "NetworkSettings", layer: LayerSize) -> int:
        """Pairs of numbers in a layer that infinite kernels evaluate for one pair of samples, for estimates."""
        return 1

    def phase(self, settings: "NetworkSettings", init_scale: float) -> "Phase":
        """The phase of an initialization with σ_w² = `init_scale`.

        Raises:
            FamilyError: if it is not known.
            ActivationError: if an activation of the user's own is not usable.
        """
        raise FamilyError(self.without_phases())

    def without_phases(self) -> str:
        """Why phases are unknown; empty if they are known."""
        return "" if type(self).phase is not Family.phase else f"the phases of {self.title} are not known"

    def without_dispersion(self) -> str:
        """Why the law of the kernel at initialization is not sampled; empty if it is."""
        return (
            "the law of the kernel at initialization is sampled for fully connected networks, "
            f"and these are {self.title}"
        )

    def without_variants(self) -> str:
        """Why networks are not held against the variants of the NTK; empty if they are."""
        return f"the variants are of built-in fully connected networks, and these are {self.title}"
