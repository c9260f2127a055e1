"""Forward and backward passes that fill the factors of a network's layers, some samples at a time.

In a chain of affine layers and elementwise activations, with z^l the outputs of layer l, x^l = φ(z^l) and
z^{l+1} = x^l W^{l+1} + b^{l+1}, the signals B_c^l = ∂f_c/∂z^l of all outputs at once obey

    B_c^l = (B_c^{l+1} W^{l+1}ᵀ) ⊙ φ'(z^l),

so that one matrix product per layer does what automatic differentiation needs a pass per output for. Layers that meet a
sample at many positions give the gradients of each sample (`layer_gradients`).
"""

from collections.abc import Sequence
from functools import reduce
from queue import SimpleQueue

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from ntk_atlas.kernels.empirical.evaluation import twins
from ntk_atlas.kernels.empirical.gram import FactorStore, LayerFactors, Piece
from ntk_atlas.kernels.empirical.layer_gradients import layer_gradients
from ntk_atlas.kernels.empirical.network_checks import kernel_dtype, n_samples, run, sample_axis
from ntk_atlas.kernels.empirical.structure import (
    Layer,
    LayerRecorder,
    NetworkStructure,
    Record,
)
from ntk_atlas.kernels.errors import StructureChangedError
from ntk_atlas.networks.stacked import StackedLinear
from ntk_atlas.numerics import in_turn_or_at_once

# Signals that go down a chain at a time: from layer to layer they stay in a core's cache.
_CHAIN_BLOCK = 2**19


def capture_factors(
    network: nn.Module,
    structure: NetworkStructure,
    pieces: Sequence[Piece],
    x: Tensor,
    *,
    output_reduction: str = "full",
    samples_a_pass: int = 2048,
    at_once: Sequence[nn.Module] = (),
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
        at_once: as many passes run at a time, each on one thread and by one of these (`replicas.replicas`); none
            stands for the network alone.

    Returns:
        One `LayerFactors` a piece; S = 1 unless the network is a stack.
    """
    if not pieces:
        return []
    store = FactorStore(structure, pieces, output_reduction, n_samples(network, x), kernel_dtype(network))
    axis = sample_axis(network, x)
    blocks = x.split(samples_a_pass, dim=axis)
    starts = [i * samples_a_pass for i in range(len(blocks))]
    others = [twins(network, replica) for replica in at_once if replica is not network]
    idle: SimpleQueue[nn.Module] = SimpleQueue()
    for replica in at_once or [network]:
        idle.put(replica)
    with LayerRecorder(store.recorded, others) as recorder:
        if structure.chain:
            readout, summed = structure.chain[-1], output_reduction == "logit_sum"
            coefficients = readout_coefficients(network, recorder, readout, x, summed=summed)
            store.coefficients = coefficients.to(store.dtype)

        def one_pass(block: Tensor, start: int) -> None:
            replica = idle.get()  # kept to the end: a backward pass may run parts of it again
            try:
                with recorder.record() as record:
                    output = run(replica, block)
                _Pass(store, record, output, slice(start, start + block.shape[axis])).add()
            finally:
                idle.put(replica)

        # The first pass allocates what stays, on this thread: memory of other threads is not given back after them.
        one_pass(blocks[0], 0)
        in_turn_or_at_once(one_pass, blocks[1:], starts[1:], workers=min(len(at_once), len(blocks) - 1))
    return store.results()


class _Pass:
    """One forward pass, and the backward passes that turn it into factors.

    Attributes:
        rows: its samples among all.
        position_signals: ∂f_c/∂z at layers with gradients, `(n, C, *shape of z)`.
    """

    def __init__(self, store: FactorStore, record: Record, output: Tensor, rows: slice):
        self.store, self.record, self.output, self.rows = store, record, output, rows
        self.members = store.structure.n_members
        self.position_signals: dict[nn.Module, Tensor] = {}

    def add(self) -> None:
        """Runs backward and fills the rows of this pass."""
        output, store = self.output, self.store
        for layer in store.layers:
            self.record.check(layer, output.shape[-2], self.members)
        if store.structure.chain:
            self._add_chain()
        else:
            self._add_signals()
        for layer in store.layers:
            if layer.form == "factors":
                self._add_inputs(layer, self.record.inputs(layer))
            else:
                self._add_gradients(layer, self.record.inputs(layer))

    def _add_chain(self) -> None:
        store, chain = self.store, self.store.structure.chain
        wanted = [layer.module in store.factor_piece for layer in chain]
        coefficients = store.coefficients.unsqueeze(1)  # (S, 1, C, m)
        if wanted[-1]:
            self._place(chain[-1].module, coefficients.shape[2:], constant=True).copy_(coefficients)
        slope_of = {
            position: slopes(
                self.record, chain[position + 1], self.record.edges[chain[position].module], self.members
            ).to(store.dtype)
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
        store = self.store
        if module is store.shortcut:
            length = torch.linalg.vector_norm(signals, dim=2, keepdim=True)
            torch.mul(slope, length, out=self._place(module, length.shape[2:])[:, rows])
        elif module in store.factor_piece:
            return torch.mul(signals, slope, out=self._place(module, signals.shape[2:])[:, rows])
        return signals * slope if needed else signals

    def _place(self, module: nn.Module, shape: tuple[int, ...], *, constant: bool = False) -> Tensor:
        # Where the signals of this pass are kept, (S, n, C, m).
        store = self.store
        whole = (self.members, 1 if constant else store.n, *shape)
        signals = store.signals(store.factor_piece[module], whole, self.output)
        return signals if constant else signals[:, self.rows]

    def _add_signals(self) -> None:
        output, store = self.output, self.store
        edges: dict[nn.Module, GradientEdge] = {m.module: self.record.edges[m.module] for m in store.layers}
        if store.shortcut is not None and store.structure.readout is not None:
            self._add_shortcut(store.shortcut, store.structure.readout.module, edges.pop(store.shortcut))
        sums = output_sums(output, summed=store.reduction == "logit_sum")
        for c, output_c in enumerate(sums if edges else []):
            gradients = torch.autograd.grad(
                output_c, list(edges.values()), retain_graph=c + 1 < len(sums), allow_unused=True
            )
            for module, gradient in zip(edges, gradients, strict=True):
                if gradient is None:
                    gradient = output.new_zeros(self.record.output_shapes[module])
                self._add_signal(module, gradient, c, len(sums))

    def _add_shortcut(self, hidden: nn.Module, readout: nn.Module, edge: GradientEdge) -> None:
        store, squares = self.store, []
        activations = self.record.live_inputs[readout]
        (slope,) = torch.autograd.grad(activations.sum(), edge, retain_graph=True)
        for output_c in self.output.unbind(-1):
            (v,) = torch.autograd.grad(output_c.sum(), activations, retain_graph=True)
            v = v.reshape(self.members, -1, v.shape[-1]).to(store.dtype)
            _check_constant(v, v[:, :1])
            squares.append(v[:, :1] ** 2)
        slope = slope.reshape(self.members, -1, slope.shape[-1]).to(store.dtype)
        shape = (self.members, store.n, 1, slope.shape[-1])
        signals = store.signals(store.factor_piece[hidden], shape, slope)
        torch.mul(slope, reduce(torch.add, squares).sqrt(), out=signals[:, self.rows, 0])

    def _add_signal(self, module: nn.Module, gradient: Tensor, c: int, n_outputs: int) -> None:
        store = self.store
        if module not in store.factor_piece:
            if module not in self.position_signals:
                # One output needs no copy; several are laid out as their gradients, channels first or last.
                gradient, one = gradient.to(store.dtype), n_outputs == 1
                self.position_signals[module] = gradient.unsqueeze(1) if one else _empty_outputs(gradient, n_outputs)
            if n_outputs > 1:
                self.position_signals[module][:, c] = gradient
            return
        gradient = gradient.reshape(self.members, -1, gradient.shape[-1])
        constant = module is store.structure.readout_module
        shape = (self.members, 1 if constant else store.n, n_outputs, gradient.shape[-1])
        signals = store.signals(store.factor_piece[module], shape, gradient)
        if constant:
            if self.rows.start == 0:
                signals[:, :, c] = gradient[:, :1]
            _check_constant(gradient, signals[:, :, c].to(gradient))
        else:
            signals[:, self.rows, c] = gradient

    def _add_inputs(self, layer: Layer, x: Tensor) -> None:
        # A = [w_f x, b_f], written where it stays.
        k = x.shape[-1] * layer.has_weight
        inputs = self.store.inputs(layer.module, (x.shape[0], self.store.n, k + layer.has_bias), x)[:, self.rows]
        if layer.has_weight:
            torch.mul(x, getattr(layer.module, "weight_factor", 1.0), out=inputs[..., :k])
        if layer.has_bias:
            inputs[..., k] = getattr(layer.module, "bias_factor", 1.0)

    def _add_gradients(self, layer: Layer, x: Tensor) -> None:
        for piece in self.store.pieces:
            if piece.layer is layer:
                signals = self.position_signals[layer.module]
                gradients = layer_gradients(layer, x.to(self.store.dtype), signals, piece.channels)
                shape = (1, self.store.n, *gradients.shape[1:])
                self.store.signals(piece, shape, gradients)[0, self.rows] = gradients


def _check_constant(rows: Tensor, row: Tensor) -> None:
    if not torch.allclose(rows, row.expand_as(rows), rtol=16 * torch.finfo(rows.dtype).eps, atol=0.0, equal_nan=True):
        raise StructureChangedError("the readout's coefficients depend on the sample")


def _empty_outputs(gradient: Tensor, n_outputs: int) -> Tensor:
    if gradient.dim() == 4 and gradient.is_contiguous(memory_format=torch.channels_last):
        n, channels, height, width = gradient.shape
        return gradient.new_empty(n, n_outputs, height, width, channels).permute(0, 1, 4, 2, 3)
    return gradient.new_empty(len(gradient), n_outputs, *gradient.shape[1:])


def output_sums(output: Tensor, *, summed: bool) -> list[Tensor]:
    """Each output summed over members and samples, or (`summed`) all of them together.

    Sums need no explicit cotangents, with which torch would import sympy (seconds a process) to compare shapes.
    """
    return [output.sum()] if summed else [output_c.sum() for output_c in output.unbind(-1)]


def readout_coefficients(
    network: nn.Module, recorder: LayerRecorder, readout: Layer, x: Tensor, *, summed: bool
) -> Tensor:
    """Coefficients of the outputs in those of the readout, `(S, C, m)`: ∂f_c/∂z, the same at all samples.

    Args:
        network: a chain.
        recorder: listens to its readout.
        readout: its last layer.
        x: inputs as for the network, of which the first sample is used.
        summed: whether outputs are summed (C = 1).

    Returns:
        The coefficients.
    """
    with recorder.record() as record:
        output = run(network, x.narrow(sample_axis(network, x), 0, 1))
    edge = record.edges[readout.module]
    sums = output_sums(output, summed=summed)
    rows = [torch.autograd.grad(f, edge, retain_graph=f is not sums[-1])[0] for f in sums]
    return torch.stack([row.reshape(-1, row.shape[-1]) for row in rows], dim=1)


def slopes(record: Record, above: Layer, edge: GradientEdge, members: int) -> Tensor:
    """φ'(z) of the activation that leads from the layer at `edge` to the layer `above`, `(S, n, m)`."""
    activations = record.live_inputs[above.module]
    (slope,) = torch.autograd.grad(activations.sum(), edge, retain_graph=True)
    return slope.reshape(members, -1, slope.shape[-1])


def signals_at_input(layer: Layer, signals: Tensor) -> Tensor:
    """Signals at the outputs of an affine layer, taken to its inputs: B Wᵀ.

    Args:
        layer: a linear layer.
        signals: B, `(S, n, C, fan_out)`.

    Returns:
        `(S, n, C, fan_in)`.
    """
    flat, module = signals.flatten(1, 2), layer.module
    weight = module.weight.detach().to(signals.dtype)
    if isinstance(module, StackedLinear):
        pulled = torch.bmm(flat, weight.mT)
        if module.weight_factor != 1.0:
            pulled *= module.weight_factor
    else:
        pulled = flat @ weight
    return pulled.view(*signals.shape[:-1], -1)
