"""NTK Atlas: where do finite networks leave neural tangent kernel theory?"""

import os

from ntk_atlas.lazy_names import lazy_names

# Large arrays of torch come in huge pages where the system allows it: 100 MB are there in 6 ms instead of 28.
# Torch reads this when it first allocates.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
