"""Row 17: the networks, data and batches that stacked training and the plain loop share."""

import problems
import torch

LEARNING_RATE = 0.05


def labels(seed: int) -> tuple[str, int]:
    """Returns the name of a network's stream of batch orders."""
    return ("benchmark", seed)


def data(n: int, n_inputs: int, n_outputs: int, dtype: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns inputs `(n, n_inputs)` and targets `(n, n_outputs)`."""
    x = torch.from_numpy(problems.inputs(n, (n_inputs,))).to(getattr(torch, dtype))
    return x / n_inputs**0.5, torch.tanh(x[:, :n_outputs])


def networks(*, n_inputs: int, width: int, depth: int, n_outputs: int, n_seeds: int, dtype: str):
    """Returns untrained networks, stacked."""
    from ntk_atlas.config.network import NetworkSettings
    from ntk_atlas.families import build_networks

    return build_networks(
        NetworkSettings(activation="relu"),
        depth=depth,
        width=width,
        init_scale=2.0,
        input_shape=(n_inputs,),
        n_outputs=n_outputs,
        generators=[torch.Generator().manual_seed(seed) for seed in range(n_seeds)],
        dtype=getattr(torch, dtype),
    )
