"""Lightning without a second of imports that nothing here needs.

torchmetrics, which Lightning imports, imports `scipy.signal` only to add an old name to it for an audio package. While
Lightning is imported a stand-in that has the name takes its place; afterwards `scipy.signal` is what it always was.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_NAME = "scipy.signal"


@contextmanager
def _without_scipy_signal() -> Iterator[None]:
    if _NAME in sys.modules:
        yield
        return
    stand_in = ModuleType(_NAME)
    stand_in.hamming = None
    sys.modules[_NAME] = stand_in
    try:
        yield
    finally:
        del sys.modules[_NAME]


with _without_scipy_signal():
    import pytorch_lightning as pl
    from pytorch_lightning.plugins.environments import LightningEnvironment

__all__ = ["LightningEnvironment", "pl"]
