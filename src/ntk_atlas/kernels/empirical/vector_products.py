r"""Products K v with an empirical NTK that is too large to be stored.

    (Θ v)(x) = J(x) Σ_j J(x_j)ᵀ v_j        (one vector-Jacobian and one Jacobian-vector product)

where J is the Jacobian with respect to the trainable parameters. It costs a forward and a backward pass over the
columns and a forward pass with tangents over the rows; what is held is one vector of parameters and a pass.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from ntk_atlas.kernels.empirical.gram import check_output_reduction
from ntk_atlas.kernels.empirical.jacobian import plain_attention
from ntk_atlas.kernels.empirical.memory_plan import samples_a_pass
from ntk_atlas.kernels.empirical.network_checks import (
    check_network_and_inputs,
    check_same_kind,
    evaluation_mode,
    trainable_parameters,
)
from ntk_atlas.kernels.empirical.ntk import empirical_ntk
from ntk_atlas.kernels.empirical.structure import probe_network
from ntk_atlas.kernels.errors import KernelInputError
from ntk_atlas.memory import default_memory_limit
from ntk_atlas.networks.stacked import StackedNetwork
from ntk_atlas.numerics import precise_math

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
    """

    def __init__(
        self,
        network: nn.Module,
        x1: Tensor,
        x2: Tensor | None = None,
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
            memory_limit: bytes that one pass may take; likewise.

        Raises:
            KernelInputError: see `empirical_ntk`; also for a stack of networks.
        """
        check_output_reduction(output_reduction)
        if isinstance(network, StackedNetwork):
            raise KernelInputError("a stack has one kernel a member: take the operator of `network.member(i)`")
        check_network_and_inputs(network, x1, "x1")
        if x2 is not None:
            check_network_and_inputs(network, x2, "x2")
            check_same_kind(network, x1, x2)
        with evaluation_mode(network), torch.inference_mode(False), torch.enable_grad(), precise_math():
            x1, x2 = (x.clone() if x is not None and x.is_inference() else x for x in (x1, x2))
            structure = probe_network(network, x1)
        self.network, self.output_reduction, self.n_outputs = network, output_reduction, structure.n_outputs
        self.rows, self.columns = x1, x1 if x2 is None else x2
        self._parameters = {name: p.detach() for name, p in trainable_parameters(network).items()}
        self._limit = default_memory_limit(x1.device) if memory_limit is None else memory_limit
        # Tangents and what the transforms keep come to about three times the graph of a plain pass.
        self._block = samples_a_pass(structure, self._limit, 3 * structure.graph_bytes)

    def __call__(self, v: Tensor) -> Tensor:
        """The product K v.

        Args:
            v: `(n2, C)` for the full kernel, v_jc' ↦ Σ_jc' Θ_cc'(x_i, x_j) v_jc'; else `(n2, k)`, k vectors.

        Returns:
            `(n1, C)`, or `(n1, k)`.

        Raises:
            KernelInputError: if `v` has another shape.
        """
        full = self.output_reduction == "full"
        if v.dim() != 2 or len(v) != len(self.columns) or (full and v.shape[1] != self.n_outputs):
            wanted = f"({len(self.columns)}, {self.n_outputs if full else 'k'})"
            raise KernelInputError(f"the vector has shape {tuple(v.shape)}, the kernel takes {wanted}")
        with evaluation_mode(self.network), torch.inference_mode(False), precise_math():
            products = [self._full_product(d) for d in self._directions(v.to(self.columns))]
        return self._reduced(products, v.shape[1])

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
        direction = _pulled_back(self.network, self._parameters, self.columns, v, self._block)
        return _pushed_forward(self.network, self._parameters, self.rows, direction, self._block)

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
        trace = torch.stack(parts, 1).unflatten(1, (k, self.n_outputs)).sum(2)
        return trace / self.n_outputs if self.output_reduction == "mean" else trace


def _pulled_back(network: nn.Module, chosen: dict[str, Tensor], x: Tensor, v: Tensor, block: int) -> dict[str, Tensor]:
    """Returns Σ_j J(x_j)ᵀ v_j, by parameter."""
    total = {name: torch.zeros_like(p) for name, p in chosen.items()}
    with torch.enable_grad():
        leaves = {name: p.clone().requires_grad_() for name, p in chosen.items()}
        for samples, weights in zip(x.split(block), v.split(block), strict=True):
            output = functional_call(network, leaves, (samples,))
            gradients = torch.autograd.grad((output * weights).sum(), list(leaves.values()), allow_unused=True)
            for name, gradient in zip(leaves, gradients, strict=True):
                if gradient is not None:
                    total[name] += gradient
    return total


def _pushed_forward(
    network: nn.Module, chosen: dict[str, Tensor], x: Tensor, direction: dict[str, Tensor], block: int
) -> Tensor:
    """Returns J(x_i) of a direction in parameter space, `(n, C)`."""
    parts = []
    with torch.no_grad(), plain_attention():
        for samples in x.split(block):

            def outputs(parameters: dict[str, Tensor], samples: Tensor = samples) -> Tensor:
                return functional_call(network, parameters, (samples,))

            parts.append(jvp(outputs, (chosen,), (direction,))[1])
    return torch.cat(parts)
