"""The study behind `make card`: the task is told from the targets or asked for, sizes fit the data, plans are valid."""

import numpy as np
import pytest

from ntk_atlas.cards import CardRequest, card_dataset, card_experiments, widths_around
from ntk_atlas.datasets import DataError
from ntk_atlas.study import all_seconds, load_study


def table(folder, values, n=200):
    path = folder / "data.csv"
    lines = [f"{i % 7},{(i * 37) % 11},{values[i % len(values)]}" for i in range(n)]
    path.write_text("\n".join(["a,b,price", *lines]) + "\n")
    return str(path)


@pytest.mark.parametrize(
    ("values", "task"),
    [
        ([0.5, 1.25, 7.0], "regression"),
        (list(range(30)), "regression"),
        ([0, 1], "binary"),
        ([-1, 1], "binary"),
        (["cat", "dog"], "binary"),
        (["cat", "dog", "cow"], "classes"),
        ([0, 1, 2], "classes"),
        ([1, 2, 3, 4], "classes"),
    ],
)
def test_the_task_is_told_from_the_targets(tmp_path, values, task):
    found = card_dataset(CardRequest(data=table(tmp_path, values), target="price"))
    assert found["task"] == task
    assert ("positive_classes" in found) == (task == "binary")
    if task == "binary":
        assert found["positive_classes"] == [max(values)]


def test_what_targets_may_be_either_way_is_asked(tmp_path):
    data = table(tmp_path, [3, 5, 9])
    with pytest.raises(DataError, match=r"price has 3 different whole numbers, 3, 5, 9, .* TASK=classes or TASK=regr"):
        card_dataset(CardRequest(data=data, target="price"))
    assert card_dataset(CardRequest(data=data, target="price", task="regression"))["task"] == "regression"


def test_arrays_have_their_targets_by_name(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, X=np.zeros((50, 3)), y=np.linspace(0, 1, 50), Y2=np.zeros((50, 2)))
    assert card_dataset(CardRequest(data=str(path)))["task"] == "regression"
    assert card_dataset(CardRequest(data=str(path), target="Y2"))["y"] == "Y2"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"data": "nothing"}, r"is no file of data .* and no source \(.*digits.*\): give one"),
        ({"data": "absent.csv"}, "there is no such file"),
        ({"data": "digits", "target": "price"}, "digits has one target; leave TARGET out"),
    ],
)
def test_requests_that_name_no_data_are_told(request_, message):
    with pytest.raises(DataError, match=message):
        card_dataset(CardRequest(**request_))


def test_a_column_that_is_not_there_is_named_beside_those_that_are(tmp_path):
    data = table(tmp_path, [0.5, 1.5])
    with pytest.raises(DataError, match="TARGET is missing; give TARGET=, one of a, b, price"):
        card_dataset(CardRequest(data=data))
    with pytest.raises(DataError, match="there is no column 'prise'; give TARGET=, one of a, b, price"):
        card_dataset(CardRequest(data=data, target="prise"))


@pytest.mark.parametrize("request_", [{"data": "digits"}, {"data": "diabetes"}, {"data": "digits", "task": "binary"}])
def test_candidates_are_valid_studies_down_to_a_quick_one(request_):
    request = CardRequest(**request_)
    seconds = []
    for experiment in card_experiments(request, widths_around(request)):
        study = load_study({"experiments": {"card": experiment}})
        seconds.append(sum(all_seconds(study.experiments["card"], study.jobs).values()))
    assert seconds[2:] == sorted(seconds[2:], reverse=True)
    assert min(seconds[:2]) > seconds[3]
    assert seconds[-1] < 90


def test_few_samples_are_told_and_few_more_are_used(tmp_path):
    def largest(n):
        request = CardRequest(data=table(tmp_path, [0.5, 1.5, 2.25], n), target="price")
        return next(iter(card_experiments(request, [8])))["grid"]["n_train"][-1]

    with pytest.raises(DataError, match="has 24 samples, of which 12 are left for training: a card needs 16"):
        largest(24)
    assert largest(40) == 25
    request = CardRequest(data=table(tmp_path, [0.5, 1.5, 2.25], 60), target="price", n_train=50)
    with pytest.raises(DataError, match="a card needs 50; give more data or a smaller N"):
        next(iter(card_experiments(request, [8])))


def test_fine_tuning_starts_from_its_file_at_its_own_width():
    request = CardRequest(
        data="diabetes", network="net.py:build", width=24, initial_state="weights.pt", trainable=("head.*",)
    )
    assert widths_around(request) == [24]
    experiment = next(iter(card_experiments(request, [24])))
    assert experiment["network"] == {
        "factory": "net.py:build", "initial_state": "weights.pt", "trainable": ["head.*"],
    }  # fmt: skip
    assert "infinite_ntk" not in experiment["regression"]["predictors"]
