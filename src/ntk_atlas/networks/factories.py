"""Networks that a factory of the user's own draws: one seed, one network, the same each time."""

import contextlib
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.networks.initial_state import InitialStateError, load_state, read_state, trainable_names
from ntk_atlas.networks.module_checks import (
    FactoryError,
    agree,
    check_members_apart,
    check_one_architecture,
    check_parameters,
    evaluate,
    plain_network,
    under_check,
)
from ntk_atlas.networks.modules import StackedModules, convert_network
from ntk_atlas.networks.plain_state import difference, registered
from ntk_atlas.networks.running import eagerly, in_evaluation_mode
from ntk_atlas.numerics import equal_tensors, is_out_of_memory
from ntk_atlas.streams import global_streams
from ntk_atlas.user_code import load_function, told

_SAMPLES = "training samples"


Factory = Callable[..., nn.Module]
FACTORY_ARGUMENTS = ("depth", "width", "init_scale", "input_shape", "n_outputs", "generator")


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


def factory_of(settings: NetworkSettings) -> Factory:
    """The factory that settings name; its networks start from their file of weights, and train what they say.

    Args:
        settings: `factory`, `initial_state` and `trainable`.

    Returns:
        The factory.

    Raises:
        FactoryError: see `load_factory`; also if the file cannot be read or is of another network, when it is read or
            a network is built.
    """
    factory = load_factory(settings.factory)
    if settings.initial_state is None and settings.trainable is None:
        return factory
    try:
        state = None if settings.initial_state is None else read_state(settings.initial_state)
    except InitialStateError as error:
        raise FactoryError(f"network.initial_state: {error}") from error

    def build(**arguments) -> nn.Module:
        module = factory(**arguments)
        try:
            key = f"network.initial_state: {settings.initial_state}"
            if state is not None:
                load_state(module, state, whole=False)
            key = "network.trainable:"
            trainable_names(module, settings.trainable)
        except InitialStateError as error:
            raise FactoryError(f"{key} {error}") from error
        return module

    return build


def factory_networks(
    settings: NetworkSettings,
    sizes: Mapping[str, int | float],
    input_shape: tuple[int, ...],
    generators: Sequence[torch.Generator],
    dtype: torch.dtype,
    samples: Tensor | None,
) -> StackedModules:
    """Draws one network a generator from the factory that the settings name.

    Args:
        settings: names the factory.
        sizes: depth, width, init_scale and n_outputs, passed on to it.
        input_shape: shape of one sample.
        generators: the random streams of the members, each at its start.
        dtype: precision of the parameters.
        samples: see `build_networks`.

    Returns:
        The stack.

    Raises:
        FactoryError: if a network cannot be used (see `StackedModules`), two seeds give one network, one seed gives
            another network each time, networks share what decides their outputs, or they fail in double precision.
    """
    factory, name = factory_of(settings), f"network factory {settings.factory!r}"
    seeds = [int(generator.initial_seed()) for generator in generators]
    made_up = torch.rand(2, *input_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = (made_up if samples is None else samples.detach()).to("cpu", dtype)

    def build(seed: int) -> nn.Module:
        return built_network(factory, sizes, x, seed, name)

    modules = [build(seeds[0])]
    again = build(seeds[0])
    check_members_apart([modules[0], again], name)
    other_each_time = difference(modules[0], again, values=True, doubtful=False) is not None
    outputs = [_outputs(modules[0], x)]
    if other_each_time or not _equal(outputs[0], _outputs(again, x)):
        raise FactoryError(
            f"{name} gives another network each time for the same `generator`: draw from `generator`, or from the "
            "global streams of torch, NumPy or Python, which start anew for each network"
        )
    for seed in seeds[1:]:
        modules.append(build(seed))
        outputs.append(_outputs(modules[-1], x))
    # With one network there is another to compare it with.
    compared = modules if len(modules) > 1 or settings.initial_state is not None else [*modules, build(seeds[0] ^ 1)]
    check_members_apart(compared, name)
    check_one_architecture(compared, name)
    for index, (module, first) in enumerate(zip(modules, outputs, strict=True)):
        if not _equal(first, _outputs(module, x)):
            evaluate(module, x, sizes["n_outputs"], name, _SAMPLES)  # says so if its outputs change by themselves
            raise FactoryError(
                f"{name}: outputs of the network of seed {index} changed when that of another was built: what its "
                "forward uses must belong to the module, not to a class or to the top of the file"
            )
    for index, module in enumerate(compared[1:], start=1):
        if any(_is_one_network(earlier, module, x, sizes["n_outputs"], name) for earlier in compared[:index]):
            if settings.initial_state is not None:
                raise FactoryError(
                    f"network.initial_state: {settings.initial_state} has all weights of the network, so seeds are the "
                    "same network: set grid.seeds to 1, or leave what is drawn anew, such as the head, out of the file"
                )
            raise FactoryError(
                f"{name} gives two seeds the same network: draw its weights from `generator`, or from the global "
                "streams of torch, NumPy or Python, and set no seed in it"
            )
    stack = StackedModules(
        modules,
        input_shape,
        sizes["n_outputs"],
        settings.output_scale,
        name=name,
        samples=samples,
        rebuild=lambda index: build(seeds[index]),
    )
    _check_double_precision(stack, x, name)
    return stack


def built_network(factory: Factory, sizes: Mapping[str, int | float], x: Tensor, seed: int, name: str) -> nn.Module:
    """One network of a factory, ready to be evaluated: wrappers taken off, on the CPU, in the precision of samples.

    A factory that ignores `generator` gives the same network every time too: the global streams start from the seed.

    Args:
        factory: the user's.
        sizes: depth, width, init_scale and n_outputs, passed on to it.
        x: samples `(n, *input_shape)`; the network is run on them once, so that lazy layers draw their weights.
        seed: of its generator and of the global streams.
        name: what to call the network in messages.

    Returns:
        The network.

    Raises:
        FactoryError: if the factory fails, or its weights cannot be used.
    """
    with global_streams(seed):
        generator = torch.Generator().manual_seed(seed)
        module = factory(**sizes, input_shape=tuple(x.shape[1:]), generator=generator)
        with contextlib.suppress(NotImplementedError):  # `check_parameters` says so
            module.eval()  # once and for all: it may change weights
        _run_once(module, x, name)
    for key, t in registered(module).items():
        if t.is_meta or t.is_inference():
            check_parameters(module, name)
        if t.is_complex() and t.requires_grad:
            raise FactoryError(f"{name} has complex parameters ({key!r}): keep real and imaginary parts apart")
    module = plain_network(convert_network(module, x.dtype))
    check_parameters(module, name)
    return module


def _outputs(module: nn.Module, x: Tensor) -> Tensor | None:
    """Returns what a network says on samples, None if it does not take them: `StackedModules` says why."""
    try:
        with under_check(), torch.no_grad(), in_evaluation_mode(module), eagerly(attention=True):
            output = module(x.clone())
    except Exception:
        return None
    return output if isinstance(output, Tensor) else None


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return True
    return equal_tensors(one, other)


def _is_one_network(one: nn.Module, other: nn.Module, x: Tensor, n_outputs: int, name: str) -> bool:
    states = [registered(module) for module in (one, other)]
    if states[0].keys() != states[1].keys():
        return False
    if not all(equal_tensors(t, states[1][key]) for key, t in states[0].items()):
        return False
    if difference(one, other) is None:
        return True
    first, second = (evaluate(module, x, n_outputs, name, _SAMPLES) for module in (one, other))
    return agree([first.outputs, *first.gradients], [second.outputs, *second.gradients])


def _run_once(module: nn.Module, x: Tensor, name: str) -> None:
    """Runs a new network: lazy layers draw their weights then, from the streams of its seed.

    Raises:
        FactoryError: if it has lazy layers and does not take the samples.
    """
    lazy = any(nn.parameter.is_lazy(t) for t in registered(module).values())
    try:
        with torch.no_grad(), in_evaluation_mode(module), eagerly(attention=True):
            module(x.to(torch.get_default_dtype(), copy=True))
    except Exception as error:  # of others `StackedModules` says what is wrong
        if lazy:
            shape = tuple(x.shape)
            raise FactoryError(
                f"{name} has lazy layers, and fails on inputs of shape {shape}: {told(error)}"
            ) from error


def _check_double_precision(stack: StackedModules, x: Tensor, name: str) -> None:
    """Checks that a network can follow to double precision: there kernels are computed, in jobs after training.

    Raises:
        FactoryError: if it cannot.
    """
    if x.dtype == torch.float64:
        return
    try:
        with torch.no_grad():
            output = stack.select([0]).double()(x.double())
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise FactoryError(
            f"{name} fails in double precision, in which kernels are computed: {told(error)}. Keep tensors as buffers "
            "(self.register_buffer), or bring them to the precision of the input: `tensor.to(x)`"
        ) from error
    if output.dtype != torch.float64:
        raise FactoryError(f"{name} returns {output.dtype} for inputs in double precision: return the precision of x")
