"""What can be wrong with a network or with inputs, by name; all are ValueErrors."""


class KernelInputError(ValueError):
    """A network, inputs or a choice that no kernel can be taken of."""


class MixedSamplesError(KernelInputError):
    """The network's output for a sample depends on other samples: a kernel between samples is not defined."""


class RandomNetworkError(KernelInputError):
    """The network's output changes from call to call: its kernel would be random."""


class StructureChangedError(KernelInputError):
    """A layer was called otherwise than in the trial runs; its parameters need the Jacobian."""


class MemoryLimitError(KernelInputError):
    """The memory limit is too small for the result, or for a single sample."""
