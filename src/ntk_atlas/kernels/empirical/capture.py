"""Forward and backward passes that fill the factors of a network's layers, some samples at a time.

In a chain of affine layers and elementwise activations, with z^l the outputs of layer l, x^l = φ(z^l) and
z^{l+1} = x^l W^{l+1} + b^{l+1}, the signals B_c^l = ∂f_c/∂z^l of all outputs at once obey

    B_c^l = (B_c^{l+1} W^{l+1}ᵀ) ⊙ φ'(z^l),

so that one matrix product per layer does what automatic differentiation needs a pass per output for. Everywhere else
one backward pass an output gives the signals of all samples, at layers and wherever parameters meet samples (`parts`).
"""

from collections.abc import Sequence
from functools import reduce
from queue import SimpleQueue

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node

from ntk_atlas.kernels.empirical.evaluation import twins
from ntk_atlas.kernels.empirical.gram import Factors, FactorStore
from ntk_atlas.kernels.empirical.network_checks import kernel_dtype, n_samples, run, sample_axis
from ntk_atlas.kernels.empirical.parts import (
    Graph,
    Matrix,
    Meeting,
    Part,
    Summed,
    anchor_of,
    product_gradients,
    pulled_back,
    shape_of,
)
from ntk_atlas.kernels.empirical.structure import Item, Layer, LayerRecorder, NetworkStructure, Record
from ntk_atlas.kernels.errors import StructureChangedError
from ntk_atlas.networks.stacked import StackedLinear
from ntk_atlas.numerics import in_turn_or_at_once

# Signals that go down a chain at a time: from layer to layer they stay in a core's cache.
_CHAIN_BLOCK = 2**19


def capture_factors(
    network: nn.Module,
    structure: NetworkStructure,
    items: Sequence[Item],
    x: Tensor,
    *,
    output_reduction: str = "full",
    samples_a_pass: int = 2048,
    at_once: Sequence[nn.Module] = (),
    workspace: int = 2**26,
) -> list[Factors]:
    """Runs the network forward and backward over `x` and collects the factors of `items`.

    Two properties of the readout save work. Its own signals are the same for all samples. And where an elementwise
    activation leads from the last hidden layer z to the readout, the signals of z are B_cj = φ'(z_j) v_cj with
    fixed v, so that Σ_c B_c(x) · B_c(x') = D(x) · D(x') with D_j = φ'(z_j) (Σ_c v_cj²)^½: one column instead of C.

    Args:
        network: in evaluation mode.
        structure: of the network (`structure.probe_network`).
        items: what is wanted, each layer and part once.
        x: inputs as for `network`.
        output_reduction: of the kernel; all but `full` give C = 1.
        samples_a_pass: samples in one forward and backward pass.
        at_once: as many passes run at a time, each on one thread and by one of these (`replicas.replicas`); none
            stands for the network alone.
        workspace: bytes that products of positions may hold later.

    Returns:
        The factors of each item; S = 1 unless the network is a stack.
    """
    if not items:
        return []
    if structure.channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    n = n_samples(network, x)
    store = FactorStore(structure, items, output_reduction, n, kernel_dtype(network), workspace)
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
                    output = run(replica, _as_probed(block, axis) if store.parts else block)
                _Pass(store, record, output, slice(start, start + block.shape[axis])).add()
            finally:
                idle.put(replica)

        # The first pass allocates what stays, on this thread: memory of other threads is not given back after them.
        one_pass(blocks[0], 0)
        in_turn_or_at_once(one_pass, blocks[1:], starts[1:], workers=min(len(at_once), len(blocks) - 1))
    return store.results()


def _as_probed(block: Tensor, axis: int) -> Tensor:
    """Samples as the probes see them, with a gradient and not alone: graphs of one sample may differ."""
    block = torch.cat([block, block], axis) if block.shape[axis] == 1 else block
    return block.detach().clone().requires_grad_() if block.is_floating_point() else block


class _Pass:
    """One forward pass, and the backward passes that turn it into factors.

    Attributes:
        rows: its samples among all.
        graph: of its output, as far as parts are concerned.
        signals: ∂f_c/∂z of each output at products whose gradients are formed here, by node.
        factors: numbers of the forward pass that multiply signals, the same for all outputs.
    """

    def __init__(self, store: FactorStore, record: Record, output: Tensor, rows: slice):
        self.store, self.record, self.output, self.rows = store, record, output, rows
        self.members = store.structure.n_members
        self.signals: dict[Node, list[Tensor]] = {}
        self.factors: dict[Meeting, Tensor | float | None] = {}
        if store.parts:
            self.graph = Graph(output, store.structure.met)
            if self.graph.names != store.structure.graph_names:
                raise StructureChangedError("the graph of its outputs depends on the samples, or on their number")

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
            self._add_inputs(layer, self.record.inputs(layer))
        for part in store.parts:
            if store.form[part] != "gradients":
                self._add_kept_inputs(part)
            elif part.direct and not all(isinstance(meeting.rule, Summed) for meeting in part.meetings):
                self._add_gradients(part)

    def _add_chain(self) -> None:
        store, chain = self.store, self.store.structure.chain
        wanted = [layer.module in store.modules for layer in chain]
        coefficients = store.coefficients.unsqueeze(1)  # (S, 1, C, m)
        if wanted[-1]:
            self._place(chain[-1], coefficients.shape[2:], constant=True).copy_(coefficients)
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
                signals = self._add_chain_rows(chain[position], signals, slope[:, rows, None], rows, needed)

    def _add_chain_rows(self, layer: Layer, signals: Tensor, slope: Tensor, rows: slice, needed: bool) -> Tensor:
        """Places the signals of one layer for some rows of this pass; returns them if those below `needed` them."""
        store = self.store
        if layer.module is store.shortcut:
            length = torch.linalg.vector_norm(signals, dim=2, keepdim=True)
            torch.mul(slope, length, out=self._place(layer, length.shape[2:])[:, rows])
        elif layer.module in store.modules:
            return torch.mul(signals, slope, out=self._place(layer, signals.shape[2:])[:, rows])
        return signals * slope if needed else signals

    def _place(self, layer: Layer, shape: tuple[int, ...], *, constant: bool = False) -> Tensor:
        # Where the signals of this pass are kept, (S, n, C, m).
        whole = (self.members, 1 if constant else self.store.n, *shape)
        signals = self.store.held((layer, "signals"), whole, self.output)
        return signals if constant else signals[:, self.rows]

    def _add_signals(self) -> None:
        output, store = self.output, self.store
        layers = [layer for layer in store.layers if layer.module is not store.shortcut]
        shortcut = next((layer for layer in store.layers if layer.module is store.shortcut), None)
        if shortcut is not None and store.structure.readout is not None:
            self._add_shortcut(shortcut, store.structure.readout.module)
        nodes = list(dict.fromkeys(self.graph.nodes[m.node] for part in store.parts for m in part.meetings))
        edges = [self.record.edges[layer.module] for layer in layers] + [GradientEdge(node, 0) for node in nodes]
        # What the forward pass has saved is read after the last output, too.
        again = bool(store.parts)
        sums = output_sums(output, summed=store.reduction == "logit_sum")
        for c, output_c in enumerate(sums if edges else []):
            gradients = torch.autograd.grad(output_c, edges, retain_graph=again or c + 1 < len(sums), allow_unused=True)
            for layer, gradient in zip(layers, gradients[: len(layers)], strict=True):
                if gradient is None:
                    gradient = output.new_zeros(self.record.output_shapes[layer.module])
                self._add_signal(layer, gradient, c, len(sums))
            signals = {
                node: output.new_zeros(shape_of(node)) if signal is None else signal
                for node, signal in zip(nodes, gradients[len(layers) :], strict=True)
            }
            for part in store.parts:
                self._add_part(part, signals, c, len(sums))

    @torch.no_grad()
    def _add_part(self, part: Part, signals: dict[Node, Tensor], c: int, n_outputs: int) -> None:
        """Places what one output gives to a part, or keeps its signals until gradients of all outputs are formed."""
        store = self.store
        if store.form[part] != "gradients":
            start, like = 0, next(iter(signals.values()))
            shape = (store.n, part.positions, n_outputs, part.products[0].fan_out)
            place = store.held((part, "signals"), shape, like)[self.rows]
            for meeting, product in zip(part.meetings, part.products, strict=True):
                found = product.signals(meeting.axis, signals[self.graph.nodes[meeting.node]])
                place[:, start : start + product.positions, c] = found[: len(place)]
                start += product.positions
        elif not part.direct:
            self._put(part, self._pulled_back(part, signals), c, n_outputs)
        elif all(isinstance(meeting.rule, Summed) for meeting in part.meetings):
            several = [self._summed(meeting, signals) for meeting in part.meetings]
            self._put(part, several[0] if len(several) == 1 else torch.stack(several).sum(0), c, n_outputs)
        else:
            for node in {self.graph.nodes[meeting.node] for meeting in part.meetings}:
                kept = self.signals.setdefault(node, [])
                if len(kept) == c:
                    kept.append(signals[node])

    def _summed(self, meeting: Meeting, signals: dict[Node, Tensor]) -> Tensor:
        node, rule = self.graph.nodes[meeting.node], meeting.rule
        assert isinstance(rule, Summed)
        if meeting.turned:
            return meeting.gradients(node, [signals[node]], self.store.dtype)
        if meeting not in self.factors:
            self.factors[meeting] = rule.factor_of(node)
        return rule.summed(meeting.axis, [signals[node]], self.store.dtype, self.factors[meeting])

    def _pulled_back(self, part: Part, signals: dict[Node, Tensor]) -> Tensor:
        anchors: dict[tuple[Node, int], Tensor] = {}
        for meeting in part.meetings:
            node = self.graph.nodes[meeting.node]
            anchor = anchor_of(node, meeting.argument)
            found = meeting.rule.gradients(node, meeting.axis, [signals[node]], self.store.dtype)
            found = found.reshape(len(found), *shape_of(*anchor)).to(signals[node].dtype)
            anchors[anchor] = anchors[anchor] + found if anchor in anchors else found
        return pulled_back(anchors, list(part.parameters.values())).unsqueeze(1)

    def _put(self, part: Part, gradients: Tensor, c: int, n_outputs: int) -> None:
        place = self._place_of(part, n_outputs, gradients.shape[-1])
        place[:, c : c + gradients.shape[1]] = gradients[: len(place)]

    def _place_of(self, part: Part, n_outputs: int, n_parameters: int) -> Tensor:
        # Where the gradients of this pass are kept, (n, C, P).
        shape = (1, self.store.n, n_outputs, n_parameters)
        return self.store.held((part, "signals"), shape, self.output)[0, self.rows]

    @torch.no_grad()
    def _add_gradients(self, part: Part) -> None:
        """Per-sample gradients of all outputs at once."""
        dtype, met = self.store.dtype, [(m, self.graph.nodes[m.node]) for m in part.meetings]
        place = self._place_of(part, len(self.signals[met[0][1]]), part.n_parameters)
        matrices = [product for product in part.products if isinstance(product, Matrix)]
        if matrices:
            # Further meetings are further positions of one product, which is formed where it stays.
            products = list(zip(matrices, met, strict=True))
            a = torch.cat([product.inputs(node, m.axis) for product, (m, node) in products], 1)
            signals = [
                torch.stack([product.signals(m.axis, s) for s in self.signals[node]], 2)
                for product, (m, node) in products
            ]
            kept = slice(len(place))
            product_gradients(a[kept].to(dtype), torch.cat(signals, 1)[kept].to(dtype), place)
            return
        found = None
        for meeting, node in met:
            one = meeting.gradients(node, self.signals[node], dtype)
            found = one if found is None else found + one
        assert found is not None
        self._put(part, found, 0, found.shape[1])

    @torch.no_grad()
    def _add_kept_inputs(self, part: Part) -> None:
        for number, (meeting, product) in enumerate(zip(part.meetings, part.products, strict=True)):
            found = product.inputs(self.graph.nodes[meeting.node], meeting.axis).detach()
            dtype = self.store.dtype if found.is_floating_point() else found.dtype
            place = self.store.held((part, number), (self.store.n, *found.shape[1:]), found, dtype)[self.rows]
            place.copy_(found[: len(place)])

    def _add_shortcut(self, hidden: Layer, readout: nn.Module) -> None:
        store, squares, edge = self.store, [], self.record.edges[hidden.module]
        activations = self.record.live_inputs[readout]
        (slope,) = torch.autograd.grad(activations.sum(), edge, retain_graph=True)
        for output_c in self.output.unbind(-1):
            (v,) = torch.autograd.grad(output_c.sum(), activations, retain_graph=True)
            v = v.reshape(self.members, -1, v.shape[-1]).to(store.dtype)
            _check_constant(v, v[:, :1])
            squares.append(v[:, :1] ** 2)
        slope = slope.reshape(self.members, -1, slope.shape[-1]).to(store.dtype)[:, : self.rows.stop - self.rows.start]
        shape = (self.members, store.n, 1, slope.shape[-1])
        signals = store.held((hidden, "signals"), shape, slope)
        torch.mul(slope, reduce(torch.add, squares).sqrt(), out=signals[:, self.rows, 0])

    def _add_signal(self, layer: Layer, gradient: Tensor, c: int, n_outputs: int) -> None:
        store = self.store
        gradient = gradient.reshape(self.members, -1, gradient.shape[-1])[:, : self.rows.stop - self.rows.start]
        constant = layer.module is store.structure.readout_module
        shape = (self.members, 1 if constant else store.n, n_outputs, gradient.shape[-1])
        signals = store.held((layer, "signals"), shape, gradient)
        if constant:
            if self.rows.start == 0:
                signals[:, :, c] = gradient[:, :1]
            _check_constant(gradient, signals[:, :, c].to(gradient))
        else:
            signals[:, self.rows, c] = gradient

    def _add_inputs(self, layer: Layer, x: Tensor) -> None:
        # A = [w_f x, b_f], written where it stays.
        k = x.shape[-1] * layer.has_weight
        x = x[:, : self.rows.stop - self.rows.start]
        inputs = self.store.held((layer, "inputs"), (x.shape[0], self.store.n, k + layer.has_bias), x)[:, self.rows]
        if layer.has_weight:
            torch.mul(x, getattr(layer.module, "weight_factor", 1.0), out=inputs[..., :k])
        if layer.has_bias:
            inputs[..., k] = getattr(layer.module, "bias_factor", 1.0)


def _check_constant(rows: Tensor, row: Tensor) -> None:
    if not torch.allclose(rows, row.expand_as(rows), rtol=16 * torch.finfo(rows.dtype).eps, atol=0.0, equal_nan=True):
        raise StructureChangedError("the readout's coefficients depend on the sample")


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
