import pytest
import torch
from torch.nn import functional as F

from ntk_atlas.training import classification_error, cross_entropy_loss, mean_squared_error, squared_loss

FLOAT = {"dtype": torch.float64}


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


def test_squared_loss_and_mse_by_loops(generator):
    f, y = torch.randn(3, 5, 2, generator=generator, **FLOAT), torch.randn(5, 2, generator=generator, **FLOAT)
    for s in range(3):
        total = sum(float((f[s, i, c] - y[i, c]) ** 2) for i in range(5) for c in range(2))
        assert float(squared_loss(f, y)[s]) == pytest.approx(total / 10, rel=1e-14)
        assert float(mean_squared_error(f, y)[s]) == pytest.approx(total / 10, rel=1e-14)
    own = torch.stack([y, y + 1, y - 1])
    torch.testing.assert_close(squared_loss(f, own)[0], squared_loss(f, y)[0], rtol=1e-14, atol=0)
    assert not torch.allclose(squared_loss(f, own)[1], squared_loss(f, y)[1])


def test_cross_entropy_is_that_of_each_member(generator):
    f = torch.randn(3, 7, 4, generator=generator, **FLOAT)
    shared = torch.randint(0, 4, (7,), generator=generator)
    own = torch.randint(0, 4, (3, 7), generator=generator)
    for s in range(3):
        torch.testing.assert_close(cross_entropy_loss(f, shared)[s], F.cross_entropy(f[s], shared))
        torch.testing.assert_close(cross_entropy_loss(f, own)[s], F.cross_entropy(f[s], own[s]))


def test_error_by_argmax_sign_and_nan():
    classes = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]])
    labels = torch.tensor([0, 1, 0, 0])
    assert classification_error(classes, torch.zeros(4, 2), labels).tolist() == [0.25]
    signs, y = torch.tensor([[[0.3], [-2.0], [1.0], [0.0]]]), torch.tensor([[1.0], [-1.0], [-1.0], [1.0]])
    assert classification_error(signs, y, labels).tolist() == [0.5]
    assert classification_error(signs, y, None).isnan().all()
