"""Kernel regression with the empirical NTKs of a stack of networks, around zero and around the networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ntk_atlas.arrays import LabelledArrays, join
from ntk_atlas.datasets.draws import Draw
from ntk_atlas.kernels.empirical.ntk import empirical_ntk
from ntk_atlas.networks.stacked import StackedNetwork
from ntk_atlas.numerics import compute_device
from ntk_atlas.regression.regress import regress_around
from ntk_atlas.stages.regression_arrays import regression_arrays, regression_targets
from ntk_atlas.stages.row_networks import as_tensor, target_scale
from ntk_atlas.study.prediction_specs import EmpiricalSpec


@dataclass(frozen=True)
class KernelSource:
    """Networks whose kernels predict.

    Attributes:
        network: the stack at the checkpoint; its precision is changed.
        seeds: seeds of its members.
        initial: the same networks at initialization, where their outputs are subtracted; else None.
    """

    network: StackedNetwork
    seeds: Sequence[int]
    initial: StackedNetwork | None = None


def regress_empirical(
    spec: EmpiricalSpec,
    source: KernelSource,
    draw: Draw,
    sizes: Sequence[int],
    variants: Mapping[str, bool],
) -> LabelledArrays:
    """One regression a member and variant, at all sizes, solved in float64.

    Args:
        spec: the row.
        source: whose kernels.
        draw: the data.
        sizes: numbers of training samples, ascending.
        variants: names of the predictor, each with whether it predicts around the network.

    Returns:
        `<field>_<name>` over (seed, ridge, n_train).
    """
    device, n_train, n_validation = compute_device(), max(sizes), len(draw.x_validation)
    inputs = [as_tensor(x).to(device) for x in (draw.training_set(n_train)[0], draw.x_validation, draw.x_test)]
    offsets = None
    if any(variants.values()):  # before the network is rounded to the precision of the kernel
        offsets = _outputs(source, inputs, target_scale(spec, spec.target_scale, draw))
    dtype = getattr(torch, spec.kernel_dtype)
    network, x_train = source.network.to(device, dtype), inputs[0].to(dtype)
    k_train_train = empirical_ntk(network, x_train).cpu()
    k_rest_train = empirical_ntk(network, torch.cat(inputs[1:]).to(dtype), x_train).cpu()
    targets = regression_targets(draw, n_train)
    by_member = [
        regress_around(
            k_train_train[member],
            k_rest_train[member, :n_validation],
            k_rest_train[member, n_validation:],
            **targets,
            sizes=sizes,
            settings=spec.solve,
            offsets=[tuple(f[member] for f in offsets) if around else None for around in variants.values()],
        )
        for member in range(network.n_members)
    ]
    by_variant = zip(variants, zip(*by_member, strict=True), strict=True)
    return join([regression_arrays(results, name, sizes, seed=source.seeds) for name, results in by_variant], {})


@torch.no_grad()
def _outputs(source: KernelSource, inputs: Sequence[Tensor], scale: float) -> list[Tensor]:
    """What the networks say on each set of inputs, `(n_members, n, n_outputs)`, in units of the target."""
    network = source.network.to(inputs[0].device, torch.float64)
    outputs = [network(x) for x in inputs]
    if source.initial is not None:
        initial = source.initial.double().to(inputs[0].device)
        outputs = [f - initial(x) for f, x in zip(outputs, inputs, strict=True)]
    return [f.cpu() / scale for f in outputs]
