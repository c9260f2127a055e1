"""What a user should know of a network of the user's own: what is off in it, and which keys of the grid it ignores.

Nothing here is wrong, so nothing is refused; but a network whose batch normalization is off is another network than the
one that the user has in mind, and cells that differ by name only look like a result.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.networks.factories import Factory, built_network, factory_of
from ntk_atlas.networks.module_checks import evaluate
from ntk_atlas.networks.plain_state import deep_copy
from ntk_atlas.streams import global_streams, stream_seed

GRID_KEYS = ("depth", "width", "init_scale")
_MOST_VALUES = 8
_NAMES_SHOWN = 6


@dataclass(frozen=True)
class NetworkNotices:
    """What the user of a factory should know.

    Attributes:
        sentences: one a notice.
        same_networks: key → groups of its values at which the networks are one and the same, in all cells alike.
    """

    sentences: tuple[str, ...] = ()
    same_networks: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)


def network_notices(
    settings: NetworkSettings, grid: Mapping[str, Sequence[float]], samples: Tensor, n_outputs: int
) -> NetworkNotices:
    """Builds a factory's networks at small cells of the grid and says what a user may not expect.

    Args:
        settings: name the factory.
        grid: the values of `depth`, `width` and `init_scale`.
        samples: two or more training inputs, `(n, *input_shape)`.
        n_outputs: outputs.

    Returns:
        Layers that are off because networks run in evaluation mode, and keys that the factory ignores.

    Raises:
        FactoryError: if the factory cannot be used.
    """
    name = f"network factory {settings.factory!r}"
    smallest = {key: min(grid[key]) for key in GRID_KEYS}
    module = _built(factory_of(settings), smallest, samples, n_outputs, name)
    off = evaluation_mode_notice(module, samples, name)
    repeated = repeated_cells(settings, grid, samples, n_outputs)
    said = [repeats_notice(name, key, groups) for key, groups in repeated.items()]
    # Networks of another depth or width have random streams of their own.
    same = {key: groups for key, groups in repeated.items() if key == "init_scale"}
    return NetworkNotices((*([off] if off else []), *said), same)


def evaluation_mode_notice(module: nn.Module, samples: Tensor, name: str) -> str | None:
    """What differs between the evaluation mode, in which networks are trained too, and the training mode.

    Args:
        module: the network.
        samples: two or more inputs, on which both modes are tried.
        name: what to call the network.

    Returns:
        A sentence with kinds and names of the layers; None if both modes are one.
    """
    layers = mode_dependent_layers(module)
    if layers:
        listed = ", ".join(f"{kind} {_some(names)}" for kind, names in layers.items())
        what = f"{listed} run in evaluation mode, in training too"
    elif _modes_differ(module, samples):
        what = "it gives other outputs in training mode, and networks run in evaluation mode, in training too"
    else:
        return None
    normalizes = any("Norm" in kind for kind in layers)
    drops = any("Norm" not in kind for kind in layers)
    effects = [
        *(["batch normalization uses its running statistics, which are never updated"] * normalizes),
        *(["nothing is dropped at random"] * drops),
    ]
    advice = "use GroupNorm or LayerNorm" if normalizes else "remove what is random, so that the network says what runs"
    return f"{name}: {what}" + (f": {', and '.join(effects)}; {advice}" if layers else "")


def mode_dependent_layers(module: nn.Module) -> dict[str, list[str]]:
    """The layers of a network that do something else in training mode: kind → names, in the order of the network."""
    layers = defaultdict(list)
    for name, layer in module.named_modules():
        if _depends_on_the_mode(layer):
            layers[_kind(layer)].append(name or "the network itself")
    return dict(layers)


def _kind(layer: nn.Module) -> str:
    kind = layer.original_name if isinstance(layer, torch.jit.ScriptModule) else type(layer).__name__
    return kind.lstrip("_")


def _depends_on_the_mode(layer: nn.Module) -> bool:
    if isinstance(layer, torch.jit.ScriptModule):
        return layer.original_name.startswith(("BatchNorm", "InstanceNorm", "Dropout", "AlphaDropout"))
    if isinstance(layer, nn.modules.batchnorm._NormBase):
        return bool(layer.track_running_stats)
    if isinstance(layer, nn.modules.dropout._DropoutNd):
        return layer.p > 0
    if isinstance(layer, nn.RNNBase):
        return layer.dropout > 0 and layer.num_layers > 1
    if isinstance(layer, nn.MultiheadAttention):
        return layer.dropout > 0
    spectral = any(type(hook).__name__ == "SpectralNorm" for hook in layer._forward_pre_hooks.values())
    return spectral or isinstance(layer, nn.RReLU) or type(layer).__name__ == "_SpectralNorm"


def _modes_differ(module: nn.Module, samples: Tensor) -> bool:
    outputs = []
    with torch.no_grad():
        for training in (False, True, True):
            try:
                with global_streams(len(outputs)):
                    outputs.append(deep_copy(module).train(training)(samples.clone()))
            except Exception:  # a network that has no training mode runs in the other
                return False
    first = outputs[0]
    return any(not torch.allclose(first, other, rtol=1e-4, atol=1e-5 * float(first.abs().max())) for other in outputs)


def repeated_cells(
    settings: NetworkSettings, grid: Mapping[str, Sequence[float]], samples: Tensor, n_outputs: int
) -> dict[str, list[list[float]]]:
    """The values of each key of the grid at which a factory gives one and the same network.

    One random stream is built at each value, other keys at their smallest; networks are the same if weights, buffers,
    outputs and gradients are, to the last bit.

    Args:
        settings: name the factory.
        grid: the values of `depth`, `width` and `init_scale`.
        samples: two or more training inputs.
        n_outputs: outputs.

    Returns:
        Key → groups of two or more values, ascending; only keys that have some.

    Raises:
        FactoryError: if the factory cannot be used.
    """
    factory, name = factory_of(settings), f"network factory {settings.factory!r}"
    smallest = {key: min(grid[key]) for key in GRID_KEYS}
    repeated = {}
    for key in GRID_KEYS:
        values = sorted(set(grid[key]))
        if len(values) < 2:
            continue
        groups = defaultdict(list)
        for value in values[:_MOST_VALUES]:
            module = _built(factory, smallest | {key: value}, samples, n_outputs, name)
            groups[_fingerprint(module, samples, n_outputs, name)].append(value)
        if same := [group for group in groups.values() if len(group) > 1]:
            repeated[key] = same
    return repeated


def repeats_notice(name: str, key: str, groups: Sequence[Sequence[float]]) -> str:
    """The sentence about a key that a factory ignores, or does not tell some values of."""
    listed = "; ".join(", ".join(f"{value:g}" for value in group) for group in groups)
    if key == "init_scale":
        return f"{name} ignores init_scale: the cells of {listed} are the same networks, not a comparison"
    return f"{name} ignores {key}: the cells of {listed} are one architecture and differ by their random weights alone"


def _built(factory: Factory, cell: Mapping[str, float], samples: Tensor, n_outputs: int, name: str) -> nn.Module:
    x = samples if samples.is_floating_point() else samples.to(torch.get_default_dtype())
    return built_network(factory, dict(cell) | {"n_outputs": n_outputs}, x, stream_seed("notices"), name).eval()


def _fingerprint(module: nn.Module, samples: Tensor, n_outputs: int, name: str) -> str:
    found = evaluate(module, samples, n_outputs, name, "training samples")
    tensors = module.state_dict() | {"output": found.outputs}
    tensors |= {f"gradient {index}": gradient for index, gradient in enumerate(found.gradients)}
    digest = hashlib.sha256()
    for key, tensor in tensors.items():
        if isinstance(tensor, Tensor):
            digest.update(json.dumps([key, str(tensor.dtype), tuple(tensor.shape)]).encode())
            digest.update(tensor.detach().to_dense().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_NAMES_SHOWN])
    return shown + (f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else "")
