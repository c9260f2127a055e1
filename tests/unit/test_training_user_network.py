"""A convolutional network of the user's own goes through a unit of training."""

import numpy as np
import torch

from ntk_atlas.arrays import Status
from ntk_atlas.config import CheckpointSettings, LearningRateSettings, NetworkSettings, TrainingSettings
from ntk_atlas.families import build_networks
from ntk_atlas.kernels import empirical_ntk
from ntk_atlas.streams import torch_stream
from ntk_atlas.training import UnitData, train_unit

FACTORY = """
import torch
from torch import nn

class Residual(nn.Module):
    def __init__(self, depth, width, channels):
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.normalize = nn.BatchNorm2d(width)
        self.blocks = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth))
        self.head = nn.Linear(width, 1)

    def forward(self, x):
        h = self.normalize(self.first(x))
        for block in self.blocks:
            h = h + block(torch.relu(h))
        return self.head(h.mean(dim=(2, 3))).squeeze(1)

class Branching(Residual):
    def forward(self, x):
        return super().forward(x) if float(x.sum()) < 1e9 else x

def branching(depth, width, init_scale, input_shape, n_outputs, generator):
    network = build(depth, width, init_scale, input_shape, n_outputs, generator)
    network.__class__ = Branching
    return network

def build(depth, width, init_scale, input_shape, n_outputs, generator):
    network = Residual(depth, width, input_shape[0])
    with torch.no_grad():
        for p in network.parameters():
            if p.dim() > 1:
                p.normal_(0, (init_scale / p[0].numel()) ** 0.5, generator=generator)
    return network
"""


def train(tmp_path, *, vectorized=True, seeds=(0, 1), batch_size="full"):
    (tmp_path / "residual.py").write_text(FACTORY)
    network = build_networks(
        NetworkSettings(factory=f"{tmp_path / 'residual.py'}:{'build' if vectorized else 'branching'}"),
        depth=1,
        width=4,
        init_scale=1.0,
        input_shape=(1, 4, 4),
        n_outputs=1,
        generators=[torch_stream("w", seed) for seed in seeds],
        dtype=torch.float64,
    )
    assert network.vectorized == vectorized
    g = torch.Generator().manual_seed(0)
    x = torch.randn(20, 1, 4, 4, generator=g, dtype=torch.float64)
    y = x.mean(dim=(1, 2, 3)).sign().unsqueeze(1)
    labels = (y[:, 0] > 0).long()
    parts = {"train": slice(10), "validation": slice(10, 14), "test": slice(14, None)}
    data = UnitData(
        x_probe=x[14:17],
        **{f"{name}_{part}": array[where] for name, array in (("x", x), ("y", y)) for part, where in parts.items()},
        **{f"labels_{part}": labels[where] for part, where in parts.items()},
    )
    settings = TrainingSettings(
        max_epochs=25,
        batch_size=batch_size,
        learning_rate=LearningRateSettings(relative=0.3),
        dtype="float64",
        checkpoints=CheckpointSettings(epochs=(5,), weights="scheduled"),
    )
    unit = train_unit(network, data, settings=settings, n_epochs=25, batch_labels=[("b", seed) for seed in seeds])
    return unit, network, data


def test_it_learns_and_its_kernel_is_recorded(tmp_path):
    unit, network, data = train(tmp_path)
    assert (unit.status != Status.DIVERGED).all()
    assert (unit.train_mse[:, -1] < 0.5 * unit.train_mse[:, 0]).all()
    assert unit.probe_kernels.shape == (2, 3, 3, 3)
    for member in range(2):
        kernel = empirical_ntk(network.member(member), data.x_probe).detach()
        np.testing.assert_allclose(unit.probe_kernels[member, -1], kernel, rtol=1e-10)
    assert torch.equal(network.member(0).module.normalize.running_mean, torch.zeros(4, dtype=torch.float64))


def test_vmapped_looped_and_alone_are_the_same(tmp_path):
    for batch_size in ("full", 4):
        mapped, looped = (train(tmp_path, vectorized=v, batch_size=batch_size)[0] for v in (True, False))
        alone = train(tmp_path, seeds=(1,), batch_size=batch_size)[0]
        for name in ("test_mse", "probe_kernels", "weights", "test_predictions"):
            np.testing.assert_allclose(getattr(mapped, name), getattr(looped, name), rtol=1e-9, atol=1e-10)
            np.testing.assert_allclose(getattr(mapped, name)[1], getattr(alone, name)[0], rtol=1e-9, atol=1e-10)
