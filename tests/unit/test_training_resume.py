"""A training killed at any epoch goes on to the numbers of one that was not, to the last bit."""

import errno
import logging
import math
import struct
import warnings
from functools import cache
from zipfile import ZipFile

import pytest
import pytorch_lightning as pl
import torch
from test_training_unit import assert_same, build, train, training

from ntk_atlas.training import Resume, TrainingState, TrainingTimedOutError

VARIANTS = {
    "full batch": {"optimizer": "momentum"},
    "minibatch": {"optimizer": "momentum", "batch_size": 4, "initial_output": "subtract"},
    "adam": {"optimizer": "adam", "batch_size": 5, "loss": "cross_entropy", "rate": {"absolute": 0.01}},
    "several learning rates": {"optimizer": "sgd", "rate": {"relative": (0.3, 0.9, 40.0)}},
    "stopping loss": {"optimizer": "momentum", "stop_loss": 0.15},
    "stopping loss, minibatch": {"batch_size": 4, "stop_loss": 0.15},
    "best validation": {"optimizer": "momentum", "selection": "best_validation", "initial_output": "subtract"},
    "diverging": {"optimizer": "sgd", "rate": {"absolute": 0.9}, "divergence_factor": 10.0},
    "float32": {"optimizer": "momentum", "dtype": "float32", "batch_size": 4},
}


class KilledError(Exception):
    """Stands for `kill -9`: what follows the end of this epoch never happens."""


def until(epoch, monkeypatch, *arguments, **keywords):
    """Trains and dies at the end of an epoch, after everything that an epoch does; returns whether it got there."""
    write = TrainingState.on_train_epoch_end

    def dying(self, trainer, pl_module):
        write(self, trainer, pl_module)
        if trainer.current_epoch + 1 == epoch:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "on_train_epoch_end", dying)
        try:
            train(*arguments, **keywords)
        except KilledError:
            return True
    return False


def settings(variant, n_epochs=40, **more):
    chosen = {"checkpoints": {"epochs": "every", "weights": "scheduled"}} | variant | more
    dtype = chosen.pop("dtype", "float64")
    return training(n_epochs, **chosen).model_copy(update={"dtype": dtype})


def network():
    return build(activation="relu")


@cache
def undisturbed():
    """What the plain training comes to when nothing happens to it."""
    return train(network(), settings({}))


@pytest.mark.parametrize("name", VARIANTS)
def test_a_killed_training_ends_with_the_same_numbers(name, tmp_path, monkeypatch):
    chosen, resume = settings(VARIANTS[name], 14), Resume(tmp_path / "unit" / "state.ckpt", every=0, share=math.inf)
    expected = train(network(), chosen)
    killed = until(8, monkeypatch, network(), chosen, resume=resume)
    assert killed or expected.stop_epoch.max() <= 8
    assert killed == resume.path.is_file()
    again = train(network(), chosen, resume=resume)
    assert_same(expected, again, exact=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["minibatch", "best validation"])
def test_killed_at_epoch_900_of_1000(name, tmp_path, monkeypatch, caplog):
    sparse = {"checkpoints": {"epochs": (0, 3, 899, 900, 901), "weights": "ends"}}
    variant = {key: value for key, value in VARIANTS[name].items() if key != "stop_loss"}
    chosen, resume = settings(variant, 1000, **sparse), Resume(tmp_path / "state.ckpt", every=0, share=math.inf)
    expected = train(network(), chosen)
    assert until(900, monkeypatch, network(), chosen, resume=resume)
    with caplog.at_level(logging.INFO):
        again = train(network(), chosen, resume=resume)
    assert expected.stop_epoch.max() < 900 or "going on from epoch 900" in caplog.text
    assert_same(expected, again, exact=True)


def test_killed_over_and_over(tmp_path, monkeypatch):
    chosen, resume = settings(VARIANTS["minibatch"]), Resume(tmp_path / "state.ckpt", every=0, share=math.inf)
    for epoch in (1, 6, 7, 39):
        assert until(epoch, monkeypatch, network(), chosen, resume=resume)
    assert_same(train(network(), chosen), train(network(), chosen, resume=resume), exact=True)


def test_a_short_training_writes_nothing(tmp_path):
    resume = Resume(tmp_path / "unit" / "state.ckpt", every=60.0)
    train(network(), settings({}), resume=resume)
    assert list(tmp_path.iterdir()) == []


def test_going_on_is_quiet_but_for_one_line(tmp_path, monkeypatch, caplog):
    resume = Resume(tmp_path / "state.ckpt", every=0, share=math.inf)
    until(10, monkeypatch, network(), settings({}), resume=resume)
    with caplog.at_level(logging.INFO), warnings.catch_warnings():
        warnings.simplefilter("error")
        train(network(), settings({}), resume=resume)
    assert [r.message for r in caplog.records if "epoch 10" in r.message] and not [
        r for r in caplog.records if "lightning" in r.name
    ]


@pytest.mark.parametrize("damage", ["truncated", "text", "foreign", "empty"])
def test_a_damaged_state_is_named_and_the_training_starts_anew(damage, tmp_path, monkeypatch, caplog):
    resume = Resume(tmp_path / "state.ckpt", every=0, share=math.inf)
    until(10, monkeypatch, network(), settings({}), resume=resume)
    content = resume.path.read_bytes()
    if damage == "foreign":
        torch.save({"epoch": 3, "weights": torch.zeros(2)}, resume.path)
    else:
        resume.path.write_bytes({"truncated": content[: len(content) // 2], "text": b"hello", "empty": b""}[damage])
    trained = train(network(), settings({}), resume=Resume(resume.path, every=60))
    assert f"{resume.path} is damaged" in caplog.text and not resume.path.exists()
    assert_same(trained, undisturbed(), exact=True)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_state_with_a_flipped_bit_is_not_taken_up(share, tmp_path, monkeypatch, caplog):
    resume = Resume(tmp_path / "state.ckpt", every=0, share=math.inf)
    until(10, monkeypatch, network(), settings({}), resume=resume)
    content = bytearray(resume.path.read_bytes())
    with ZipFile(resume.path) as archive:
        tensors = [entry for entry in archive.infolist() if "/data/" in entry.filename and entry.file_size > 100]
    entry = tensors[int(share * len(tensors))]
    lengths = struct.unpack_from("<HH", content, entry.header_offset + 26)
    content[entry.header_offset + 30 + sum(lengths) + entry.file_size // 2] ^= 16
    resume.path.write_bytes(content)
    trained = train(network(), settings({}), resume=Resume(resume.path, every=60))
    assert f"{resume.path} is damaged" in caplog.text
    assert_same(trained, undisturbed(), exact=True)


def test_the_state_of_another_training_is_not_taken_up(tmp_path, monkeypatch, caplog):
    mine, other = (Resume(tmp_path / "state.ckpt", every=0, share=math.inf, owner=name) for name in ("mine", "other"))
    until(10, monkeypatch, network(), settings({}), resume=other)
    trained = train(network(), settings({}), resume=mine)
    assert f"{mine.path} is damaged (it is of other)" in caplog.text
    assert_same(trained, undisturbed(), exact=True)


def test_a_state_that_cannot_be_read_now_is_kept(tmp_path, monkeypatch):
    resume = Resume(tmp_path / "state.ckpt", every=0, share=math.inf)
    until(10, monkeypatch, network(), settings({}), resume=resume)

    def fails(*_, **__):
        raise OSError(errno.EIO, "the disk does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", fails)
        with pytest.raises(OSError, match="does not answer"):
            train(network(), settings({}), resume=resume)
    assert resume.path.is_file()


def test_a_training_that_takes_too_long_keeps_its_state_and_goes_on_with_more_time(tmp_path, monkeypatch):
    resume, endless = Resume(tmp_path / "state.ckpt", every=60), 5_000_000
    few = {"epochs": (0, 2), "weights": "ends"}
    limited = settings({}, endless, checkpoints=few, max_seconds=0.3)
    with pytest.raises(TrainingTimedOutError, match=r"of 0\.3 s allowed"):
        train(network(), limited, resume=resume)
    assert resume.path.is_file()
    epochs = []
    monkeypatch.setattr(TrainingState, "on_train_epoch_end", lambda *_: epochs.append(1))
    with pytest.raises(TrainingTimedOutError, match="stopped at epoch"):
        train(network(), limited, resume=resume)
    assert not epochs


def test_with_more_time_it_ends_as_if_it_had_had_it_from_the_start(tmp_path):
    resume = Resume(tmp_path / "state.ckpt", every=60)
    with pytest.raises(TrainingTimedOutError):
        train(network(), settings({}, max_seconds=1e-9), resume=resume)
    again = train(network(), settings({}, max_seconds=600.0), resume=resume)
    assert_same(undisturbed(), again, exact=True)


def test_a_full_disk_leaves_the_last_state(tmp_path, monkeypatch):
    resume = Resume(tmp_path / "state.ckpt", every=0, share=math.inf)
    until(10, monkeypatch, network(), settings({}), resume=resume)
    good = resume.path.read_bytes()

    def full(self, path, **_):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(pl.Trainer, "save_checkpoint", full)
        with pytest.raises(OSError, match="No space left"):
            train(network(), settings({}), resume=resume)
    assert resume.path.read_bytes() == good and [f.name for f in tmp_path.iterdir()] == ["state.ckpt"]
