r"""What a layer gives to the NTK, as matrices whose Gram matrices multiply: no Jacobian of an affine layer.

For z = w_f · x W + b_f · b, evaluated once a sample, ∂f_c/∂W = w_f · x ⊗ ∂f_c/∂z and ∂f_c/∂b = b_f · ∂f_c/∂z.
With inputs A = [w_f x, b_f] and signals B_c = ∂f_c/∂z the layer's part of the NTK is

    Θ_{cc'}(x, x') = (A(x) · A(x')) (B_c(x) · B_{c'}(x')).

A layer that meets a sample at many positions (convolution, normalization, a linear layer of tokens) has the
per-sample gradients B_c = ∂f_c/∂θ themselves as signals, and no inputs. Samples are independent, so one
backward pass through Σ_i f_c(x_i) gives ∂f_c/∂z of every sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from ntk_atlas.kernels.empirical.layer_gradients import layer_gradients
from ntk_atlas.kernels.empirical.layers import Layer
from ntk_atlas.kernels.empirical.network_checks import n_samples, sample_axis
from ntk_atlas.kernels.empirical.recorder import LayerRecorder, run
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


def capture_factors(
    network: nn.Module,
    structure: NetworkStructure,
    pieces: Sequence[Piece],
    x: Tensor,
    *,
    output_reduction: str = "full",
    samples_a_pass: int = 2048,
) -> list[LayerFactors]:
    """Runs the network forward and backward over `x` and collects the factors of `pieces`.

    Two properties of the readout save work. Its own signals are the same for all samples. And where an elementwise
    activation leads from the last hidden layer z to the readout, the signals of z are B_cj = φ'(z_j) v_cj with
    fixed v, so that Σ_c B_c(x) · B_c(x') = D(x) · D(x') with D_j = φ'(z_j) (Σ_c v_cj²)^½: one column instead of C.

    Args:
        network: in evaluation mode.
        structure: of the network (`structure.probe_network`).
        pieces: what is wanted, each piece once.
        x: inputs as for `network`.
        output_reduction: of the kernel; all but `full` give C = 1.
        samples_a_pass: samples in one forward and backward pass.

    Returns:
        One `LayerFactors` a piece; S = 1 unless the network is a stack.
    """
    if not pieces:
        return []
    axis = sample_axis(network, x)
    capture = _Capture(structure, pieces, output_reduction, n_samples(network, x))
    for block in x.split(samples_a_pass, dim=axis):
        capture.add(network, block, block.shape[axis])
    return capture.results()


class _Capture:
    """Factors of all samples, filled block by block.

    Attributes:
        rows: the samples of the present block among all.
        position_signals: ∂f_c/∂z of the present block at layers with gradients, `(n, C, *shape of z)`.
    """

    def __init__(self, structure: NetworkStructure, pieces: Sequence[Piece], output_reduction: str, n: int):
        self.structure, self.pieces, self.reduction, self.n = structure, pieces, output_reduction, n
        self.layers = list(dict.fromkeys(piece.layer for piece in pieces))
        self.factor_piece = {piece.layer.module: piece for piece in pieces if piece.layer.form == "factors"}
        self.inputs: dict[nn.Module, Tensor] = {}
        self.signals: dict[Piece, Tensor] = {}
        self.rows, self.position_signals = slice(0, 0), {}
        sums = output_reduction in ("trace", "mean")
        self.shortcut = structure.last_hidden if sums and structure.last_hidden in self.factor_piece else None

    def add(self, network: nn.Module, x: Tensor, n: int) -> None:
        """Adds the next n samples."""
        self.rows, self.position_signals = slice(self.rows.stop, self.rows.stop + n), {}
        recorded = {*self.layers} | ({self.structure.readout} if self.shortcut is not None else set())
        with LayerRecorder(recorded) as recorder:
            output = run(network, x)
        edges = {layer.module: recorder.edges[layer.module] for layer in self.layers}
        if self.shortcut is not None:
            self._add_shortcut(recorder, output, edges.pop(self.shortcut))
        # Sums need no explicit cotangents, with which torch would import sympy (seconds a process) to compare shapes.
        logit_sum = self.reduction == "logit_sum"
        sums = [output.sum()] if logit_sum else [output_c.sum() for output_c in output.unbind(-1)]
        for c, output_c in enumerate(sums if edges else []):
            gradients = torch.autograd.grad(
                output_c, list(edges.values()), retain_graph=c + 1 < len(sums), allow_unused=True
            )
            for module, gradient in zip(edges, gradients, strict=True):
                if gradient is None:
                    gradient = output.new_zeros(recorder.output_shapes[module])
                self._add_signal(module, gradient, c, len(sums))
        for layer in self.layers:
            if layer.form == "factors":
                self._add_inputs(layer, recorder.inputs(layer))
            else:
                self._add_gradients(layer, recorder.inputs(layer))

    def _add_shortcut(self, recorder: LayerRecorder, output: Tensor, edge: GradientEdge) -> None:
        activations = recorder.live_inputs[self.structure.readout.module]
        (slope,) = torch.autograd.grad(activations.sum(), edge, retain_graph=True)
        members, squares = self.structure.n_members, 0.0
        for output_c in output[..., 0, :].unbind(-1):
            (v,) = torch.autograd.grad(output_c.sum(), activations, retain_graph=True)
            squares = squares + v.reshape(members, -1, v.shape[-1])[:, :1] ** 2
        slope = slope.reshape(members, -1, slope.shape[-1])
        buffer = self._buffer(self.factor_piece[self.shortcut], (members, self.n, 1, slope.shape[-1]), slope)
        torch.mul(slope, squares.sqrt(), out=buffer[:, self.rows, 0])

    def _add_signal(self, module: nn.Module, gradient: Tensor, c: int, n_outputs: int) -> None:
        if module not in self.factor_piece:
            if module not in self.position_signals:
                # One output needs no copy; several are laid out as their gradients, channels first or last.
                one = n_outputs == 1
                self.position_signals[module] = gradient.unsqueeze(1) if one else _empty_outputs(gradient, n_outputs)
            if n_outputs > 1:
                self.position_signals[module][:, c] = gradient
            return
        members = self.structure.n_members
        gradient = gradient.reshape(members, -1, gradient.shape[-1])
        constant = module is self.structure.readout_module
        shape = (members, 1 if constant else self.n, n_outputs, gradient.shape[-1])
        buffer = self._buffer(self.factor_piece[module], shape, gradient)
        if constant:
            buffer[:, :, c] = gradient[:, :1]
        else:
            buffer[:, self.rows, c] = gradient

    def _add_inputs(self, layer: Layer, x: Tensor) -> None:
        # A = [w_f x, b_f], written where it stays.
        k = x.shape[-1] * layer.has_weight
        if layer.module not in self.inputs:
            self.inputs[layer.module] = x.new_empty(x.shape[0], self.n, k + layer.has_bias)
        target = self.inputs[layer.module][:, self.rows]
        if layer.has_weight:
            torch.mul(x, getattr(layer.module, "weight_factor", 1.0), out=target[..., :k])
        if layer.has_bias:
            target[..., k] = getattr(layer.module, "bias_factor", 1.0)

    def _add_gradients(self, layer: Layer, x: Tensor) -> None:
        for piece in self.pieces:
            if piece.layer is layer:
                gradients = layer_gradients(layer, x, self.position_signals[layer.module], piece.channels)
                buffer = self._buffer(piece, (1, self.n, *gradients.shape[1:]), gradients)
                buffer[0, self.rows] = gradients

    def _buffer(self, piece: Piece, shape: tuple[int, ...], like: Tensor) -> Tensor:
        if piece not in self.signals:
            self.signals[piece] = like.new_empty(shape)
        return self.signals[piece]

    def results(self) -> list[LayerFactors]:
        """Returns the factors of all pieces."""
        found = []
        for piece in self.pieces:
            inputs, signals = self.inputs.get(piece.layer.module), self.signals[piece]
            if self.reduction != "full":
                signals = signals.flatten(2).unsqueeze(2)
            found.append(LayerFactors(inputs, signals))
        return found


def _empty_outputs(gradient: Tensor, n_outputs: int) -> Tensor:
    if gradient.dim() == 4 and gradient.is_contiguous(memory_format=torch.channels_last):
        n, channels, height, width = gradient.shape
        return gradient.new_empty(n, n_outputs, height, width, channels).permute(0, 1, 4, 2, 3)
    return gradient.new_empty(len(gradient), n_outputs, *gradient.shape[1:])
