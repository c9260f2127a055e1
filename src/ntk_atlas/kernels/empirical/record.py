"""What a reader of a kernel's numbers must know: conventions, precision, and how it was evaluated."""

from collections import Counter
from dataclasses import asdict, dataclass

import torch

from ntk_atlas.kernels.empirical.memory_plan import MemoryPlan, mebibytes
from ntk_atlas.kernels.empirical.structure import NetworkStructure
from ntk_atlas.networks.stacked import StackedLinear
from ntk_atlas.networks.stacked_convolution import StackedConv2d


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
            parameterization=_parameterization(structure),
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


def _parameterization(structure: NetworkStructure) -> str:
    modules = [layer.module for layer in structure.layers]
    stacked = [module for module in modules if isinstance(module, StackedLinear | StackedConv2d)]
    if structure.others or len(stacked) < len(modules):
        return "as written"
    names = {module.scaling.parameterization for module in stacked}
    return names.pop() if len(names) == 1 else "as written"


def _layers(structure: NetworkStructure, plan: MemoryPlan) -> str:
    forms = Counter(layer.form for layer in structure.layers)
    parts = [f"{_counted(count, 'layer')} by {form}" for form, count in sorted(forms.items())]
    if structure.others:
        parts.append(f"{_counted(len(structure.others), 'parameter')} by Jacobian")
    if len(plan.groups) > 1:
        parts.append(f"in {len(plan.groups)} groups")
    return ", ".join(parts)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + "s" * (count != 1)
