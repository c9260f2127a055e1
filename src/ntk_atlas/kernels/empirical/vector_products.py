r"""Products K v with an empirical NTK that is too large to be stored.

    (Θ v)(x) = J(x) Σ_j J(x_j)ᵀ v_j        (one vector-Jacobian and one Jacobian-vector product)

where J is the Jacobian with respect to the trainable parameters. It costs a forward and a backward pass over the
columns and a forward pass with tangents over the rows; what is held is one vector of parameters and a pass.

Where a network has no rule for tangents, or one that disagrees with its backward pass, the second product is the
derivative of u ↦ J(x)ᵀu, a second backward pass through the first; where that has none either, it is made of one
plain backward pass a sample and output. Which one holds is tried when the operator is built.
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.func import jvp

from ntk_atlas.kernels.empirical.evaluation import evaluation_mode
from ntk_atlas.kernels.empirical.gram import check_output_reduction
from ntk_atlas.kernels.empirical.jacobian import jacobian_of_sample, say_once
from ntk_atlas.kernels.empirical.memory_plan import samples_a_pass
from ntk_atlas.kernels.empirical.network_checks import (
    check_finite,
    check_same_outputs,
    checked,
    checked_memory_limit,
    compared_samples,
    gradients,
    gradients_add_up,
    kernel_dtype,
    plain_module,
    recordable,
    rounding,
    run,
    trainable_parameters,
)
from ntk_atlas.kernels.empirical.ntk import empirical_ntk
from ntk_atlas.kernels.empirical.structure import probe_network
from ntk_atlas.kernels.errors import KernelInputError
from ntk_atlas.networks.plain_state import called_with
from ntk_atlas.networks.running import is_scripted, without_symmetry
from ntk_atlas.networks.stacked import StackedNetwork
from ntk_atlas.numerics import Given, is_out_of_memory, real_tensor

log = logging.getLogger(__name__)

# Samples whose kernel is formed to read its diagonal.
_DIAGONAL_BLOCK = 64


class EmpiricalNTKOperator:
    """The empirical NTK as a linear map that is never formed; `operator(v)` is K v.

    Attributes:
        network: the network.
        rows: inputs of the rows, `(n1, *shape)`.
        columns: inputs of the columns, `(n2, *shape)`.
        n_outputs: outputs C of the network.
        output_reduction: see `empirical_ntk`.
        dtype: precision of the products, that of the kernel.
    """

    def __init__(
        self,
        network: nn.Module,
        x1: Given,
        x2: Given | None = None,
        *,
        output_reduction: str = "mean",
        memory_limit: int | None = None,
    ):
        """Checks the network and plans the passes.

        Args:
            network: a single module, see `empirical_ntk`; of a stack take `network.member(i)`.
            x1: inputs of the rows.
            x2: inputs of the columns; None stands for `x1`.
            output_reduction: see `empirical_ntk`.
            memory_limit: bytes that one pass may take, see `empirical_ntk`.

        Raises:
            KernelInputError: see `empirical_ntk`; also for a stack of networks.
        """
        check_output_reduction(output_reduction)
        if isinstance(plain_module(network), StackedNetwork):
            raise KernelInputError("a stack has one kernel a member: take the operator of `network.member(i)`")
        network, rows, columns = checked(network, x1, x2)
        with evaluation_mode(network):
            rows, columns = recordable(rows), None if columns is None else recordable(columns)
            structure = probe_network(network, rows, finite=True)
            samples = compared_samples(network, rows)
            check_same_outputs(network, samples, run(network, samples), 0)
            self._accumulates = structure.accumulates
            apart = gradients_add_up(network, rows[:2], structure.accumulates)
            self._push_forward = _working_push_forward(network, rows[:2], structure.accumulates, by_sample=not apart)
        self.network, self.output_reduction, self.n_outputs = network, output_reduction, structure.n_outputs
        self.rows, self.columns = rows, rows if columns is None else columns
        self.dtype = kernel_dtype(network)
        self._limit = checked_memory_limit(memory_limit, rows.device)
        # Tangents and what the transforms keep come to about three times the graph of a plain pass.
        self._block = samples_a_pass(structure, self._limit, 3 * structure.graph_bytes) if apart else 1

    def __call__(self, v: Given) -> Tensor:
        """The product K v.

        Args:
            v: `(n2, C)` for the full kernel, v_jc' ↦ Σ_jc' Θ_cc'(x_i, x_j) v_jc'; else `(n2, k)`, k vectors.

        Returns:
            `(n1, C)`, or `(n1, k)`, in the kernel's precision, `dtype`.

        Raises:
            KernelInputError: if `v` has another shape, or the product of a finite one is not finite.
        """
        v = real_tensor(v, "the vector", KernelInputError)
        full = self.output_reduction == "full"
        if v.dim() != 2 or len(v) != len(self.columns) or (full and v.shape[1] != self.n_outputs):
            wanted = f"({len(self.columns)}, {self.n_outputs if full else 'k'})"
            raise KernelInputError(f"the vector has shape {tuple(v.shape)}, the kernel takes {wanted}")
        v = v.detach().to(self.columns.device, self.dtype)
        if v.shape[1] == 0:
            return v.new_zeros(len(self.rows), 0)
        with evaluation_mode(self.network):
            v = recordable(v)
            products = [self._full_product(d) for d in self._directions(v)]
        product = self._reduced(products, v.shape[1])
        if torch.isfinite(v).all():
            check_finite(product, "the product with the kernel is", self.network)
        return product

    def diagonal(self) -> Tensor:
        """The entries K(x_i, x_i) of the rows, `(n1,)`; of the full kernel `(n1, C)`."""
        parts = []
        for block in self.rows.split(_DIAGONAL_BLOCK):
            kernel = empirical_ntk(
                self.network, block, output_reduction=self.output_reduction, memory_limit=self._limit
            )
            every = torch.arange(len(block), device=block.device)
            kernel = kernel[every, every]
            parts.append(kernel.diagonal(dim1=-2, dim2=-1) if kernel.dim() == 3 else kernel)
        return torch.cat(parts)

    def _full_product(self, v: Tensor) -> Tensor:
        parameters = trainable_parameters(self.network)
        direction = self._pulled_back(parameters, v)
        # Half precision has few powers of ten: passes get directions of length one.
        scale = _length(direction.values()) if self.dtype != next(iter(parameters.values())).dtype else 1.0
        direction = {name: (d / scale).to(parameters[name].dtype) for name, d in direction.items()}
        parts = [self._push_forward(self.network, parameters, x, direction) for x in self.rows.split(self._block)]
        return torch.cat(parts).to(self.dtype) * scale

    def _pulled_back(self, parameters: Mapping[str, nn.Parameter], v: Tensor) -> dict[str, Tensor]:
        """Returns Σ_j J(x_j)ᵀ v_j, by parameter."""
        total = {name: torch.zeros_like(p, dtype=self.dtype) for name, p in parameters.items()}
        for x, weights in zip(self.columns.split(self._block), v.split(self._block), strict=True):
            parts = _pull_back(self.network, list(parameters.values()), x, weights, self._accumulates)
            for name, part in zip(total, parts, strict=True):
                total[name] += part
        return total

    def _directions(self, v: Tensor) -> list[Tensor]:
        # A scalar kernel is a sum over outputs of kernels of one output: as many full products as outputs.
        if self.output_reduction == "full":
            return [v]
        if self.output_reduction == "logit_sum":
            return [v[:, [k]].expand(-1, self.n_outputs) for k in range(v.shape[1])]
        unit = torch.eye(self.n_outputs, dtype=v.dtype, device=v.device)
        return [v[:, [k]] * unit[c] for k in range(v.shape[1]) for c in range(self.n_outputs)]

    def _reduced(self, products: list[Tensor], k: int) -> Tensor:
        if self.output_reduction == "full":
            return products[0]
        if self.output_reduction == "logit_sum":
            return torch.stack([product.sum(1) for product in products], 1)
        parts = [product[:, i % self.n_outputs] for i, product in enumerate(products)]
        trace: Tensor = torch.stack(parts, 1).unflatten(1, (k, self.n_outputs)).sum(2)
        return trace / self.n_outputs if self.output_reduction == "mean" else trace


PushForward = Callable[[nn.Module, Mapping[str, nn.Parameter], Tensor, Mapping[str, Tensor]], Tensor]
"""Network, trainable parameters, inputs x `(n, *shape)`, direction t by parameter → J(x) t, `(n, C)`."""


def _working_push_forward(network: nn.Module, x: Tensor, accumulates: bool, *, by_sample: bool) -> PushForward:
    """Returns the quickest way to J t that agrees with a backward pass on samples x, or one sample at a time."""
    parameters = trainable_parameters(network)
    found = run(network, x).detach()
    u = without_symmetry(*found.shape, like=found)
    pulled = dict(zip(parameters, _pull_back(network, list(parameters.values()), x, u, accumulates), strict=True))
    sizes = {name: float(g.double().norm()) for name, g in pulled.items()}
    eps = rounding(found, *parameters.values())
    smallest = eps**0.5 * max(sizes.values()) or 1.0
    # Each parameter gives about as much to uᵀ J t: an error in a small one is seen too.
    direction = {}
    for name, g in pulled.items():
        size, other = max(sizes[name], smallest), without_symmetry(*g.shape, like=g.double())
        other = other / other.norm().clamp(min=1.0)
        direction[name] = (g.double() / size + other) / size
    length = _length(direction.values())
    direction = {name: (d / length).to(pulled[name].dtype) for name, d in direction.items()}
    terms = torch.stack([(pulled[name].double() * direction[name].double()).sum() for name in pulled])
    ways = {"tangents": _by_tangents, "a second backward pass": _by_second_backward_pass}
    for way, push_forward in ({} if accumulates or by_sample else ways).items():
        if push_forward is _by_tangents and is_scripted(network):
            continue
        try:
            product = (push_forward(network, parameters, x, direction).double() * u.double()).sum()
        except Exception as error:  # whatever torch, or a function of a user's, raises where it has no rule
            if is_out_of_memory(error):
                raise
            log.info("no products by %s: %s", way, (str(error) or type(error).__name__).splitlines()[0])
            continue
        if bool((product - terms.sum()).abs() <= eps**0.5 * terms.abs().sum()):
            return push_forward
        log.info("no products by %s: they disagree with a backward pass", way)
    say_once(f"products with the kernel of {type(network).__name__} take a backward pass a sample and output")

    def by_rows(
        network: nn.Module, parameters: Mapping[str, nn.Parameter], x: Tensor, direction: Mapping[str, Tensor]
    ) -> Tensor:
        flat = torch.cat([direction[name].flatten() for name in parameters])
        return torch.stack([jacobian_of_sample(network, parameters, sample, False, accumulates) @ flat for sample in x])

    return by_rows


def _pull_back(network: nn.Module, parameters: list[Tensor], x: Tensor, v: Tensor, accumulates: bool) -> list[Tensor]:
    """Returns Σ_i J(x_i)ᵀ v_i, one tensor a parameter."""
    scale = 1.0
    if x.is_floating_point() and accumulates:
        x = x.clone().requires_grad_()
    output = run(network, x)
    if output.dtype != v.dtype:  # half precision
        scale = _length([v])
    found = gradients((output * (v / scale).to(output.dtype)).sum(), parameters, accumulates=accumulates)
    return found if scale == 1.0 else [scale * g.to(v.dtype) for g in found]


def _length(tensors: Iterable[Tensor]) -> float:
    """Returns the Euclidean length of all entries, 1 if that is 0 or not finite."""
    length = math.hypot(*(float(t.double().norm()) for t in tensors))
    return length if 0.0 < length < math.inf else 1.0


def _by_tangents(
    network: nn.Module, parameters: Mapping[str, nn.Parameter], x: Tensor, direction: Mapping[str, Tensor]
) -> Tensor:
    def outputs(values: dict[str, Tensor]) -> Tensor:
        return called_with(network, values, x)

    values = {name: p.detach() for name, p in parameters.items()}
    with torch.no_grad():
        product: Tensor = jvp(outputs, (values,), (dict(direction),))[1]
    return product


def _by_second_backward_pass(
    network: nn.Module, parameters: Mapping[str, nn.Parameter], x: Tensor, direction: Mapping[str, Tensor]
) -> Tensor:
    output = run(network, x)
    u = torch.zeros_like(output, requires_grad=True)
    pulled = torch.autograd.grad(output, list(parameters.values()), u, create_graph=True, materialize_grads=True)
    used = [(g, direction[name]) for name, g in zip(parameters, pulled, strict=True) if g.requires_grad]
    if not used:
        return torch.zeros_like(output).detach()
    found, tangents = zip(*used, strict=True)
    return torch.autograd.grad(found, u, tangents, materialize_grads=True)[0]
