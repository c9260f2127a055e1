r"""What a layer gives to the NTK, as matrices whose Gram matrices multiply: no Jacobian of an affine layer.

For z = w_f · x W + b_f · b, evaluated once a sample, ∂f_c/∂W = w_f · x ⊗ ∂f_c/∂z and ∂f_c/∂b = b_f · ∂f_c/∂z.
With inputs A = [w_f x, b_f] and signals B_c = ∂f_c/∂z the layer's part of the NTK is

    Θ_{cc'}(x, x') = (A(x) · A(x')) (B_c(x) · B_{c'}(x')).

A layer that meets a sample at many positions (convolution, normalization, a linear layer of tokens) has the
per-sample gradients B_c = ∂f_c/∂θ themselves as signals, and no inputs. Samples are independent, so one
backward pass through Σ_i f_c(x_i) gives ∂f_c/∂z of every sample; in a chain of layers and activations one matrix
product a layer gives those of all outputs (`chain`).
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ntk_atlas.kernels.empirical.layers import Layer
from ntk_atlas.kernels.empirical.structure import NetworkStructure


@dataclass(frozen=True)
class LayerFactors:
    """Factors whose Gram matrices multiply, entry by entry, to a part of the NTK.

    Attributes:
        inputs: A, `(S or 1, n, k)`; None stands for ones.
        signals: B, `(S, n, C, m)`, or `(S, 1, C, m)` if they are equal for all samples. For sums over outputs
            C = 1, and the outputs lie along m.
    """

    inputs: Tensor | None
    signals: Tensor

    @property
    def n_samples(self) -> int:
        """Number of samples n."""
        return (self.signals if self.inputs is None else self.inputs).shape[1]


@dataclass(frozen=True)
class Piece:
    """A layer, or those of its parameters that belong to some of its output channels.

    Attributes:
        layer: the layer.
        channels: first output channel and the one after the last; None for a layer with input and signal factors.
    """

    layer: Layer
    channels: tuple[int, int] | None = None


class FactorStore:
    """Factors of all samples, filled pass by pass.

    Attributes:
        layers: layers of the pieces.
        factor_piece: the piece of each layer with input and signal factors, by module.
        shortcut: the last hidden layer, if it is wanted and its outputs are summed.
        recorded: layers to listen to.
        dtype: precision of the factors, that of the kernel.
        coefficients: of a chain: ∂f_c/∂z of its readout, `(S, C, m)`.
    """

    def __init__(
        self,
        structure: NetworkStructure,
        pieces: Sequence[Piece],
        output_reduction: str,
        n: int,
        dtype: torch.dtype,
    ):
        self.structure, self.pieces, self.reduction, self.n = structure, pieces, output_reduction, n
        self.dtype = dtype
        self.layers = list(dict.fromkeys(piece.layer for piece in pieces))
        self.factor_piece: dict[nn.Module, Piece] = {
            piece.layer.module: piece for piece in pieces if piece.layer.form == "factors"
        }
        sums = output_reduction in ("trace", "mean")
        self.shortcut = structure.last_hidden if sums and structure.last_hidden in self.factor_piece else None
        self.recorded = {*self.layers, *structure.chain}
        if self.shortcut is not None and structure.readout is not None:
            self.recorded.add(structure.readout)
        self.coefficients: Tensor  # is set where there is a chain
        self._inputs: dict[nn.Module, Tensor] = {}
        self._signals: dict[Piece, Tensor] = {}
        self._allocation = threading.Lock()

    def inputs(self, module: nn.Module, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Returns where the inputs A of all samples are kept."""
        with self._allocation:
            if module not in self._inputs:
                self._inputs[module] = like.new_empty(shape, dtype=self.dtype)
            return self._inputs[module]

    def signals(self, piece: Piece, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Returns where the signals B of all samples are kept."""
        with self._allocation:
            if piece not in self._signals:
                self._signals[piece] = like.new_empty(shape, dtype=self.dtype)
            return self._signals[piece]

    def results(self) -> list[LayerFactors]:
        """Returns the factors of all pieces."""
        found = []
        for piece in self.pieces:
            inputs, signals = self._inputs.get(piece.layer.module), self._signals[piece]
            if self.reduction != "full":
                signals = signals.flatten(2).unsqueeze(2)
            found.append(LayerFactors(inputs, signals))
        return found
