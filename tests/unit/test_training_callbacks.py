"""The callbacks on a LightningModule that knows nothing of this package."""

import logging

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ntk_atlas.kernels import empirical_ntk
from ntk_atlas.training import EmpiricalNTKCheckpoint, ProgressLog

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


class Classifier(pl.LightningModule):
    """A user's module: batch normalization, dropout, automatic optimization, logged loss."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.net = nn.Sequential(nn.Linear(5, 12), nn.BatchNorm1d(12), nn.GELU(), nn.Dropout(0.2), nn.Linear(12, 3))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.02)


class Snapshots(pl.Callback):
    """An independent record of the whole state at the end of every epoch."""

    def __init__(self):
        self.states = []

    def on_train_start(self, trainer, pl_module):
        self.on_train_epoch_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer, pl_module):
        self.states.append({name: t.clone() for name, t in pl_module.state_dict().items()})


class Observed(pl.Callback):
    """What must not change while the kernel is taken; put before and after it."""

    def __init__(self):
        self.seen = []

    def on_train_start(self, trainer, pl_module):
        self.on_train_epoch_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer, pl_module):
        gradients = [None if p.grad is None else (id(p.grad), p.grad.tolist()) for p in pl_module.parameters()]
        flags = [(m.training) for m in pl_module.modules()], [p.requires_grad for p in pl_module.parameters()]
        buffers = [b.tolist() for b in pl_module.buffers()]
        rng = torch.random.get_rng_state().tolist()
        self.seen.append((gradients, flags, buffers, rng, torch.is_grad_enabled()))


class Regression(pl.LightningModule):
    """Two layers, one bias of which is frozen, and the squared loss."""

    def __init__(self, rate=0.05):
        super().__init__()
        torch.manual_seed(4)
        self.rate, self.net = rate, nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1))
        self.net[0].bias.requires_grad_(False)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return (self(batch[0]) - batch[1]).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=self.rate)


def trainer(**options):
    return pl.Trainer(
        accelerator="cpu", plugins=None if "precision" in options else [LightningEnvironment()], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip


def loader_of(x):
    return DataLoader(TensorDataset(x, x[:, :1]), 3)


class StopAfter(pl.Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = trainer.current_epoch + 1 == 3


def fit(callbacks, max_epochs=5, module=None):
    module = module or Classifier()
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(9))
    loader = DataLoader(TensorDataset(x, (x[:, 0] > 0).long() + (x[:, 1] > 1).long()), 16, shuffle=True)
    torch.manual_seed(21)
    pl.Trainer(
        accelerator="cpu",
        max_epochs=max_epochs,
        callbacks=callbacks,
        plugins=[LightningEnvironment()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, loader)
    return module


@pytest.fixture
def probe():
    return torch.randn(6, 5, generator=torch.Generator().manual_seed(10))


def test_kernels_are_those_of_the_weights_at_these_epochs(probe):
    snapshots = Snapshots()
    ntk = EmpiricalNTKCheckpoint(probe, epochs=[0, 2, 5], keep_weights=True)
    fit([ntk, snapshots])
    assert ntk.epochs == [0, 2, 5] and ntk.kernels.shape == (3, 6, 6)
    reference = Classifier()
    for index, epoch in enumerate(ntk.epochs):
        reference.load_state_dict(snapshots.states[epoch])
        expected = empirical_ntk(reference.eval(), probe).detach()
        np.testing.assert_allclose(ntk.kernels[index], expected, rtol=1e-6)
        flat = nn.utils.parameters_to_vector(reference.parameters()).detach()
        np.testing.assert_array_equal(ntk.weights[index], flat)
    assert not np.allclose(ntk.kernels[0], ntk.kernels[-1], rtol=1e-2)


def test_it_only_looks(probe):
    before, after = Observed(), Observed()
    watched = fit([before, EmpiricalNTKCheckpoint(probe), after])
    assert len(before.seen) == 6 and before.seen == after.seen
    assert before.seen[-1][0][0] is not None
    alone = fit([])
    for name, tensor in alone.state_dict().items():
        assert torch.equal(tensor, watched.state_dict()[name]), name


def test_every_epoch_other_reductions_and_a_part_of_the_module(probe):
    ntk = EmpiricalNTKCheckpoint(probe, output_reduction="full", network=lambda module: module.net)
    module = fit([ntk], max_epochs=2)
    assert ntk.epochs == [0, 1, 2] and ntk.kernels.shape == (3, 6, 6, 3, 3)
    expected = empirical_ntk(module.net, probe, output_reduction="full").detach()
    np.testing.assert_allclose(ntk.kernels[-1], expected, rtol=1e-6)


def test_an_early_end_is_recorded_and_a_new_fit_starts_over(probe):
    ntk = EmpiricalNTKCheckpoint(probe, epochs=[0, 2, 5])
    fit([ntk, StopAfter()])
    assert ntk.epochs == [0, 2, 3] and len(ntk.kernels) == 3
    fit([ntk])
    assert ntk.epochs == [0, 2, 5] and len(ntk.kernels) == 3


def test_file_holds_the_results_and_no_leftovers(probe, tmp_path):
    ntk = EmpiricalNTKCheckpoint(probe, epochs=[0, 1], keep_weights=True, path=tmp_path / "new" / "ntk.npz")
    fit([ntk], max_epochs=1)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["ntk.npz"]
    with np.load(tmp_path / "new" / "ntk.npz") as saved:
        assert saved["epochs"].tolist() == [0, 1]
        np.testing.assert_array_equal(saved["kernels"], ntk.kernels)
        np.testing.assert_array_equal(saved["weights"], ntk.weights)


def test_progress_lines(caplog):
    with caplog.at_level(logging.INFO, logger="ntk_atlas"):
        fit([ProgressLog(every=0.0), ProgressLog(every=1e6)], max_epochs=3)
        fit([ProgressLog(every=0.0, describe=lambda module: type(module).__name__)], max_epochs=1)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("ntk_atlas")]
    assert [line.split(":")[0] for line in lines] == [f"epoch {e} of 3" for e in (1, 2, 3)] + ["epoch 1 of 1"]
    assert "train_loss" in lines[0] and "at most" in lines[0] and "Classifier" in lines[3]


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
def test_kernels_and_weights_in_a_precision_that_numpy_has(probe, precision):
    dtype = {"bf16-true": torch.bfloat16, "16-true": torch.float16, "64-true": torch.float64}[precision]
    module, given = Regression(), torch.randn(20, 5, generator=torch.Generator().manual_seed(9))
    ntk = EmpiricalNTKCheckpoint(probe.numpy(), epochs=[0, 1], keep_weights=True)
    loader = DataLoader(TensorDataset(given.to(dtype), given[:, :1].to(dtype)), 10)
    trainer(precision=precision, max_epochs=1, callbacks=[ntk]).fit(module, loader)
    kept = np.float64 if dtype is torch.float64 else np.float32
    assert ntk.kernels.dtype == ntk.weights.dtype == kept
    module = module.to(dtype)
    expected = empirical_ntk(module, probe.to(dtype)).detach()
    np.testing.assert_allclose(ntk.kernels[-1], expected, rtol=1e-5)
    np.testing.assert_array_equal(
        ntk.weights[-1], nn.utils.parameters_to_vector(module.parameters()).detach().to(expected.dtype)
    )


def test_epochs_in_log_follow_the_trainer(probe):
    ntk = EmpiricalNTKCheckpoint(probe, epochs="log")
    fit([ntk], max_epochs=4)
    assert ntk.epochs == [0, 1, 2, 3, 4]
    every = EmpiricalNTKCheckpoint(probe, epochs="every")
    fit([every], max_epochs=2)
    assert every.epochs == [0, 1, 2]
    with pytest.raises(ValueError, match="'log' needs the last epoch: give the Trainer `max_epochs`"):
        trainer(max_epochs=-1, callbacks=[EmpiricalNTKCheckpoint(probe, epochs="log")]).fit(
            Regression(), loader_of(probe)
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": "often"}, "epochs is 'often': give whole numbers from 0 on"),
        ({"epochs": 5}, "epochs is 5: give whole numbers"),
        ({"epochs": [0, 1.5]}, r"epochs is \[0, 1.5\]"),
        ({"epochs": [-1, 2]}, r"epochs is \[-1, 2\]"),
        ({"epochs": [True]}, r"epochs is \[True\]"),
        ({"epochs": []}, r"epochs is \[\]"),
        ({"x": None}, "x is a NoneType: give a torch tensor or a NumPy array"),
        ({"output_reduction": "sum"}, "choose one of full, trace, mean, logit_sum"),
        ({"network": nn.Linear(5, 1)}, "network is a Linear: give a function of the LightningModule"),
        ({"network": "net"}, "network is a str: give a function"),
        ({"path": "."}, "path is the folder .: give a file to write, as kernels.npz"),
    ],
)
def test_bad_arguments_are_named_when_they_are_given(probe, arguments, message):
    with pytest.raises(ValueError, match=message):
        EmpiricalNTKCheckpoint(**({"x": probe} | arguments))


def test_a_network_that_diverged_is_recorded_and_said(probe, caplog):
    ntk = EmpiricalNTKCheckpoint(probe, epochs=[0, 2])
    trainer(max_epochs=2, callbacks=[ntk]).fit(Regression(rate=1e30), loader_of(probe))
    assert ntk.epochs == [0, 2] and np.isfinite(ntk.kernels[0]).all() and not np.isfinite(ntk.kernels[1]).all()
    assert "epoch 2: the empirical NTK is not finite" in caplog.text


def test_probe_samples_are_those_of_the_beginning(probe):
    ntk = EmpiricalNTKCheckpoint(probe, epochs=[0])
    expected = empirical_ntk(Regression(), probe).detach()
    probe.zero_()
    trainer(max_epochs=1, callbacks=[ntk]).fit(Regression(), loader_of(torch.ones(4, 5)))
    np.testing.assert_allclose(ntk.kernels[0], expected, rtol=1e-5)


def test_several_callbacks_go_together_and_go_on_from_their_own_records(probe, tmp_path):
    def callbacks():
        return {
            "probe": EmpiricalNTKCheckpoint(probe),
            "trace": EmpiricalNTKCheckpoint(probe, output_reduction="trace"),
            "other samples": EmpiricalNTKCheckpoint(probe.flip(1)),
            "part": EmpiricalNTKCheckpoint(probe, network=lambda module: module.net),
        }

    loader, file = loader_of(torch.ones(4, 5)), tmp_path / "state.ckpt"
    first, model = callbacks(), Regression()
    training = trainer(max_epochs=2, callbacks=list(first.values()))
    training.fit(model, loader)
    training.save_checkpoint(file)
    later = callbacks() | {"new": EmpiricalNTKCheckpoint(2 * probe)}
    trainer(max_epochs=3, callbacks=list(later.values())).fit(Regression(), loader, ckpt_path=file)
    for name, callback in later.items():
        assert callback.epochs == ([2, 3] if name == "new" else [0, 1, 2, 3]), name
        if name in first:
            np.testing.assert_array_equal(callback.kernels[:3], first[name].kernels)
    np.testing.assert_allclose(later["trace"].kernels, later["probe"].kernels * model(probe).shape[1], rtol=1e-6)


def test_seconds_between_lines_are_a_number():
    with pytest.raises(ValueError, match="every is '30': give one number"):
        ProgressLog(every="30")
