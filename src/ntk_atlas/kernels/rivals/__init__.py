"""The rivals of the NTK, one file a kernel: the file's name is the kernel's in a config."""

from ntk_atlas.kernels.rival_kernel import Rival
from ntk_atlas.registry import Registry

RIVALS = Registry("ntk_atlas.kernels.rivals", Rival, "rival kernel")


def rival(name: str) -> Rival:
    """The kernel of that name.

    Raises:
        ValueError: if there is none; the message names those there are.
    """
    return RIVALS.get(name)
