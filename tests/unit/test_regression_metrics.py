"""Errors of predictions."""

import numpy as np
import pytest
import torch

from ntk_atlas.regression import classification_error, mean_squared_error
from ntk_atlas.streams import numpy_stream


def test_mse_is_the_mean_over_samples_and_outputs_for_every_leading_axis():
    rng = numpy_stream("mse")
    predictions, targets = rng.normal(size=(2, 4, 7, 3)), rng.normal(size=(7, 3))
    expected = [[np.mean((p - targets) ** 2) for p in row] for row in predictions]
    found = mean_squared_error(torch.tensor(predictions), torch.tensor(targets))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-14)


def test_several_outputs_are_classified_by_the_largest():
    predictions = torch.tensor([[0.1, 0.9, 0.0], [0.5, 0.4, 0.1], [-3.0, -2.0, -1.0], [2.0, 1.0, 0.0]])
    labels = torch.tensor([1, 1, 2, 0])
    targets = torch.nn.functional.one_hot(labels, 3) - 1 / 3
    assert classification_error(predictions, targets).item() == 0.25
    assert classification_error(predictions, targets, labels).item() == 0.25
    assert classification_error(predictions, targets, torch.tensor([0, 1, 2, 1])).item() == 0.75
    assert classification_error(predictions.expand(5, 4, 3), targets).tolist() == [0.25] * 5


def test_targets_of_one_output_that_are_0_have_no_class():
    with pytest.raises(ValueError, match=r"0 for some samples: their sign is the class, so give -1 and 1"):
        classification_error(torch.tensor([[0.9], [0.1]]), torch.tensor([[1.0], [0.0]]), torch.tensor([1, 0]))


def test_one_output_is_classified_by_its_sign_and_zero_is_no_answer():
    predictions = torch.tensor([[0.3], [-0.2], [5.0], [0.0]])
    targets = torch.tensor([[1.0], [-1.0], [-1.0], [1.0]])
    assert classification_error(predictions, targets).item() == 0.5
    # The size of the targets (target_scale) and the numbering of the labels change nothing.
    assert classification_error(predictions, 7 * targets, torch.tensor([0, 1, 1, 0])).item() == 0.5


def test_nan_predictions_have_nan_errors():
    predictions = torch.zeros(2, 3, 2)
    predictions[1, 0, 1] = torch.nan
    targets = torch.eye(3)[:, :2]
    assert classification_error(predictions, targets).isnan().tolist() == [False, True]
    assert classification_error(predictions[..., 1:], 2 * targets[:, 1:] - 1).isnan().tolist() == [False, True]
    assert mean_squared_error(predictions, targets).isnan().tolist() == [False, True]


def test_no_samples_have_no_error():
    assert mean_squared_error(torch.zeros(2, 0, 3), torch.zeros(0, 3)).isnan().all()
    assert classification_error(torch.zeros(2, 0, 3), torch.zeros(0, 3)).isnan().all()
