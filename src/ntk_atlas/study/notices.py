"""What is no error and may still not be what a user means, as sentences: of the data and of networks of the user's own.

The plan says it before any work, the cube carries it (`notices`), and so do figures and report.
"""

import json

from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.datasets.draws import Draw

_SAMPLES = 4


def notice_attributes(experiment: ExperimentSettings, draw: Draw) -> dict[str, str]:
    """Attributes of a cube about its networks.

    Args:
        experiment: its settings.
        draw: the first draw, whose training samples networks are evaluated on.

    Returns:
        `notices`, one sentence per line; `same_networks`, JSON: key of the grid → groups of its values at which a
        factory gives one and the same networks, which are no comparison. Both are empty for built-in networks.
    """
    family = experiment.network.family
    if not family.measured:
        return {"notices": "", "same_networks": "{}"}
    import torch

    from ntk_atlas.networks.notices import GRID_KEYS

    n = min(_SAMPLES, len(draw.indices.pool))
    x = torch.as_tensor(draw.training_set(n)[0], dtype=getattr(torch, experiment.training.dtype))
    grid = {key: getattr(experiment.grid, key) for key in GRID_KEYS}
    found = family.notices(experiment.network, grid, x, draw.y_pool.shape[1])
    return {"notices": "\n".join(found.sentences), "same_networks": json.dumps(found.same_networks)}
