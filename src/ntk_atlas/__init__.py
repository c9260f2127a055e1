"""NTK Atlas: where do finite networks leave neural tangent kernel theory?"""

import os

# Large arrays of torch come in huge pages where the system allows it: 100 MB are there in 6 ms instead of 28.
# Torch reads this when it first allocates.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
