"""Learning rates that change along training."""

import copy

import numpy as np
import pytest
import torch
from test_training_unit import build, train, training, unit_data

from ntk_atlas.config import TrainingSettings
from ntk_atlas.streams import torch_stream
from ntk_atlas.training import rate_factor


def test_the_cosine_starts_at_one_halves_in_the_middle_and_ends_near_zero():
    cosine = TrainingSettings(schedule="cosine")
    assert rate_factor(cosine, 0, 100) == 1.0
    assert rate_factor(cosine, 50, 100) == pytest.approx(0.5)
    assert 0.0 < rate_factor(cosine, 99, 100) < 3e-4
    assert rate_factor(TrainingSettings(), 50, 100) == 1.0


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("batch_size", ["full", 5])
def test_a_cosine_training_is_torchs_own_with_its_scheduler(optimizer, batch_size):
    """The twin trains each member alone with torch's optimizer and `CosineAnnealingLR`, in the same batch order."""
    network, data = build(), unit_data()
    rate = 0.02 if optimizer == "adam" else 0.1
    settings = training(
        6, optimizer=optimizer, batch_size=batch_size, schedule="cosine", rate={"absolute": rate},
    )  # fmt: skip
    alone = [copy.deepcopy(network.member(index)) for index in range(3)]
    found = train(network, settings, data)
    kinds = {
        "sgd": lambda p: torch.optim.SGD(p, lr=rate),
        "momentum": lambda p: torch.optim.SGD(p, lr=rate, momentum=0.9),
        "adam": lambda p: torch.optim.Adam(p, lr=rate),
    }
    n = len(data.x_train)
    per_epoch = 1 if batch_size == "full" else -(-n // batch_size)
    for index, member in enumerate(alone):
        optimizer_alone = kinds[optimizer](member.parameters())
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer_alone, T_max=6 * per_epoch)
        for epoch in range(6):
            order = torch.arange(n)
            if batch_size != "full":
                labels = ("batches", index)
                order = torch.randperm(n, generator=torch_stream(*labels, epoch))
            for batch in order.split(n if batch_size == "full" else batch_size):
                optimizer_alone.zero_grad()
                gap = member(data.x_train[batch]) - data.y_train[batch]
                (gap.square().sum() / (2 * len(batch))).backward()
                optimizer_alone.step()
                scheduler.step()
        mse = (member(data.x_test) - data.y_test).square().mean().item()
        np.testing.assert_allclose(found.test_mse[index, -1], mse, rtol=1e-9)


def test_heavy_ball_under_a_cosine_keeps_momentum_in_units_of_the_rate_of_the_step():
    """Rates of members enter through their losses: two members of one stack with one rate end alike."""
    settings = training(8, optimizer="momentum", schedule="cosine", rate={"relative": 0.5})
    together = train(build(), settings)
    alone = train(build(seeds=(1,)), settings, seeds=(1,))
    np.testing.assert_allclose(together.train_mse[1], alone.train_mse[0], rtol=1e-10)
