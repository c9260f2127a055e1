"""Forward and backward passes that fill the factors of a network's layers, some samples at a time.

In a chain of affine layers and elementwise activations, with z^l the outputs of layer l, x^l = φ(z^l) and
z^{l+1} = x^l W^{l+1} + b^{l+1}, the signals B_c^l = ∂f_c/∂z^l of all outputs at once obey

    B_c^l = (B_c^{l+1} W^{l+1}ᵀ) ⊙ φ'(z^l),

so that one matrix product per layer does what automatic differentiation needs a pass per output for. A layer that meets
a sample at many positions gives the gradients of each sample: with its input x_i and signals b_ic = ∂f_c(x_i)/∂z, z
being the layer's output, and positions p:

* linear, z_p = W x_p + b:            ∂f_c/∂W = Σ_p b_p x_pᵀ,  ∂f_c/∂b = Σ_p b_p;
* convolution:                        ∂f_c/∂W[o, i, u] = Σ_p b_c[o, p] x[i, stride·p + dilation·u − padding];
* normalization, z_p = γ ∘ x̂_p + β:   ∂f_c/∂γ = Σ_p b_p ∘ x̂_p,  ∂f_c/∂β = Σ_p b_p.

The matrix of all windows of a convolution would be as many times larger than the input as the kernel has entries. Two
forms avoid it. On CPUs the backend runs single-precision convolutions near the rate of matrix products: one convolution
in which every sample is a group of its own. Elsewhere such convolutions are slow, and products over one row of the
kernel at a time stand for them.
"""

from collections.abc import Sequence
from functools import reduce
from queue import SimpleQueue

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from ntk_atlas.kernels.empirical.evaluation import twins
from ntk_atlas.kernels.empirical.gram import FactorStore, LayerFactors, Piece
from ntk_atlas.kernels.empirical.network_checks import kernel_dtype, n_samples, run, sample_axis
from ntk_atlas.kernels.empirical.structure import (
    BatchNorm,
    DividedModule,
    Layer,
    LayerModule,
    LayerRecorder,
    NetworkStructure,
    Record,
)
from ntk_atlas.kernels.errors import StructureChangedError
from ntk_atlas.networks.stacked import StackedConv2d, StackedLinear
from ntk_atlas.numerics import in_turn_or_at_once

# Signals that go down a chain at a time: from layer to layer they stay in a core's cache.
_CHAIN_BLOCK = 2**19


def layer_gradients(layer: Layer, x: Tensor, signals: Tensor, channels: tuple[int, int] | None = None) -> Tensor:
    """Per-sample gradients of the outputs with respect to a layer's parameters.

    Args:
        layer: of the form `gradients`.
        x: its input, `(n, *input_shape)`.
        signals: gradients with respect to its output, `(n, C, *output_shape)`.
        channels: first output channel wanted and the one after the last; None stands for all.

    Returns:
        `(n, C, P)` with the weight's parameters (in an order of the layer's own) before the bias's.
    """
    module, axis = layer.module, _channel_axis(layer.module)
    parts = []
    if isinstance(module, DividedModule):
        if channels is not None and channels != (0, layer.out_features):
            signals = signals.narrow(axis, channels[0], channels[1] - channels[0])
        if layer.has_weight:
            parts.append(_weight_gradients(module, x, signals, channels))
        if layer.has_bias:
            parts.append(_sum_positions(signals, axis))
        if isinstance(module, StackedConv2d):
            _scale(parts, layer)
        return torch.cat(parts, dim=2)
    shape = module.normalized_shape if isinstance(module, nn.LayerNorm | nn.RMSNorm) else None
    if layer.has_weight:
        normalized = _normalized(module, x).unsqueeze(1)
        parts.append(_sum_to_parameter(signals * normalized, shape))
    if layer.has_bias:
        parts.append(_sum_to_parameter(signals, shape))
    return torch.cat(parts, dim=2)


def _channel_axis(module: nn.Module) -> int:
    return -1 if isinstance(module, nn.Linear) else 2


def _weight_gradients(module: DividedModule, x: Tensor, signals: Tensor, channels: tuple[int, int] | None) -> Tensor:
    n, c = signals.shape[:2]
    if isinstance(module, nn.Linear):
        # All outputs in one product: (C·out × positions) · (positions × in).
        left = signals.flatten(2, -2).transpose(2, 3).reshape(n, c * signals.shape[-1], -1)
        return torch.bmm(left, x.flatten(1, -2)).view(n, c, -1)
    plain = module.plain() if isinstance(module, StackedConv2d) else module
    return convolution_weight_gradients(plain, x, signals, channels).view(n, c, -1)


def _scale(parts: list[Tensor], layer: Layer) -> None:
    """The factors of the NTK parameterization, in place on gradients made here."""
    counts = (("weight_factor", layer.has_weight), ("bias_factor", layer.has_bias))
    for part, name in zip(parts, [name for name, has in counts if has], strict=True):
        factor = getattr(layer.module, name)
        if factor != 1.0:
            part.mul_(factor)


def _sum_positions(signals: Tensor, axis: int) -> Tensor:
    return signals.flatten(2, -2).sum(2) if axis == -1 else signals.flatten(3).sum(3)


def _sum_to_parameter(values: Tensor, normalized_shape: tuple[int, ...] | None) -> Tensor:
    # Layer norms have a parameter an entry of the last axes, the others one a channel.
    if normalized_shape is None:
        return values.flatten(3).sum(3) if values.dim() > 3 else values
    trailing = len(normalized_shape)
    kept = values.flatten(values.dim() - trailing)
    return kept.flatten(2, -2).sum(2) if kept.dim() > 3 else kept


def _normalized(module: LayerModule, x: Tensor) -> Tensor:
    if isinstance(module, nn.LayerNorm):
        return F.layer_norm(x, module.normalized_shape, None, None, module.eps)
    if isinstance(module, nn.RMSNorm):
        return F.rms_norm(x, module.normalized_shape, None, module.eps)
    if isinstance(module, nn.GroupNorm):
        return F.group_norm(x, module.num_groups, None, None, module.eps)
    assert isinstance(module, BatchNorm) and module.running_mean is not None and module.running_var is not None
    return F.batch_norm(x, module.running_mean.to(x), module.running_var.to(x), None, None, False, 0.0, module.eps)


def convolution_weight_gradients(
    module: nn.Conv1d | nn.Conv2d, x: Tensor, signals: Tensor, channels: tuple[int, int] | None = None
) -> Tensor:
    """Gradients of every sample and output with respect to the weight.

    Args:
        module: any stride, padding, dilation and groups; zero padding.
        x: its input, `(n, c_in, *size)`.
        signals: gradients with respect to its output channels `channels`, `(n, C, len(channels), *out_size)`.
        channels: first output channel and the one after the last; None stands for all.

    Returns:
        `(n, C, n_channels · kernel entries · c_in / groups)`, in an order that depends on the form but not on the
        sample.
    """
    first, last = channels or (0, module.out_channels)
    size, stride, padding, dilation = _geometry(module)
    if x.dim() == 3:
        x, signals = x.unsqueeze(2), signals.unsqueeze(3)
    form = by_grouped_convolution if _backend_is_fast(x) else by_kernel_rows
    if module.groups == 1 or (first, last) == (0, module.out_channels):
        return form(x, signals, size, stride, padding, dilation, module.groups)
    # Some of the channels of a grouped convolution: those of one group after the other.
    per_group, c_in = module.out_channels // module.groups, module.in_channels // module.groups
    parts, done = [], 0
    while done < signals.shape[2]:
        group, inside = divmod(first + done, per_group)
        count = min(per_group - inside, signals.shape[2] - done)
        own = x.narrow(1, group * c_in, c_in), signals.narrow(2, done, count)
        parts.append(form(*own, size, stride, padding, dilation, 1))
        done += count
    return torch.cat(parts, dim=2)


def by_grouped_convolution(
    x: Tensor,
    signals: Tensor,
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Tensor:
    """The weight gradient of one convolution with a group for every sample (and group).

    Args:
        x: `(n, c_in, h, w)`.
        signals: `(n, C, c_out, h_out, w_out)`.
        size: of the kernel.
        stride: of the windows.
        padding: zeros left, right, above and below.
        dilation: of the kernel.
        groups: of the convolution.

    Returns:
        `(n, C, P)`.
    """
    n, c, c_out = signals.shape[:3]
    x, zeros = _symmetric(x, signals, size, stride, padding, dilation)
    # The C outputs are further output channels of each group.
    signals = signals.unflatten(2, (groups, c_out // groups)).transpose(1, 2).contiguous()
    weight = x.new_empty(1).expand(n * c * c_out, x.shape[1] // groups, *size)
    _, gradient, _ = torch.ops.aten.convolution_backward(
        signals.view(1, n * c * c_out, *signals.shape[-2:]),
        x.contiguous().view(1, n * x.shape[1], *x.shape[2:]),
        weight, None, stride, zeros, dilation, False, (0, 0), n * groups, (False, True, False),
    )  # fmt: skip
    per_group: Tensor = gradient.view(n, groups, c, -1).transpose(1, 2)
    return per_group.reshape(n, c, -1)


def by_kernel_rows(
    x: Tensor,
    signals: Tensor,
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Tensor:
    """One batched product a kernel row, on views of a copy that holds the windows of one row.

    Args:
        x: see `by_grouped_convolution`.
        signals: likewise.
        size: likewise.
        stride: likewise.
        padding: likewise.
        dilation: likewise.
        groups: likewise.

    Returns:
        `(n, C, P)`.
    """
    n, c, c_out, height, width = signals.shape
    x = _cropped(_padded(x, padding), signals, size, stride, dilation).permute(0, 2, 3, 1)
    signals = signals.unflatten(2, (groups, c_out // groups))
    parts = []
    for g in range(groups):
        own = x.unflatten(3, (groups, -1))[:, :, :, g]
        columns = [
            own[:, :, v * dilation[1] :][:, :, : (width - 1) * stride[1] + 1 : stride[1]] for v in range(size[1])
        ]
        windows = torch.cat(columns, dim=3)
        left = signals[:, :, g].reshape(n, -1, height * width)
        for u in range(size[0]):
            rows = windows[:, u * dilation[0] :][:, : (height - 1) * stride[0] + 1 : stride[0]]
            parts.append(torch.bmm(left, rows.reshape(n, height * width, -1)).view(n, c, -1))
    return torch.cat(parts, dim=2)


def _backend_is_fast(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and torch.backends.mkldnn.is_available()


def _geometry(
    module: nn.Conv1d | nn.Conv2d,
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int], tuple[int, int]]:
    """Size of the kernel, stride, zeros (left, right, above, below) and dilation in two dimensions."""
    if isinstance(module.padding, str):
        reach = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        zeros = [(0, 0) if module.padding == "valid" else (r // 2, r - r // 2) for r in reach]
    else:
        zeros = [(p, p) for p in module.padding]
    above, below = zeros[0] if len(zeros) == 2 else (0, 0)
    return _pair(module.kernel_size), _pair(module.stride), (*zeros[-1], above, below), _pair(module.dilation)


def _pair(sizes: Sequence[int]) -> tuple[int, int]:
    """One of two dimensions as it is; of one, which is the last of two."""
    return (sizes[0] if len(sizes) == 2 else 1), sizes[-1]


def _symmetric(
    x: Tensor,
    signals: Tensor,
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    dilation: tuple[int, int],
) -> tuple[Tensor, tuple[int, int]]:
    """The input, and zeros (above and below, left and right) that the backend is to add to it."""
    left, right, above, below = padding
    if left == right and above == below:
        return x, (above, left)
    return _cropped(_padded(x, padding), signals, size, stride, dilation), (0, 0)


def _padded(x: Tensor, padding: tuple[int, int, int, int]) -> Tensor:
    return F.pad(x, padding) if any(padding) else x


def _cropped(
    x: Tensor, signals: Tensor, size: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> Tensor:
    """Without the rows and columns at the end that no window reaches."""
    reach = [
        (n_out - 1) * s + d * (k - 1) + 1
        for n_out, s, d, k in zip(signals.shape[-2:], stride, dilation, size, strict=True)
    ]
    return x[:, :, : reach[0], : reach[1]]


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
