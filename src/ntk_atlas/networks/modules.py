"""Any `nn.Module` as members of a stack, what one member computes, and the precision of all that it holds."""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from types import EllipsisType

import torch
from torch import Tensor, nn

from ntk_atlas.networks.module_checks import (
    Evaluation,
    FactoryError,
    agree,
    check_kept_graphs,
    check_members,
    evaluate,
    gradients_of,
    plain_network,
    samples_to_try,
    spoilt,
    tried_copy,
    two_dimensional,
    under_check,
    why_not_stacked,
)
from ntk_atlas.networks.plain_state import (
    called_with,
    convert_plain_tensors,
    deep_copy,
    registered,
    unregistered_weights,
)
from ntk_atlas.networks.running import eagerly, has_attention
from ntk_atlas.networks.stacked import StackedNetwork
from ntk_atlas.numerics import Given, is_out_of_memory

log = logging.getLogger(__name__)


class UserMember(nn.Module):
    """One member of `StackedModules`: the user's module, its output `(n, n_outputs)` times `output_scale`."""

    def __init__(self, module: nn.Module, n_outputs: int, output_scale: float, *, clones_input: bool = False):
        super().__init__()
        self.module, self.n_outputs, self.output_scale = module, n_outputs, output_scale
        self.clones_input, self._attention = clones_input, has_attention(module)
        self.train(False)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs `(n, n_outputs)` at `(n, *input_shape)`."""
        with eagerly(attention=self._attention):
            output = self.module(x.clone() if self.clones_input else x)
        return self.output_scale * two_dimensional(output, self.n_outputs)

    def train(self, mode: bool = True) -> "UserMember":
        """Returns itself unchanged: members stay in evaluation mode."""
        return super().train(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "UserMember":
        fn = complex_stay_complex(fn)
        super()._apply(fn, recurse)
        convert_plain_tensors(self.module, fn)
        return self


def convert_network(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Brings a network to the CPU and a precision, whatever it holds outside parameters and buffers included.

    Args:
        module: changed in place.
        dtype: of real numbers; complex ones get the complex type of that precision, integers stay.

    Returns:
        The module.
    """
    fn = complex_stay_complex(lambda t: t.to("cpu", dtype if t.is_floating_point() else None))
    module._apply(fn)
    convert_plain_tensors(module, fn)
    return module


def complex_stay_complex(fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A conversion of real tensors, applied to real and imaginary parts: torch would drop the latter."""

    def convert(t: Tensor) -> Tensor:
        return torch.view_as_complex(fn(torch.view_as_real(t))) if t.is_complex() else fn(t)

    return convert


class StackedModules(StackedNetwork):
    """A stack of S networks of any module: outputs and gradients are those of each member's own module.

    Where the members differ in nothing but registered parameters and buffers, their parameters are stacked,
    `(S, *shape)` each, and evaluated by `torch.vmap`. Where vmap cannot treat the modules (data-dependent control flow,
    unsupported operations), or where anything else decides (random features in a plain attribute, parts that run again
    in the backward pass, compiled or scripted code), the stack holds the modules themselves and runs one after another.
    Which of the two is decided by comparison with every member's own module, on samples.

    Modules always run in evaluation mode: batch normalization uses its running statistics, which stay as they
    were, and dropout is off. Otherwise a sample's output would depend on the rest of its batch, and a kernel
    between samples would not be defined.

    Attributes:
        vectorized: whether parameters are stacked and vmap is used.
    """

    members_apart = True

    def __init__(
        self,
        modules: Sequence[nn.Module],
        input_shape: Sequence[int],
        n_outputs: int,
        output_scale: float = 1.0,
        *,
        name: str = "the network",
        samples: Given | None = None,
        rebuild: Callable[[int], nn.Module] | None = None,
    ):
        """Stacks copies of `modules`.

        Args:
            modules: the members, of one architecture, `(n, *input_shape)` → `(n, n_outputs)`, or `(n,)` for
                one output.
            input_shape: shape of one sample.
            n_outputs: outputs of one network.
            output_scale: α, see `StackedNetwork`.
            name: what to call the network in messages.
            samples: two or more inputs that the networks are made for, `(n, *input_shape)`, on which the stack is held
                against the modules; integers stay integers where the networks take tokens, other numbers get the
                networks' precision. None tries made-up numbers: normal ones, or if the first network does not take
                them, numbers in [0, 1), or zeros and ones.
            rebuild: makes the module of a member anew, as it was at first; then the stack takes `modules` over instead
                of copying them, and modules that cannot be copied are built again.

        Raises:
            FactoryError: if a member cannot be evaluated or differentiated, gives outputs of a wrong shape, draws
                random numbers, mixes samples or shares its weights with another, or if architectures differ.
        """
        super().__init__()
        self.n_members, self.input_shape, self.output_scale = len(modules), tuple(input_shape), output_scale
        self.n_outputs = n_outputs
        for module in modules:
            if not isinstance(module, nn.Module):
                raise FactoryError(f"{name} is a {type(module).__name__}: it must be a torch.nn.Module")
        if not modules:
            raise FactoryError(f"{name} has no members: give one module or more")
        given = [plain_network(module) for module in modules]
        check_members(given, name)
        x, tried_on = samples_to_try(samples, given[0], self.input_shape, n_outputs, name)
        self.takes_tokens = not x.is_floating_point()
        own = [evaluate(module, x, n_outputs, name, tried_on) for module in given]
        check_kept_graphs(given[0], own[0], x, n_outputs, name)
        self._rebuild, self._by_rebuilding = rebuild, False
        self._attention = has_attention(given[0])
        self._clones_input = any(e.changes_input for e in own)
        for path in unregistered_weights(given[0])[:1]:
            log.warning("%s holds weights that are not registered and never trained (%r): use nn.ModuleList, "
                        "nn.Parameter", name, path)  # fmt: skip
        reason = why_not_stacked(given, own)
        if reason is None:
            reason = self._stacking_fault(given, own, x)
        if reason is not None:
            _say_once(f"{name}: members run one by one: {reason}")
            self._keep(given, own, x, name)

    @property
    def vectorized(self) -> bool:
        """Whether parameters are stacked and vmap is used."""
        return not len(self.alone)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs, see `StackedNetwork.forward`."""
        per_member = self.is_per_member(x)
        if self.vectorized:
            x = x.clone() if self._clones_input else x
            with eagerly(attention=self._attention):
                outputs = torch.vmap(self._evaluate, in_dims=(0, 0 if per_member else None))(self._state(), x)
            return self.output_scale * outputs
        inputs = x.unbind(0) if per_member else [x] * self.n_members
        with eagerly(attention=self._attention):
            outputs = [
                two_dimensional(module(part.clone() if self._clones_input else part), self.n_outputs)
                for module, part in zip(self.alone, inputs, strict=True)
            ]
        return self.output_scale * torch.stack(outputs)

    def train(self, mode: bool = True) -> "StackedModules":
        """Returns itself unchanged: the members stay in evaluation mode."""
        return super().train(False)

    def member(self, index: int) -> nn.Module:
        """Returns one member, see `StackedNetwork.member`."""
        return UserMember(self._copy(index), self.n_outputs, self.output_scale, clones_input=self._clones_input)

    def select(self, members: Sequence[int]) -> "StackedModules":
        """Returns some members, see `StackedNetwork.select`."""
        members, rebuild = list(members), self._rebuild
        other = StackedModules.__new__(StackedModules)
        StackedNetwork.__init__(other)
        for key in (
            "input_shape",
            "output_scale",
            "n_outputs",
            "_attention",
            "_clones_input",
            "_by_rebuilding",
            "takes_tokens",
        ):
            setattr(other, key, getattr(self, key))
        other.n_members = len(members)
        other._rebuild = None if rebuild is None else lambda index: rebuild(members[index])
        if self.vectorized:
            other._hold_stacked(
                deep_copy(self._template[0]),
                {key: (p.detach()[members], p.requires_grad) for key, p in self._named_parameters()},
                {key: buffer[members] for key, buffer in self._named_buffers()},
            )
        else:
            other._hold_alone([self._copy(index) for index in members])
        return other

    def weights(self) -> Tensor:
        """Returns a copy of all parameters, see `StackedNetwork.weights`."""
        if self.vectorized:
            return super().weights()
        return torch.stack([torch.cat([p.detach().flatten() for p in m.parameters()]) for m in self.alone])

    def load_weights(self, weights: Tensor) -> None:
        """Overwrites the parameters, see `StackedNetwork.load_weights`."""
        if self.vectorized:
            super().load_weights(weights)
            return
        with torch.no_grad():
            for module, row in zip(self.alone, weights, strict=True):
                parameters = list(module.parameters())
                for p, part in zip(parameters, row.split([p.numel() for p in parameters]), strict=True):
                    p.copy_(part.view_as(p))

    def parameters_of(self, members: Iterable[int]) -> list[tuple[nn.Parameter, list[int] | EllipsisType]]:
        """Returns parameters of some members, see `StackedNetwork.parameters_of`."""
        if self.vectorized:
            return super().parameters_of(members)
        return [(p, ...) for index in members for p in self.alone[index].parameters()]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "StackedModules":
        fn = complex_stay_complex(fn)
        super()._apply(fn, recurse)
        for template in self._template:
            template._apply(fn)
        for module in (*self._template, *self.alone):
            convert_plain_tensors(module, fn)
        return self

    def _stack(self, modules: Sequence[nn.Module]) -> None:
        states = [registered(module) for module in modules]
        first = dict(modules[0].named_parameters())
        stacked = {key: torch.stack([state[key].detach() for state in states]) for key in states[0]}
        self._hold_stacked(
            spoilt(deep_copy(modules[0]).eval()),
            {key: (stacked[key], p.requires_grad) for key, p in first.items()},
            {key: tensor for key, tensor in stacked.items() if key not in first},
        )

    def _hold_stacked(
        self, template: nn.Module, parameters: dict[str, tuple[Tensor, bool]], buffers: dict[str, Tensor]
    ) -> None:
        self._template = (template,)  # in a tuple: its parameters are not this module's
        self.alone = nn.ModuleList()
        self.parameter_names, self.buffer_names = tuple(parameters), tuple(buffers)
        self.stacked = nn.ParameterList(nn.Parameter(p, requires_grad=needed) for p, needed in parameters.values())
        for index, buffer in enumerate(buffers.values()):
            self.register_buffer(f"buffer_{index}", buffer)

    def _hold_alone(self, modules: Sequence[nn.Module]) -> None:
        self._template, self.parameter_names, self.stacked = (), (), nn.ParameterList()
        for name in list(self._buffers):
            delattr(self, name)
        self.buffer_names = ()
        self.alone = nn.ModuleList(module.eval() for module in modules)

    def _stacking_fault(self, modules: Sequence[nn.Module], own: Sequence[Evaluation], x: Tensor) -> str | None:
        """Stacks parameters, and returns what tells the stack from the members' own modules, None if it is nothing."""
        try:
            self._stack(modules)
            return self._difference_from(own, x)
        except Exception as error:  # whatever a module of the user's raises under vmap
            if is_out_of_memory(error):
                raise
            return f"torch.vmap cannot evaluate them ({type(error).__name__}: {error})"

    def _difference_from(self, own: Sequence[Evaluation], x: Tensor) -> str | None:
        trainable = [p for p in self.stacked if p.requires_grad]
        with under_check():
            for inputs in (x, x.expand(self.n_members, *x.shape)):
                outputs = self(inputs)
                found = zip(gradients_of(outputs, trainable), trainable, strict=True)
                gradients = [torch.zeros_like(p) if g is None else g for g, p in found]
                for member, expected in enumerate(own):
                    if not agree([outputs[member].detach()], [self.output_scale * expected.outputs]):
                        return "stacked parameters give other outputs"
                    scaled = [self.output_scale * g for g in expected.gradients]
                    if not agree([g[member] for g in gradients], scaled):
                        return "stacked parameters give other gradients"
        copied, fault = tried_copy(lambda: self._copy(0), own[0], x, self.n_outputs)
        return None if copied is not None else fault

    def _keep(self, given: Sequence[nn.Module], own: Sequence[Evaluation], x: Tensor, name: str) -> None:
        """Holds the modules themselves, after a trial of the copies that `member` and `select` make.

        Raises:
            FactoryError: if there is no way to copy a module.
        """
        held = []
        for index, (module, expected) in enumerate(zip(given, own, strict=True)):
            copied, fault = tried_copy(lambda module=module: deep_copy(module), expected, x, self.n_outputs)
            if copied is None and self._rebuild is not None:
                self._by_rebuilding = True
                copied, fault = tried_copy(
                    lambda index=index: plain_network(self._rebuild(index)), expected, x, self.n_outputs
                )
            if copied is None:
                raise FactoryError(
                    f"{name} cannot be copied: {fault}. Keep what its forward uses in attributes of the module, and "
                    "functions as its methods"
                )
            held.append(module if self._by_rebuilding else copied)
        for module in held:
            for p in module.parameters():
                if not p.requires_grad:
                    p.data = p.data.clone()  # a copy of its own of frozen weights that all members have
        self._hold_alone(held)

    def _copy(self, index: int) -> nn.Module:
        if self.vectorized:
            module = deep_copy(self._template[0])
            state = {key: (p[index], p.requires_grad) for key, p in self._named_parameters()}
            state |= {key: (buffer[index], None) for key, buffer in self._named_buffers()}
        else:
            source = self.alone[index]
            parameters = dict(source.named_parameters())
            like = next(iter(parameters.values()))
            if self._by_rebuilding:
                module = plain_network(self._rebuild(index)).eval()
                fn = complex_stay_complex(lambda t: t.to(like.device, like.dtype if t.is_floating_point() else None))
                convert_plain_tensors(module._apply(fn), fn)
            else:
                module = deep_copy(source)
            state = {key: (t, t.requires_grad if key in parameters else None) for key, t in registered(source).items()}
        own = registered(module)
        with torch.no_grad():
            for key, (tensor, needed) in state.items():
                own[key].copy_(tensor)
                if needed is not None:
                    own[key].requires_grad_(needed)
        return module

    def _named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        return list(zip(self.parameter_names, self.stacked, strict=True))

    def _named_buffers(self) -> list[tuple[str, Tensor]]:
        return [(key, getattr(self, f"buffer_{index}")) for index, key in enumerate(self.buffer_names)]

    def _state(self) -> dict[str, Tensor]:
        return dict(self._named_parameters()) | dict(self._named_buffers())

    def _evaluate(self, state: dict[str, Tensor], x: Tensor) -> Tensor:
        return two_dimensional(called_with(self._template[0], state, x), self.n_outputs)


@lru_cache(maxsize=64)
def _say_once(text: str) -> None:
    # A job stacks networks of one architecture many times.
    log.info(text)
