"""Networks of the user's own: a factory in a file, and any `nn.Module` as members of a stack."""

import copy
import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from ntk_atlas.networks.stacked import StackedNetwork
from ntk_atlas.user_code import load_function

log = logging.getLogger(__name__)

Factory = Callable[..., nn.Module]
FACTORY_ARGUMENTS = ("depth", "width", "init_scale", "input_shape", "n_outputs", "generator")


class FactoryError(ValueError):
    """The user's factory cannot be loaded, or what it returns is not a usable network."""


def load_factory(spec: str) -> Factory:
    """Loads the factory `my_net.py:build` from its file; relative paths start at the working directory.

    Args:
        spec: file and name of a function of (depth, width, init_scale, input_shape, n_outputs, generator),
            all passed by keyword, that returns a module mapping `(n, *input_shape)` to `(n, n_outputs)`.

    Returns:
        The factory; it raises FactoryError if the user's function returns anything but a module.

    Raises:
        FactoryError: if there is no such file or function, or the file cannot be imported.
    """
    function = load_function(spec, "network factory", FactoryError, FACTORY_ARGUMENTS)

    def build(**arguments) -> nn.Module:
        module = function(**arguments)
        if isinstance(module, nn.Module):
            return module
        if isinstance(module, type):
            raise FactoryError(
                f"network factory {spec!r} returned the class {module.__name__}: return an instance, "
                f"{module.__name__}(...)"
            )
        raise FactoryError(
            f"network factory {spec!r} returned {type(module).__name__}: it must return a torch.nn.Module"
        )

    return build


class StackedModules(StackedNetwork):
    """A stack of S copies of any module.

    The parameters of the members are stacked, `(S, *shape)` each, and evaluated by `torch.vmap`; modules that
    vmap cannot treat (data-dependent control flow, unsupported operations) run one member after another on
    the same stacked parameters.

    Modules always run in evaluation mode: batch normalization uses its running statistics, which stay as they
    were, and dropout is off. Otherwise a sample's output would depend on the rest of its batch, and a kernel
    between samples would not be defined.

    Attributes:
        vectorized: whether vmap is used.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        input_shape: Sequence[int],
        n_outputs: int,
        output_scale: float = 1.0,
        *,
        name: str = "the network",
    ):
        """Stacks copies of `modules`.

        Args:
            modules: the members, of one architecture, `(n, *input_shape)` → `(n, n_outputs)`, or `(n,)` for
                one output.
            input_shape: shape of one sample.
            n_outputs: outputs of one network.
            output_scale: α, see `StackedNetwork`.
            name: what to call the network in messages.

        Raises:
            FactoryError: if a member cannot evaluate two samples, or its output has a wrong shape.
        """
        super().__init__()
        self.n_members, self.input_shape, self.output_scale = len(modules), tuple(input_shape), output_scale
        self.n_outputs = n_outputs
        template = copy.deepcopy(modules[0]).eval()
        self._hidden_template = (template,)  # in a tuple: its parameters are not this module's
        parameters, buffers = stack_module_state(list(modules))
        self.parameter_names, self.buffer_names = tuple(parameters), tuple(buffers)
        self.stacked = nn.ParameterList(
            nn.Parameter(p.detach(), requires_grad=p.requires_grad) for p in parameters.values()
        )
        for index, buffer in enumerate(buffers.values()):
            self.register_buffer(f"buffer_{index}", buffer.detach())
        self.vectorized = False
        self._check_output(name)
        self.vectorized = self._vmap_works()

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs, see `StackedNetwork.forward`."""
        per_member = self.is_per_member(x)
        state = self._state()
        if self.vectorized:
            outputs = torch.vmap(self._evaluate, in_dims=(0, 0 if per_member else None))(state, x)
        else:
            members = {key: tensor.unbind(0) for key, tensor in state.items()}
            outputs = torch.stack(
                [
                    self._evaluate({key: tensors[i] for key, tensors in members.items()}, x[i] if per_member else x)
                    for i in range(self.n_members)
                ]
            )
        return self.output_scale * outputs

    def train(self, mode: bool = True) -> "StackedModules":
        """Returns itself unchanged: the members stay in evaluation mode."""
        return super().train(False)

    def member(self, index: int) -> nn.Module:
        """Returns one member, see `StackedNetwork.member`."""
        return UserMember(self._module(index), self.n_outputs, self.output_scale)

    def select(self, members: Sequence[int]) -> "StackedModules":
        """Returns some members, see `StackedNetwork.select`."""
        modules = [self._module(index) for index in members]
        return StackedModules(modules, self.input_shape, self.n_outputs, self.output_scale)

    def _module(self, index: int) -> nn.Module:
        module = copy.deepcopy(self._hidden_template[0]).to(next(self.parameters()))  # device and precision
        own = dict(module.named_parameters()) | dict(module.named_buffers())
        with torch.no_grad():
            for key, tensor in self._state().items():
                own[key].copy_(tensor[index])
                if isinstance(own[key], nn.Parameter):
                    own[key].requires_grad_(tensor.requires_grad)
        return module

    def _state(self) -> dict[str, Tensor]:
        state = dict(zip(self.parameter_names, self.stacked, strict=True))
        return state | {key: getattr(self, f"buffer_{i}") for i, key in enumerate(self.buffer_names)}

    def _evaluate(self, state: dict[str, Tensor], x: Tensor) -> Tensor:
        return _two_dimensional(functional_call(self._hidden_template[0], state, (x,)), self.n_outputs)

    def _probe(self) -> Tensor:
        parameter = next(self.parameters())
        samples = torch.randn(2, *self.input_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        return samples.to(parameter)

    def _check_output(self, name: str) -> None:
        x = self._probe()
        try:
            with torch.no_grad():
                output = functional_call(
                    self._hidden_template[0], {key: tensor[0] for key, tensor in self._state().items()}, (x,)
                )
        except Exception as error:
            raise FactoryError(
                f"{name} fails on inputs of shape {tuple(x.shape)}: {type(error).__name__}: {error}"
            ) from error
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        if shape != (2, self.n_outputs) and not (self.n_outputs == 1 and shape == (2,)):
            raise FactoryError(
                f"{name} maps inputs of shape {tuple(x.shape)} to {shape}, expected {(2, self.n_outputs)}: "
                "one row a sample, one column an output"
            )

    def _vmap_works(self) -> bool:
        """Returns whether vmap gives the outputs and gradients of the loop, on two samples."""
        x = self._probe()
        trainable = [p for p in self.parameters() if p.requires_grad]
        results = []
        for vectorized in (False, True):
            self.vectorized = vectorized
            try:
                output = self(x)
                gradients = torch.autograd.grad(output.square().sum(), trainable, allow_unused=True)
            except Exception as error:
                if not vectorized:
                    raise
                log.info("torch.func.vmap cannot evaluate this network, members run one by one: %s", error)
                return False
            results.append([output.detach(), *(g for g in gradients if g is not None)])
        tolerance = 1e3 * torch.finfo(results[0][0].dtype).eps
        same = len(results[0]) == len(results[1]) and all(
            torch.allclose(looped, mapped, rtol=tolerance, atol=tolerance * float(looped.abs().max()))
            for looped, mapped in zip(*results, strict=True)
        )
        if not same:
            log.info("torch.func.vmap changes the outputs of this network: members run one by one")
        return same


class UserMember(nn.Module):
    """One member of `StackedModules`: the user's module, its output `(n, n_outputs)` times `output_scale`."""

    def __init__(self, module: nn.Module, n_outputs: int, output_scale: float):
        super().__init__()
        self.module, self.n_outputs, self.output_scale = module, n_outputs, output_scale
        self.train(False)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs `(n, n_outputs)` at `(n, *input_shape)`."""
        return self.output_scale * _two_dimensional(self.module(x), self.n_outputs)

    def train(self, mode: bool = True) -> "UserMember":
        """Returns itself unchanged: members stay in evaluation mode."""
        return super().train(False)


def _two_dimensional(output: Tensor, n_outputs: int) -> Tensor:
    return output.unsqueeze(-1) if n_outputs == 1 and output.dim() == 1 else output
