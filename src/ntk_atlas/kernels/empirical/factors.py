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
from torch.autograd.graph import GradientEdge

from ntk_atlas.kernels.empirical.chain import output_sums, readout_coefficients, signals_at_input, slopes
from ntk_atlas.kernels.empirical.layer_gradients import layer_gradients
from ntk_atlas.kernels.empirical.layers import Layer
from ntk_atlas.kernels.empirical.network_checks import n_samples, sample_axis
from ntk_atlas.kernels.empirical.recorder import LayerRecorder, Record, run
from ntk_atlas.kernels.empirical.structure import NetworkStructure
from ntk_atlas.kernels.errors import StructureChangedError
from ntk_atlas.numerics import in_turn_or_at_once

# Signals that go down a chain at a time: from layer to layer they stay in a core's cache.
_CHAIN_BLOCK = 2**19


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
    workers: int = 1,
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
        workers: passes at a time, each on one thread of its own.

    Returns:
        One `LayerFactors` a piece; S = 1 unless the network is a stack.
    """
    if not pieces:
        return []
    capture = _Capture(structure, pieces, output_reduction, n_samples(network, x))
    axis = sample_axis(network, x)
    blocks = x.split(samples_a_pass, dim=axis)
    starts = [i * samples_a_pass for i in range(len(blocks))]
    with LayerRecorder(capture.recorded) as recorder:
        if structure.chain:
            readout, summed = structure.chain[-1], output_reduction == "logit_sum"
            capture.coefficients = readout_coefficients(network, recorder, readout, x, summed=summed)

        def one_pass(block: Tensor, start: int) -> None:
            with recorder.record() as record:
                output = run(network, block)
            _Pass(capture, record, output, slice(start, start + block.shape[axis])).add()

        # The first pass allocates what stays, on this thread: memory of other threads is not given back after them.
        one_pass(blocks[0], 0)
        in_turn_or_at_once(one_pass, blocks[1:], starts[1:], workers=min(workers, len(blocks) - 1))
    return capture.results()


class _Capture:
    """Factors of all samples, filled pass by pass.

    Attributes:
        layers: layers of the pieces.
        factor_piece: the piece of each layer with input and signal factors, by module.
        shortcut: the last hidden layer, if it is wanted and its outputs are summed.
        recorded: layers to listen to.
        coefficients: of a chain: ∂f_c/∂z of its readout, `(S, C, m)`.
    """

    def __init__(self, structure: NetworkStructure, pieces: Sequence[Piece], output_reduction: str, n: int):
        self.structure, self.pieces, self.reduction, self.n = structure, pieces, output_reduction, n
        self.layers = list(dict.fromkeys(piece.layer for piece in pieces))
        self.factor_piece = {piece.layer.module: piece for piece in pieces if piece.layer.form == "factors"}
        sums = output_reduction in ("trace", "mean")
        self.shortcut = structure.last_hidden if sums and structure.last_hidden in self.factor_piece else None
        self.recorded = {*self.layers, *structure.chain} | ({structure.readout} if self.shortcut is not None else set())
        self.coefficients: Tensor | None = None
        self._inputs: dict[nn.Module, Tensor] = {}
        self._signals: dict[Piece, Tensor] = {}
        self._allocation = threading.Lock()

    def inputs(self, module: nn.Module, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Returns where the inputs A of all samples are kept."""
        with self._allocation:
            if module not in self._inputs:
                self._inputs[module] = like.new_empty(shape)
            return self._inputs[module]

    def signals(self, piece: Piece, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Returns where the signals B of all samples are kept."""
        with self._allocation:
            if piece not in self._signals:
                self._signals[piece] = like.new_empty(shape)
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


class _Pass:
    """One forward pass, and the backward passes that turn it into factors.

    Attributes:
        rows: its samples among all.
        position_signals: ∂f_c/∂z at layers with gradients, `(n, C, *shape of z)`.
    """

    def __init__(self, capture: _Capture, record: Record, output: Tensor, rows: slice):
        self.capture, self.record, self.output, self.rows = capture, record, output, rows
        self.members = capture.structure.n_members
        self.position_signals: dict[nn.Module, Tensor] = {}

    def add(self) -> None:
        """Runs backward and fills the rows of this pass."""
        output, capture = self.output, self.capture
        for layer in capture.layers:
            self.record.check(layer, output.shape[-2], self.members)
        if capture.structure.chain:
            self._add_chain()
        else:
            self._add_signals()
        for layer in capture.layers:
            if layer.form == "factors":
                self._add_inputs(layer, self.record.inputs(layer))
            else:
                self._add_gradients(layer, self.record.inputs(layer))

    def _add_chain(self) -> None:
        capture, chain = self.capture, self.capture.structure.chain
        wanted = [layer.module in capture.factor_piece for layer in chain]
        coefficients = capture.coefficients.unsqueeze(1)  # (S, 1, C, m)
        if wanted[-1]:
            self._place(chain[-1].module, coefficients.shape[2:], constant=True).copy_(coefficients)
        slope_of = {
            position: slopes(self.record, chain[position + 1], self.record.edges[chain[position].module], self.members)
            for position in range(len(chain) - 2, wanted.index(True) - 1, -1)
        }
        widest = max((slope.shape[-1] for slope in slope_of.values()), default=1)
        step = max(1, _CHAIN_BLOCK // (self.members * coefficients.shape[2] * widest))
        n = self.rows.stop - self.rows.start
        for rows in (slice(start, min(start + step, n)) for start in range(0, n, step)):
            signals = coefficients
            for position, slope in slope_of.items():
                signals = signals_at_input(chain[position + 1], signals)
                needed = any(wanted[:position])
                signals = self._add_chain_rows(chain[position].module, signals, slope[:, rows, None], rows, needed)

    def _add_chain_rows(self, module: nn.Module, signals: Tensor, slope: Tensor, rows: slice, needed: bool) -> Tensor:
        """Places the signals of one layer for some rows of this pass; returns them if those below `needed` them."""
        capture = self.capture
        if module is capture.shortcut:
            length = torch.linalg.vector_norm(signals, dim=2, keepdim=True)
            torch.mul(slope, length, out=self._place(module, length.shape[2:])[:, rows])
        elif module in capture.factor_piece:
            return torch.mul(signals, slope, out=self._place(module, signals.shape[2:])[:, rows])
        return signals * slope if needed else signals

    def _place(self, module: nn.Module, shape: tuple[int, ...], *, constant: bool = False) -> Tensor:
        # Where the signals of this pass are kept, (S, n, C, m).
        capture = self.capture
        whole = (self.members, 1 if constant else capture.n, *shape)
        signals = capture.signals(capture.factor_piece[module], whole, self.output)
        return signals if constant else signals[:, self.rows]

    def _add_signals(self) -> None:
        output, capture = self.output, self.capture
        edges = {layer.module: self.record.edges[layer.module] for layer in capture.layers}
        if capture.shortcut is not None:
            self._add_shortcut(edges.pop(capture.shortcut))
        sums = output_sums(output, summed=capture.reduction == "logit_sum")
        for c, output_c in enumerate(sums if edges else []):
            gradients = torch.autograd.grad(
                output_c, list(edges.values()), retain_graph=c + 1 < len(sums), allow_unused=True
            )
            for module, gradient in zip(edges, gradients, strict=True):
                if gradient is None:
                    gradient = output.new_zeros(self.record.output_shapes[module])
                self._add_signal(module, gradient, c, len(sums))

    def _add_shortcut(self, edge: GradientEdge) -> None:
        capture, squares = self.capture, 0.0
        activations = self.record.live_inputs[capture.structure.readout.module]
        (slope,) = torch.autograd.grad(activations.sum(), edge, retain_graph=True)
        for output_c in self.output.unbind(-1):
            (v,) = torch.autograd.grad(output_c.sum(), activations, retain_graph=True)
            v = v.reshape(self.members, -1, v.shape[-1])
            _check_constant(v, v[:, :1])
            squares = squares + v[:, :1] ** 2
        slope = slope.reshape(self.members, -1, slope.shape[-1])
        shape = (self.members, capture.n, 1, slope.shape[-1])
        signals = capture.signals(capture.factor_piece[capture.shortcut], shape, slope)
        torch.mul(slope, squares.sqrt(), out=signals[:, self.rows, 0])

    def _add_signal(self, module: nn.Module, gradient: Tensor, c: int, n_outputs: int) -> None:
        capture = self.capture
        if module not in capture.factor_piece:
            if module not in self.position_signals:
                # One output needs no copy; several are laid out as their gradients, channels first or last.
                one = n_outputs == 1
                self.position_signals[module] = gradient.unsqueeze(1) if one else _empty_outputs(gradient, n_outputs)
            if n_outputs > 1:
                self.position_signals[module][:, c] = gradient
            return
        gradient = gradient.reshape(self.members, -1, gradient.shape[-1])
        constant = module is capture.structure.readout_module
        shape = (self.members, 1 if constant else capture.n, n_outputs, gradient.shape[-1])
        signals = capture.signals(capture.factor_piece[module], shape, gradient)
        if constant:
            if self.rows.start == 0:
                signals[:, :, c] = gradient[:, :1]
            _check_constant(gradient, signals[:, :, c])
        else:
            signals[:, self.rows, c] = gradient

    def _add_inputs(self, layer: Layer, x: Tensor) -> None:
        # A = [w_f x, b_f], written where it stays.
        k = x.shape[-1] * layer.has_weight
        inputs = self.capture.inputs(layer.module, (x.shape[0], self.capture.n, k + layer.has_bias), x)[:, self.rows]
        if layer.has_weight:
            torch.mul(x, getattr(layer.module, "weight_factor", 1.0), out=inputs[..., :k])
        if layer.has_bias:
            inputs[..., k] = getattr(layer.module, "bias_factor", 1.0)

    def _add_gradients(self, layer: Layer, x: Tensor) -> None:
        for piece in self.capture.pieces:
            if piece.layer is layer:
                gradients = layer_gradients(layer, x, self.position_signals[layer.module], piece.channels)
                shape = (1, self.capture.n, *gradients.shape[1:])
                self.capture.signals(piece, shape, gradients)[0, self.rows] = gradients


def _check_constant(rows: Tensor, row: Tensor) -> None:
    if not torch.allclose(rows, row.expand_as(rows), rtol=16 * torch.finfo(rows.dtype).eps, atol=0.0, equal_nan=True):
        raise StructureChangedError("the readout's coefficients depend on the sample")


def _empty_outputs(gradient: Tensor, n_outputs: int) -> Tensor:
    if gradient.dim() == 4 and gradient.is_contiguous(memory_format=torch.channels_last):
        n, channels, height, width = gradient.shape
        return gradient.new_empty(n, n_outputs, height, width, channels).permute(0, 1, 4, 2, 3)
    return gradient.new_empty(len(gradient), n_outputs, *gradient.shape[1:])
