"""The empirical neural tangent kernel of any `torch.nn.Module`, and the record of how it was evaluated.

    Θ_θ(x, x') = Σ_p ∂_p f(x) ∂_p f(x')ᵀ        (C × C a pair; Jacot et al. 2018, equation 4)

over the trainable parameters, in evaluation mode. Each parameter goes the cheapest exact way: those of linear layers
that see a sample once through inputs and signals, those of convolutions and normalizations through per-sample
gradients of the layer (`gram`), all others through the general Jacobian (`jacobian`).
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from ntk_atlas.kernels.empirical.capture import capture_factors
from ntk_atlas.kernels.empirical.evaluation import evaluation_mode, replicas
from ntk_atlas.kernels.empirical.gram import Factors, add_gram, check_output_reduction, mirror_upper
from ntk_atlas.kernels.empirical.jacobian import add_jacobian_gram
from ntk_atlas.kernels.empirical.memory_plan import Group, MemoryPlan, mebibytes, plan_memory
from ntk_atlas.kernels.empirical.network_checks import (
    check_finite,
    checked,
    checked_memory_limit,
    kernel_dtype,
    n_samples,
    recordable,
    sample_axis,
)
from ntk_atlas.kernels.empirical.parts import Part
from ntk_atlas.kernels.empirical.structure import Form, Layer, NetworkStructure, probe_network
from ntk_atlas.kernels.empirical.verification import verified_structure, without_layers
from ntk_atlas.kernels.errors import MemoryLimitError, StructureChangedError
from ntk_atlas.networks.stacked import StackedConv2d, StackedLinear, StackedNetwork
from ntk_atlas.numerics import Given, freed_memory, is_out_of_memory, release_freed_memory

log = logging.getLogger(__name__)

_FORMS: dict[Form, str] = {
    "factors": "factors",
    "gradients": "gradients",
    "positions": "pairs of positions",
    "channels": "gradients of channels",
}


@dataclass(frozen=True)
class KernelRecord:
    """The conventions of one empirical kernel (see docs/conventions.md) and the plan that evaluated it.

    Attributes:
        output_reduction: `full`, `trace`, `mean` or `logit_sum`.
        n_outputs: outputs C of the network.
        parameterization: of built-in networks; `as written` for any other module, whose parameters count as they are.
        dtype: precision of the kernel, and of parameters and inputs unless these have half precision.
        device: where it was evaluated.
        matmul_precision: of float32 matrix products; `highest` means neither TF32 nor bfloat16.
        layers: number of layers by the form of their part, e.g. `7 layers by factors`.
        memory_limit: bytes.
        peak_bytes: estimate of the largest total in use.
        samples_a_pass: samples in one forward and backward pass.
    """

    output_reduction: str
    n_outputs: int
    parameterization: str
    dtype: str
    device: str
    matmul_precision: str
    layers: str
    memory_limit: int
    peak_bytes: int
    samples_a_pass: int

    @classmethod
    def of(
        cls,
        network: nn.Module,
        structure: NetworkStructure,
        plan: MemoryPlan,
        output_reduction: str,
        dtype: torch.dtype,
        device: torch.device,
    ) -> "KernelRecord":
        """The record of a kernel about to be evaluated, in the precision that is set now."""
        return cls(
            output_reduction=output_reduction,
            n_outputs=structure.n_outputs,
            parameterization=_parameterization(network),
            dtype=str(dtype).removeprefix("torch."),
            device=str(device),
            matmul_precision=torch.get_float32_matmul_precision(),
            layers=_layers(structure, plan),
            memory_limit=plan.memory_limit,
            peak_bytes=plan.peak_bytes,
            samples_a_pass=plan.samples_a_pass,
        )

    def attributes(self) -> dict[str, str | int]:
        """Returns the record as attributes of a file or array."""
        return asdict(self)

    def describe(self) -> str:
        """Returns one line for a log."""
        return (
            f"empirical NTK ({self.output_reduction} over {self.n_outputs} outputs, {self.dtype}): {self.layers}; "
            f"passes of {self.samples_a_pass} samples, {mebibytes(self.peak_bytes)} at most "
            f"of {mebibytes(self.memory_limit)}"
        )


def _parameterization(network: nn.Module) -> str:
    owners = [m for m in network.modules() if any(p is not None for p in m._parameters.values())]
    stacked = [m for m in owners if isinstance(m, StackedLinear | StackedConv2d)]
    names = {m.scaling.parameterization for m in stacked}
    return names.pop() if len(names) == 1 and len(stacked) == len(owners) else "as written"


def _layers(structure: NetworkStructure, plan: MemoryPlan) -> str:
    items = [item for group in plan.groups for item in group.items]
    forms = Counter(_FORMS[item.form] for item in items if isinstance(item.of, Layer))
    parts = [f"{_counted(count, 'layer')} by {form}" for form, count in sorted(forms.items())]
    forms = Counter()
    for item in items:
        if isinstance(item.of, Part):
            forms[_FORMS[item.form]] += len(item.of.parameters)
    parts += [f"{_counted(count, 'parameter')} by {form}" for form, count in sorted(forms.items())]
    if structure.others:
        parts.append(f"{_counted(len(structure.others), 'parameter')} by Jacobian")
    if len(plan.groups) > 1:
        parts.append(f"in {len(plan.groups)} groups")
    return ", ".join(parts)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + "s" * (count != 1)


def empirical_ntk(
    network: nn.Module,
    x1: Given,
    x2: Given | None = None,
    *,
    output_reduction: str = "mean",
    memory_limit: int | None = None,
) -> Tensor:
    r"""Empirical NTK of a network, or of every member of a stack.

    Parameters with `requires_grad` False do not count; hooks on gradients, of modules and parameters, do not either. A
    member of a stack whose weights are not finite gets a kernel that is not finite; the others are not touched by it.
    The network is left as it was: training flags, buffers, attributes of its modules, random streams.

    On a CPU several threads run the network, or copies of it that share its parameters, at the same time. What a
    `forward` keeps outside its modules, in global variables, closures or attributes of classes, must not depend on x.

    Args:
        network: maps `(n, *shape)` to `(n, C)`, each sample by itself; or a `StackedNetwork` of S members. Compiled,
            scripted and data-parallel modules stand for what they were made of.
        x1: inputs `(n1, *shape)`, for a stack also `(S, n1, *shape)`; tensors have precision and device of the network.
            Arrays and lists are brought to its device, and floating-point numbers to its precision; integers stay
            integers, for they may be tokens.
        x2: inputs of the second argument; None stands for `x1` and gives an exactly symmetric kernel.
        output_reduction: `full`: Θ_cc'; `trace`: Σ_c Θ_cc; `mean`: Σ_c Θ_cc / C; `logit_sum`: Σ_cc' Θ_cc',
            the kernel of the summed outputs (Mohamadi, Bae & Sutherland 2023).
        memory_limit: bytes that all this may take, the result included; None takes that of
            `memory.memory_limited`, else half of what is free. Block sizes follow from it. If the device runs out of
            memory nevertheless, the limit is halved and the work done again.

    Returns:
        `(n1, n2)`, for `full` `(n1, n2, C, C)`, a view of memory in the order (C, n1, C, n2); a stack's kernels have
        a leading axis S. The (n1·C) × (n2·C) matrix of a full kernel is
        `kernel.transpose(-3, -2).flatten(-4, -3).flatten(-2, -1)`. The precision is that of the parameters, float32 for
        those in half precision.

    Raises:
        KernelInputError: if the reduction is unknown, inputs are empty, not finite or do not match each other or
            the network, or the network fails, has nothing to train, weights that are not finite, mixes samples, draws
            random numbers, changes its inputs, or does not map to `(n, C)`; if gradients overflow; if `memory_limit`
            does not leave room for a single sample.
    """
    return empirical_ntk_with_record(network, x1, x2, output_reduction=output_reduction, memory_limit=memory_limit)[0]


def empirical_ntk_with_record(
    network: nn.Module,
    x1: Given,
    x2: Given | None = None,
    *,
    output_reduction: str = "mean",
    memory_limit: int | None = None,
) -> tuple[Tensor, KernelRecord]:
    """The kernel, and what a reader of the numbers must know: conventions, precision, how it was evaluated.

    Args:
        network: see `empirical_ntk`.
        x1: inputs of the rows, see `empirical_ntk`.
        x2: inputs of the columns; None stands for `x1`.
        output_reduction: `full`, `trace`, `mean` or `logit_sum`, see `empirical_ntk`.
        memory_limit: bytes, see `empirical_ntk`.

    Returns:
        What `empirical_ntk` returns, and the record.

    Raises:
        KernelInputError: see `empirical_ntk`.
    """
    lost_members = isinstance(network, StackedNetwork)
    return kernel_and_record(network, x1, x2, output_reduction, memory_limit, lost_members=lost_members)


def kernel_and_record(
    network: nn.Module,
    x1: Given,
    x2: Given | None = None,
    output_reduction: str = "mean",
    memory_limit: int | None = None,
    *,
    lost_members: bool = False,
) -> tuple[Tensor, KernelRecord]:
    """What `empirical_ntk_with_record` returns, of networks that training may have lost.

    Args:
        network: see `empirical_ntk`.
        x1: see `empirical_ntk`.
        x2: see `empirical_ntk`.
        output_reduction: see `empirical_ntk`.
        memory_limit: see `empirical_ntk`.
        lost_members: whether weights, outputs and kernels that are not finite are no fault of the call; what they
            give is not finite.

    Returns:
        The kernel, and the record.

    Raises:
        KernelInputError: see `empirical_ntk`.
    """
    check_output_reduction(output_reduction)
    network, rows, columns = checked(network, x1, x2, lost_members=lost_members)
    limit = checked_memory_limit(memory_limit, rows.device)
    with evaluation_mode(network):
        rows, columns = recordable(rows), None if columns is None else recordable(columns)
        structure = _structure(network, rows, finite=not lost_members)
        if structure is None:
            kernel, record = _member_by_member(network, rows, columns, output_reduction, limit)
        else:
            kernel, record = _within_memory(network, structure, rows, columns, output_reduction, limit)
        if not all(map(torch.isfinite, kernel.aminmax())):
            _name_what_is_not_finite(kernel, network, lost_members)
        return kernel, record


def _name_what_is_not_finite(kernel: Tensor, network: nn.Module, lost_members: bool) -> None:
    if not lost_members:
        row, column = (~torch.isfinite(kernel)).nonzero()[0, :2].tolist()
        check_finite(kernel, f"the kernel of sample {row} of x1 and sample {column} of the columns is", network)
    elif isinstance(network, StackedNetwork):
        sound = torch.isfinite(network.weights()).all(1)
        lost = (sound & ~torch.isfinite(kernel).flatten(1).all(1)).nonzero().flatten().tolist()
        if lost:
            log.warning(
                "the kernel of %d of %d networks is not finite though their weights are: %s overflows (members %s)",
                len(lost), network.n_members, kernel.dtype, ", ".join(map(str, lost[:8])),
            )  # fmt: skip


def _structure(network: nn.Module, x: Tensor, *, finite: bool) -> NetworkStructure | None:
    """The structure, verified; None for a stack whose members are verified and evaluated by themselves."""
    if isinstance(network, StackedNetwork) and network.members_apart:
        return None
    structure = probe_network(network, x, finite=finite)
    if _goes_by_member(network, structure):
        return None
    structure = verified_structure(network, structure, x)
    return None if _goes_by_member(network, structure) else structure


def _goes_by_member(network: nn.Module, structure: NetworkStructure) -> bool:
    # Parts gain nothing from a stack: each sample's are made by themselves.
    return isinstance(network, StackedNetwork) and bool(structure.others or structure.parts)


def _within_memory(
    network: nn.Module,
    structure: NetworkStructure,
    x1: Tensor,
    x2: Tensor | None,
    output_reduction: str,
    limit: int,
) -> tuple[Tensor, KernelRecord]:
    dtype = kernel_dtype(network)
    networks = replicas(network, torch.get_num_threads() if x1.device.type == "cpu" else 1)
    exhausted = None
    while True:
        try:
            plan = plan_memory(
                structure,
                n_samples(network, x1),
                None if x2 is None else n_samples(network, x2),
                output_reduction=output_reduction,
                itemsize=dtype.itemsize,
                memory_limit=limit,
                workers=len(networks),
            )
        except MemoryLimitError as error:
            if exhausted is None:
                raise
            raise MemoryLimitError(
                f"{x1.device} ran out of memory, and the kernel cannot be had with less: after halving, {error}"
            ) from exhausted
        record = KernelRecord.of(network, structure, plan, output_reduction, dtype, x1.device)
        _log_once(record.describe())
        try:
            with freed_memory(kept=plan.is_ample):
                kernel = _evaluate(networks, structure, plan, x1, x2, output_reduction, dtype)
        except StructureChangedError as change:
            if structure.readout is not None:
                structure = replace(structure, readout=None, last_hidden=None, chain=())
            else:
                structure = without_layers(network, structure, [*structure.layers, *structure.parts], str(change))
            continue
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            exhausted, limit = error, min(limit, plan.peak_bytes) // 2
        else:
            kernel = kernel.permute(0, 2, 4, 1, 3)
            kernel = kernel if output_reduction == "full" else kernel[..., 0, 0]
            return (kernel if isinstance(network, StackedNetwork) else kernel[0]), record
        log.warning("out of memory: once more with a memory limit of %s", mebibytes(limit))
        if x1.device.type == "cuda":
            torch.cuda.empty_cache()


def _evaluate(
    networks: Sequence[nn.Module],
    structure: NetworkStructure,
    plan: MemoryPlan,
    x1: Tensor,
    x2: Tensor | None,
    output_reduction: str,
    dtype: torch.dtype,
) -> Tensor:
    """Returns the kernel `(S, C, n1, C, n2)`, C = 1 if it is summed over outputs."""
    network = networks[0]
    axis, columns_of = sample_axis(network, x1), x1 if x2 is None else x2
    n1, n2 = n_samples(network, x1), n_samples(network, columns_of)
    kept = structure.n_outputs if output_reduction == "full" else 1
    scale = 1.0 / structure.n_outputs if output_reduction == "mean" else 1.0
    kernel = torch.zeros(structure.n_members, kept, n1, kept, n2, dtype=dtype, device=x1.device)
    for group in plan.groups:

        def factors(x: Tensor, start: int, group: Group = group) -> list[Factors]:
            block = x.narrow(axis, start, min(group.block, x.shape[axis] - start))
            return capture_factors(
                network,
                structure,
                group.items,
                block,
                output_reduction=output_reduction,
                samples_a_pass=plan.samples_a_pass,
                at_once=networks[: plan.workers],
                workspace=plan.workspace,
            )

        for i in range(0, n1, group.block):
            left = factors(x1, i)
            for j in range(i if x2 is None else 0, n2, group.block):
                same = x2 is None and i == j
                right = left if same else factors(columns_of, j)
                tile = kernel[:, :, i : i + group.block, :, j : j + group.block]
                with torch.no_grad():
                    add_gram(tile, left, right, upper=same, scale=scale, workers=plan.workers)
                del right
            del left
            if len(plan.groups) > 1 or group.block < n1:
                release_freed_memory()  # before the next ones are made
    if structure.others:
        sum_outputs = output_reduction == "logit_sum"
        add_jacobian_gram(
            kernel,
            network,
            x1,
            x2,
            structure.others,
            n_outputs=1 if sum_outputs else structure.n_outputs,
            memory_budget=plan.jacobian_bytes,
            samples_a_call=plan.samples_a_pass,
            sum_outputs=sum_outputs,
            accumulates=structure.accumulates,
            scale=scale,
        )
    if x2 is None:
        mirror_upper(kernel, workers=plan.workers)
    return kernel


def _member_by_member(
    network: nn.Module, x1: Tensor, x2: Tensor | None, output_reduction: str, limit: int
) -> tuple[Tensor, KernelRecord]:
    assert isinstance(network, StackedNetwork)  # others have no members

    def of_member(x: Tensor, index: int) -> Tensor:
        return x[index] if network.is_per_member(x) else x

    def of_index(index: int, left: int) -> tuple[Tensor, KernelRecord]:
        columns = None if x2 is None else of_member(x2, index)
        return kernel_and_record(
            network.member(index), of_member(x1, index), columns, output_reduction, left, lost_members=True
        )

    first, record = of_index(0, limit)
    kernels = first.new_empty(network.n_members, *first.shape)
    kernels[0] = first
    for index in range(1, network.n_members):
        kernels[index], record = of_index(index, limit - kernels.nbytes)
    return kernels, record


@lru_cache(maxsize=64)
def _log_once(text: str) -> None:
    # A kernel is taken at every checkpoint; the plan is news only when it changes.
    log.info(text)
