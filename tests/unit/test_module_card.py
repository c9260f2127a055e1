"""The card of one trained module: linear models are their kernel, narrow networks are not; what is given is checked."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from ntk_atlas.cards import STANDARD_THRESHOLDS, CardInputError, regime_card
from ntk_atlas.kernels import empirical_ntk
from ntk_atlas.regimes import Regime

N, D = 24, 5


class Layer(nn.Module):
    """A dense layer in NTK parameterization."""

    def __init__(self, n_in, n_out, generator):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in, generator=generator, dtype=torch.float64))
        self.factor = (2.0 / n_in) ** 0.5

    def forward(self, x):
        return self.factor * x @ self.weight.T


class Features(nn.Module):
    """Fixed random features below a trained layer: linear in its parameters."""

    def __init__(self, n_outputs, generator):
        super().__init__()
        self.register_buffer("fixed", torch.randn(D, 60, generator=generator, dtype=torch.float64))
        self.head = nn.Linear(60, n_outputs, dtype=torch.float64)
        with torch.no_grad():
            self.head.weight.normal_(0.0, 0.1, generator=generator)
            self.head.bias.zero_()

    def forward(self, x):
        return self.head(torch.tanh(x @ self.fixed))


def network(width, generator):
    return nn.Sequential(Layer(D, width, generator), nn.Tanh(), Layer(width, 1, generator))


def data(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(N + 80, D, generator=generator, dtype=torch.float64)
    y = torch.sin(2 * x[:, 0]) * x[:, 1] + 0.1 * torch.randn(N + 80, generator=generator, dtype=torch.float64)
    return x[:N], y[:N], x[N:], y[N:]


def trained(module, x, y, *, steps, optimizer=None, loss=None):
    """The module after full-batch steps, and its weights before them."""
    start = deepcopy(module.state_dict())
    top = torch.linalg.eigvalsh(empirical_ntk(module, x))[-1]
    optimizer = optimizer or torch.optim.SGD(module.parameters(), lr=float(len(x) / top), momentum=0.9)
    loss = loss or (lambda f: 0.5 * (f[:, 0] - y).square().mean())
    for _ in range(steps):
        optimizer.zero_grad()
        loss(module(x)).backward()
        optimizer.step()
    return module, start


def test_the_thresholds_are_those_of_the_config():
    shipped = yaml.safe_load((Path(__file__).parents[2] / "config/regimes.yaml").read_text())
    for name in ("distance", "error_ratio"):
        assert getattr(STANDARD_THRESHOLDS, name).value == shipped[name]["value"]


def test_a_model_linear_in_its_parameters_is_its_linearization_after_few_steps_and_its_kernel_after_many():
    x, y, x_test, y_test = data()
    few, start = trained(Features(1, torch.Generator().manual_seed(1)), x, y, steps=20)
    early = regime_card(few, x, y, x_test, y_test, initial_state=start)
    assert early.distance_linearized.high < 1e-6
    assert early.distance_tangent.high < 1e-9
    assert early.kernel_drift < 1e-12
    assert early.regime == Regime.FINITE_TIME
    assert "training ended before regression does" in str(early)
    many, start = trained(Features(1, torch.Generator().manual_seed(1)), x, y, steps=4000)
    late = regime_card(many, x, y, x_test, y_test, initial_state=start)
    assert late.train_error < 1e-3
    assert late.distance_own_ntk.high < STANDARD_THRESHOLDS.distance.value
    assert late.regime == Regime.OWN_NTK_AT_LEAST
    assert late.error_ratio.value == pytest.approx(late.test_error / late.kernel_test_error)
    assert "Regime: own NTK holds" in str(late)


def test_a_wide_network_is_its_kernel_and_a_narrow_one_is_not():
    x, y, x_test, y_test = data()
    cards = []
    for width in (4, 4000):
        module, start = trained(network(width, torch.Generator().manual_seed(2)), x, y, steps=600)
        cards.append(regime_card(module, x, y, x_test, y_test, initial_state=start))
    narrow, wide = cards
    assert narrow.regime.learns
    assert wide.distance_linearized.high < STANDARD_THRESHOLDS.distance.value
    assert wide.distance_linearized.value < 0.2 * narrow.distance_linearized.value
    assert wide.kernel_drift < 0.1 < narrow.kernel_drift
    assert "times the width" in str(narrow)


def test_regression_of_the_card_is_that_of_a_jacobian():
    x, y, x_test, y_test = data()
    module, start = trained(network(6, torch.Generator().manual_seed(3)), x, y, steps=300)
    card = regime_card(module, x, y, x_test, y_test, initial_state=start)
    first = network(6, torch.Generator())
    first.load_state_dict(start)
    weights = dict(first.named_parameters())

    def jacobian(inputs):
        jac = torch.func.jacrev(lambda w: torch.func.functional_call(first, w, (inputs,))[:, 0])(weights)
        return torch.cat([j.flatten(1) for j in jac.values()], 1).detach()

    j, j_test = jacobian(x), jacobian(x_test)
    f0, f0_test = first(x)[:, 0].detach(), first(x_test)[:, 0].detach()
    own = f0_test + j_test @ j.T @ torch.linalg.solve(j @ j.T, y - f0)
    f = module(x_test)[:, 0].detach()
    expected = ((f - own).square().mean() / (own - y_test).square().mean()).sqrt()
    assert card.distance_own_ntk.value == pytest.approx(float(expected), rel=1e-6)
    step = torch.cat([(p.detach() - weights[name].detach()).flatten() for name, p in module.named_parameters()])
    along = f - f0_test - j_test @ step
    assert card.distance_tangent.value == pytest.approx(
        float((along.square().mean() / (f - f0_test).square().mean()).sqrt())
    )


def test_class_labels_are_held_against_the_tangent_whatever_the_optimizer():
    x, y, x_test, y_test = data()
    labels, labels_test = (y > 0).long(), (y_test > 0).long()
    module = Features(2, torch.Generator().manual_seed(4))
    adam = torch.optim.Adam(module.parameters(), 0.05)
    module, start = trained(
        module, x, y, steps=300, optimizer=adam, loss=lambda f: nn.functional.cross_entropy(f, labels)
    )
    card = regime_card(module, x, labels, x_test, labels_test, initial_state=start)
    assert card.distance_tangent.high < 1e-9
    assert card.regime == Regime.FINITE_TIME
    assert card.distance_own_ntk is None
    assert card.test_error == pytest.approx(float((module(x_test).argmax(1) != labels_test).double().mean()))
    assert "misclassified" in str(card)


def test_without_initialization_there_is_the_fit_of_the_final_kernel_and_no_regime():
    x, y, x_test, y_test = data()
    module, _ = trained(network(16, torch.Generator().manual_seed(5)), x, y, steps=50)
    card = regime_card(module, x.numpy(), y.numpy(), x_test.numpy(), y_test.numpy())
    assert card.regime == Regime.UNDECIDED
    assert card.distance_tangent is None
    assert np.isfinite(card.kernel_test_error)
    assert "initialization is unknown" in str(card)


def test_files_of_states_and_names_of_what_was_trained(tmp_path):
    x, y, x_test, y_test = data()
    module = network(16, torch.Generator().manual_seed(6))
    for p in module[0].parameters():
        p.requires_grad_(False)
    module, start = trained(module, x, y, steps=50)
    for p in module.parameters():
        p.requires_grad_(True)
    torch.save({"state_dict": {f"model.{key}": value for key, value in start.items()}}, tmp_path / "start.ckpt")
    card = regime_card(module, x, y, x_test, y_test, initial_state=tmp_path / "start.ckpt", trainable=["2.*"])
    assert card.n_parameters == 16
    assert card.distance_linearized.high < 1e-6  # the last layer alone is linear


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("evil"),))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"initial_state": {}}, "initial_state: lacks '0.weight': it is of another module"),
        ({"initial_state": "absent.pt"}, "there is no file absent.pt"),
        ({"initial_state": 3}, "initial_state: a int is no state_dict: give"),
        ({"trainable": ["head.*"]}, "no parameter is named 'head.*'; there are 0.weight, 2.weight"),
        ({"y_train": np.zeros(3)}, "y_train has 3 targets for 24 samples"),
        ({"y_test": np.full(80, np.nan)}, "y_test is not finite"),
        ({"x_train": np.zeros(24)}, r"x_train has shape \(24,\): give \(n_samples, \*input_shape\)"),
        ({"x_test": np.zeros((80, 3))}, "the module fails on x_test"),
    ],
)
def test_what_is_wrong_is_said(wrong, message):
    x, y, x_test, y_test = data()
    given = {"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test} | wrong
    with pytest.raises(CardInputError, match=message):
        regime_card(network(8, torch.Generator().manual_seed(7)), **given)


def test_states_that_changed_nothing_or_hold_code_or_are_of_another_module_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, y, x_test, y_test = data()
    module = network(8, torch.Generator().manual_seed(8))
    with pytest.raises(CardInputError, match="the module is its initial_state"):
        regime_card(module, x, y, x_test, y_test, initial_state=deepcopy(module.state_dict()))
    torch.save({"weights": Evil()}, "evil.pt")
    with pytest.raises(CardInputError, match="cannot be read as weights alone"):
        regime_card(module, x, y, x_test, y_test, initial_state="evil.pt")
    assert not Path("evil").exists()
    other = network(9, torch.Generator().manual_seed(8)).state_dict()
    with pytest.raises(CardInputError, match=r"'0.weight' of shape \(9, 5\), the module \(8, 5\)"):
        regime_card(module, x, y, x_test, y_test, initial_state=other)
    doubled = torch.cat([x, x]), torch.cat([y, y])
    card = regime_card(module, *doubled, x_test, y_test)
    assert any("nearly singular" in remark for remark in card.remarks)
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()
    with pytest.raises(CardInputError, match="is zero or not finite"):
        regime_card(module, x, y, x_test, y_test)
