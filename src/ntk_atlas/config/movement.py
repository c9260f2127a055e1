"""Settings of the kernel's movement: at which training error kernels are compared."""

from ntk_atlas.config.base import Scale, Settings


class MovementSettings(Settings):
    """Kernels of different networks are compared at equal epochs, and at equal training error."""

    equal_loss: Scale = 0.1
    """Training MSE, over that of predicting zero, at which movement is measured besides: the first checkpoint at or
    below it. A network that never gets there has none."""
