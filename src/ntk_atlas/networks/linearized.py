r"""The linear model at a network's initialization, as a module that is trained like the network.

    ℓ(x) = f₀(x) + J₀(x) δ,        J₀(x) = ∂f(x; θ)/∂θ at θ₀,

with the parameters δ, zero at first, where the network has θ = θ₀ + δ (Lee et al. 2019, section 2.2; Chizat et al.
2019). Whatever optimizer, loss and batches do to θ they do to δ, so that a network that follows ℓ is lazy. One
evaluation is a forward pass with tangents; the derivative in δ is a backward pass through it.
"""

from collections.abc import Callable, Iterable, Sequence
from types import EllipsisType

import torch
from torch import Tensor, nn
from torch.func import jvp

from ntk_atlas.networks.module_checks import FactoryError
from ntk_atlas.networks.plain_state import called_with, deep_copy
from ntk_atlas.networks.running import is_scripted
from ntk_atlas.networks.stacked import StackedNetwork
from ntk_atlas.numerics import is_out_of_memory


def linearize(network: nn.Module) -> nn.Module:
    """The linear model of a network at its parameters of now.

    Args:
        network: any module `(n, *input_shape)` → `(n, n_outputs)`, in evaluation mode: batch normalization by running
            statistics, no dropout; or a stack. It is copied and stays as it is.

    Returns:
        A module of the same inputs and outputs, linear in its parameters δ: `displacements`, in the order and shapes of
        `network.parameters()`, zero at first; those of frozen parameters are frozen. Of a stack, a stack.
    """
    if isinstance(network, StackedNetwork):
        return LinearizedStack(network.select(range(network.n_members)))
    return LinearizedModule(deep_copy(network))


class _Linear(nn.Module):
    """What a linear model is made of: the network at θ₀, which is no part of the module, and δ."""

    def _hold(self, origin: nn.Module) -> None:
        self._origin = (origin.eval(),)  # in a tuple: its parameters are not this module's
        self.displacements = nn.ParameterList(
            nn.Parameter(torch.zeros_like(p), requires_grad=p.requires_grad) for p in origin.parameters()
        )
        self._names = [name for name, _ in origin.named_parameters()]
        self._way: Callable[..., tuple[Tensor, Tensor]] | None = None

    @property
    def origin(self) -> nn.Module:
        """The network at θ₀."""
        return self._origin[0]

    def _outputs(self, x: Tensor) -> Tensor:
        """f₀(x) + J₀(x) δ, by tangents, or by a second backward pass where the network has no rule for tangents.

        Raises:
            FactoryError: if it has neither.
        """
        pairs = zip(self._names, self.origin.parameters(), self.displacements, strict=True)
        trained = {name: (p, d) for name, p, d in pairs if p.requires_grad}
        at, along = ({name: pair[i] for name, pair in trained.items()} for i in (0, 1))
        if self._way is not None:
            return torch.add(*self._way(self.origin, at, along, x))
        reasons = []
        for way in (by_second_backward_pass,) if is_scripted(self.origin) else (by_tangents, by_second_backward_pass):
            try:
                outputs = torch.add(*way(self.origin, at, along, x))
                if along and torch.is_grad_enabled():  # there may be tangents, and no derivative of them
                    torch.autograd.grad(outputs.sum(), list(along.values()), retain_graph=True, allow_unused=True)
            except Exception as error:  # whatever torch, or a function of a user's, raises where it has no rule
                if is_out_of_memory(error):
                    raise
                reasons.append((str(error) or type(error).__name__).splitlines()[0])
                continue
            if torch.is_grad_enabled():
                self._way = way
            return outputs
        raise FactoryError(
            f"{type(self.origin).__name__} cannot be linearized: derivatives of its outputs along its parameters "
            f"cannot be taken and differentiated ({'; '.join(reasons)})"
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "_Linear":
        super()._apply(fn, recurse)
        self.origin._apply(fn)
        return self


class LinearizedModule(_Linear):
    """The linear model of one module."""

    def __init__(self, origin: nn.Module):
        super().__init__()
        self._hold(origin)

    def forward(self, x: Tensor) -> Tensor:
        """Returns ℓ(x), of the shape of f(x)."""
        return self._outputs(x)


class LinearizedStack(_Linear, StackedNetwork):
    """The linear models of the members of a stack, each at its own θ₀."""

    members_apart = True

    def __init__(self, origin: StackedNetwork):
        super().__init__()
        self._hold(origin)
        self._of_origin = (origin,)
        for name in ("n_members", "input_shape", "output_scale", "takes_tokens"):
            setattr(self, name, getattr(origin, name))

    @property
    def stack(self) -> StackedNetwork:
        """The networks at θ₀."""
        return self._of_origin[0]

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs, see `StackedNetwork.forward`."""
        return self._outputs(x)

    def member(self, index: int) -> nn.Module:
        """Returns one member, see `StackedNetwork.member`."""
        model = LinearizedModule(self.stack.member(index))
        with torch.no_grad():
            for mine, (p, place) in zip(model.displacements, self.parameters_of([index]), strict=True):
                mine.copy_(p.detach()[place].reshape(mine.shape))
        return model

    def select(self, members: Sequence[int]) -> "LinearizedStack":
        """Returns some members, see `StackedNetwork.select`."""
        other = LinearizedStack(self.stack.select(members))
        other.load_weights(self.weights()[list(members)])
        return other

    def parameters_of(self, members: Iterable[int]) -> list[tuple[nn.Parameter, list[int] | EllipsisType]]:
        """Returns δ of some members, see `StackedNetwork.parameters_of`."""
        moved = dict(zip(map(id, self.stack.parameters()), self.displacements, strict=True))
        return [(moved[id(p)], place) for p, place in self.stack.parameters_of(members)]

    def weights(self) -> Tensor:
        """Returns a copy of δ, `(n_members, n_parameters)`, in the order of the parameters of each network."""
        rows = [self.parameters_of([index]) for index in range(self.n_members)]
        return torch.stack([torch.cat([p.detach()[place].flatten() for p, place in row]) for row in rows])

    def load_weights(self, weights: Tensor) -> None:
        """Overwrites δ, see `StackedNetwork.load_weights`."""
        with torch.no_grad():
            for index, row in enumerate(weights):
                start = 0
                for p, place in self.parameters_of([index]):
                    size = p.detach()[place].numel()
                    p[place] = row[start : start + size].reshape(p.detach()[place].shape)
                    start += size

    def rates(self) -> list[float]:
        """Returns rates, see `StackedNetwork.rates`."""
        return self.stack.rates()


def by_tangents(
    network: nn.Module, at: dict[str, Tensor], along: dict[str, Tensor], x: Tensor
) -> tuple[Tensor, Tensor]:
    """f(x) and J(x) δ by one forward pass with tangents."""
    if not along:
        outputs: Tensor = network(x)
        return outputs.detach(), torch.zeros_like(outputs)
    values = {name: p.detach() for name, p in at.items()}
    pair: tuple[Tensor, Tensor] = jvp(lambda state: called_with(network, state, x), (values,), (dict(along),))
    return pair


def by_second_backward_pass(
    network: nn.Module, at: dict[str, Tensor], along: dict[str, Tensor], x: Tensor
) -> tuple[Tensor, Tensor]:
    """f(x) and J(x) δ as the derivative of u ↦ J(x)ᵀ u."""
    graph = torch.is_grad_enabled()
    with torch.enable_grad():
        output: Tensor = network(x)
        u = torch.zeros_like(output, requires_grad=True)
        pulled = torch.autograd.grad(output, list(at.values()), u, create_graph=True, materialize_grads=True)
        used = [(g, along[name]) for name, g in zip(at, pulled, strict=True) if g.requires_grad]
        if not used:
            return output.detach(), torch.zeros_like(output)
        found, tangents = zip(*used, strict=True)
        (product,) = torch.autograd.grad(found, u, tangents, create_graph=graph, materialize_grads=True)
    return output.detach(), product
