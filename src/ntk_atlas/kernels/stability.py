r"""Largest eigenvalue of the full NTK Gram, for the stability limit η < 2n/λ_max of gradient descent.

The nC × nC Gram Θ = J Jᵀ is never formed: Lanczos needs products Θ v = J (Jᵀ v) only, one vector-Jacobian and
one Jacobian-vector product of the stacked network, for all members at once (Golub & Van Loan 2013, chapter
10).
"""

import logging
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call, jvp, vjp

from ntk_atlas.kernels.network_checks import (
    check_network_and_inputs,
    evaluation_mode,
    n_samples,
    sample_axis,
    trainable_parameters,
)
from ntk_atlas.networks.stacked import StackedNetwork

log = logging.getLogger(__name__)

# Bounds the activations that the products keep at one time.
_SAMPLES_A_PASS = 1024


def largest_eigenvalue(
    network: StackedNetwork,
    x: Tensor,
    *,
    generator: torch.Generator,
    relative_tolerance: float = 3e-5,
    max_products: int = 200,
    runs: int = 2,
) -> Tensor:
    r"""λ_max of the full nC × nC empirical NTK of every member, by matrix-free Lanczos.

    Lanczos with full reorthogonalization from a normal start vector, common to all members. A member is done when
    the residual of its top Ritz pair, ‖Θu − θu‖ = β|s|, is below `relative_tolerance` · θ: then an eigenvalue of Θ
    lies within that distance of θ, and θ ≤ λ_max. It is not always the largest: of a few outputs whose top
    eigenvalues are close, a start vector may miss the first (one in 900 times by more than 0.1 % at the default
    tolerance, in the worst case by 7 %). So there are two `runs` from independent vectors by default, and the larger
    value counts. A member's value is the one of the step at which it was done, whatever the others still need.

    Args:
        network: the stack; parameters that require a gradient count.
        x: inputs `(n, *shape)` shared by all members, or `(S, n, *shape)`.
        generator: stream of the start vectors.
        relative_tolerance: see above.
        max_products: where to stop a run that is not done, with a warning and the value so far.
        runs: independent runs; one is enough where 7 % in one of 900 cases does no harm.

    Returns:
        `(S,)`, float64; NaN for members whose Gram is not finite.

    Raises:
        ValueError: as `kernels.empirical.empirical_ntk`.
    """
    check_network_and_inputs(network, x, "x")
    # Saved tensors of the products: neither inference mode nor a caller's no_grad may reach them.
    with evaluation_mode(network), torch.inference_mode(False), torch.no_grad():
        x = x.clone() if x.is_inference() else x.detach()
        product = _GramProduct(network, x)
        runs = [_lanczos(product, generator, relative_tolerance, max_products) for _ in range(runs)]
        return torch.stack(runs).amax(0)


class _GramProduct:
    """v ↦ J Jᵀ v for v `(S, n, C)`, in passes over blocks of samples."""

    def __init__(self, network: StackedNetwork, x: Tensor):
        self.network = network
        self.parameters = {name: p.detach() for name, p in trainable_parameters(network).items()}
        self.blocks = x.split(_SAMPLES_A_PASS, dim=sample_axis(network, x))
        self.n, self.device = n_samples(network, x), x.device
        self.dtype = next(iter(self.parameters.values())).dtype
        self.n_outputs = network(x.narrow(sample_axis(network, x), 0, 1)).shape[-1]
        self.shape = (network.n_members, self.n, self.n_outputs)

    def __call__(self, v: Tensor) -> Tensor:
        cotangents = v.split(_SAMPLES_A_PASS, dim=1)
        tangent = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        for block, cotangent in zip(self.blocks, cotangents, strict=True):
            (gradient,) = vjp(self._outputs_of(block), self.parameters)[1](cotangent)
            for name, part in gradient.items():
                tangent[name] += part
        return torch.cat([self._push_forward(self._outputs_of(block), tangent) for block in self.blocks], 1)

    def _push_forward(self, outputs: Callable, tangent: dict[str, Tensor]) -> Tensor:
        """Returns J t; operators without a forward-mode rule go through the transpose of u ↦ Jᵀ u, linear in u."""
        try:
            return jvp(outputs, (self.parameters,), (tangent,))[1]
        except torch.OutOfMemoryError:
            raise
        except (NotImplementedError, RuntimeError) as error:
            log.debug("no forward-mode derivative, two backward passes instead: %s", error)
        value, pull_back = vjp(outputs, self.parameters)
        return vjp(lambda u: pull_back(u)[0], torch.zeros_like(value))[1](tangent)[0]

    def _outputs_of(self, block: Tensor):
        return lambda parameters: functional_call(self.network, parameters, (block,))


def _lanczos(product: _GramProduct, generator: torch.Generator, relative_tolerance: float, max_products: int) -> Tensor:
    """Returns the top Ritz values `(S,)`; basis and tridiagonal matrix in float64."""
    n_members, n, n_outputs = product.shape
    start = torch.randn(n, n_outputs, generator=generator, dtype=torch.float64, device=generator.device)
    q = (start / start.norm()).to(product.device).flatten().expand(n_members, -1)
    basis, diagonal, off_diagonal = [q], [], []
    result = q.new_full((n_members,), torch.nan)
    done = torch.zeros(n_members, dtype=torch.bool, device=q.device)
    for step in range(min(max_products, n * n_outputs)):
        w = product(q.reshape(product.shape).to(product.dtype)).to(torch.float64).flatten(1)
        diagonal.append((q * w).sum(1))
        stacked = torch.stack(basis, 2)
        for _ in range(2):  # twice is enough (Parlett 1998, section 6.9)
            w = w - (stacked @ (stacked.mT @ w.unsqueeze(2))).squeeze(2)
        beta = w.norm(dim=1)
        off_diagonal.append(beta)
        theta, last = _top_ritz_pair(diagonal, off_diagonal[:-1])
        lost = ~torch.isfinite(theta) | ~torch.isfinite(beta)
        result = torch.where(done, result, torch.where(lost, torch.nan, theta))
        done = done | lost | (beta * last.abs() <= relative_tolerance * theta)
        if done.all():
            log.debug("largest eigenvalue of %d members after %d products", n_members, step + 1)
            return result
        # A vanishing β is an invariant subspace: that member is done, its next vectors do not matter.
        q = torch.where(done[:, None] | (beta[:, None] == 0), basis[0], w / beta[:, None])
        basis.append(q)
    if max_products < n * n_outputs:
        log.warning("largest eigenvalue: %d members not converged after %d products", (~done).sum(), max_products)
    return result


def _top_ritz_pair(diagonal: list[Tensor], off_diagonal: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Returns the largest eigenvalue of tridiagonal matrices, and the last entry of its eigenvector."""
    t = torch.diag_embed(torch.stack(diagonal, 1))
    if off_diagonal:
        side = torch.diag_embed(torch.stack(off_diagonal, 1), offset=1)
        t = t + side + side.mT
    finite = torch.isfinite(t).all(2).all(1)
    values, vectors = torch.linalg.eigh(torch.where(finite[:, None, None], t, 0.0))
    return torch.where(finite, values[:, -1], torch.nan), vectors[:, -1, -1]
