"""Disjoint draws: no sample is in two, more draws leave samples where they are, and what does not fit is said."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ntk_atlas.config import ExperimentSettings, StudySettings, section_of
from ntk_atlas.datasets import (
    DataError,
    Dataset,
    DatasetSize,
    dataset_digest,
    inspect_dataset,
    load_dataset,
    make_draw,
    save_dataset,
    shared_samples,
    split_indices,
)
from ntk_atlas.datasets.read import draw_shares, shares
from ntk_atlas.jobs import job_slice
from ntk_atlas.jobs.parts import draws_in_words
from ntk_atlas.study import consistency_problems

Cifar10Settings = section_of("cifar10")
DigitsSettings = section_of("digits")
FileSettings = section_of("file")
TeacherSettings = section_of("teacher")

quick = hypothesis_settings(max_examples=60, deadline=None, derandomize=True)
sizes = st.integers(1, 12)


def numbered(n_samples, split=None, n_shares=0):
    """A regression data set whose samples are their own numbers."""
    x = np.arange(n_samples, dtype=float)[:, None]
    return Dataset("numbered", x, x.copy(), None, split, "standardized", shares=n_shares)


def settings(n_validation, n_test, **keys):
    return TeacherSettings(n_validation=n_validation, n_test=n_test, **keys)


def size_of(n_samples, chosen):
    return DatasetSize(n_samples, n_samples - chosen.n_validation - chosen.n_test, (1,), 1, "regression", chosen.n_test)


def experiment(*, draws, n_train=(64,), dataset=None, **keys):
    return ExperimentSettings.model_validate(
        {
            "dataset": dataset or {"source": "digits", "task": "binary", "n_validation": 64, "n_test": 128, **keys},
            "grid": {"depth": [1], "width": [4], "init_scale": [2.0], "n_train": n_train, "draws": draws, "seeds": 1},
        }
    )


@quick
@given(n_validation=sizes, n_test=sizes, n_train=sizes, draws=st.integers(2, 20), n_samples=st.integers(50, 400))
def test_no_sample_is_in_two_draws_or_the_draws_do_not_fit(n_validation, n_test, n_train, draws, n_samples):
    chosen, block = settings(n_validation, n_test, draw_samples="disjoint"), n_validation + n_test + n_train
    size = size_of(n_samples, chosen)
    if draws * block > n_samples:
        with pytest.raises(
            DataError, match=rf"{draws} disjoint draws of {block} .* {n_samples} .*: {n_samples // block} w"
        ):
            shares(size, chosen, draws=draws, n_train=n_train)
        chosen = chosen.model_copy(update={"draw_samples": "auto"})
        assert shares(size, chosen, draws=draws, n_train=n_train) == 0
        return
    count = shares(size, chosen, draws=draws, n_train=n_train)
    powers = [power for power in (32, 16, 8, 4, 2) if power >= draws and power * block <= n_samples]
    assert count == next((power for power in powers if power < 2 * max(draws, 5)), draws)
    found = [split_indices(numbered(n_samples, n_shares=count), chosen, draw) for draw in range(draws)]
    together = np.concatenate([np.concatenate([part.test, part.validation, part.pool]) for part in found])
    assert len(np.unique(together)) == len(together)
    assert 0 <= together.min()
    assert together.max() < n_samples
    for part in found:
        assert (len(part.test), len(part.validation)) == (n_test, n_validation)
        assert len(part.pool) >= n_train, "the pool has the largest training set"


def test_there_are_eight_shares_where_there_is_room():
    found = [shares(size_of(800, settings(5, 5)), settings(5, 5), draws=d, n_train=40) for d in (2, 3, 4, 8, 9, 16, 17)]
    assert found == [8, 8, 8, 8, 16, 16, 0], "fifty samples a draw fit into sixteen shares"
    found = [shares(size_of(800, settings(5, 5)), settings(5, 5), draws=d, n_train=120) for d in (2, 3, 4, 5, 6, 7)]
    assert found == [4, 4, 4, 5, 6, 0], "130 a draw"


@quick
@given(
    n_validation=sizes, n_test=sizes, draw=st.integers(0, 7), seed=st.integers(0, 9), n_samples=st.integers(600, 800)
)
def test_a_draw_keeps_its_samples_when_draws_are_added(n_validation, n_test, draw, seed, n_samples):
    chosen = settings(n_validation, n_test, seed=seed)
    few, many = (split_indices(numbered(n_samples, n_shares=count), chosen, draw) for count in (8, 16))
    np.testing.assert_array_equal(few.test, many.test)
    np.testing.assert_array_equal(few.validation, many.validation)
    np.testing.assert_array_equal(few.pool[: len(many.pool)], many.pool)
    assert len(few.pool) > len(many.pool)


def test_shares_begin_at_bit_reversed_places_of_one_permutation():
    found = [split_indices(numbered(64, n_shares=8), settings(1, 1), draw) for draw in range(8)]
    order = np.concatenate(
        [[*part.test, *part.validation, *part.pool] for part in np.array(found)[[0, 4, 2, 6, 1, 5, 3, 7]]]
    )
    assert sorted(order) == list(range(64))
    assert order.tolist() != list(range(64))
    one = split_indices(numbered(64, n_shares=1), settings(1, 1), 0)
    np.testing.assert_array_equal(np.concatenate([one.test, one.validation, one.pool]), order)


@quick
@given(n_test=sizes, n_validation=sizes, count=st.integers(2, 9), held_out=st.integers(110, 200))
def test_official_training_and_test_sets_are_divided_each(n_test, n_validation, count, held_out):
    split = np.random.default_rng(held_out).permutation(np.repeat([0, 2], [300, held_out])).astype(np.int8)
    chosen = settings(n_validation, n_test)
    found = [split_indices(numbered(len(split), split, count), chosen, draw) for draw in range(count)]
    assert all((split[part.test] == 2).all() for part in found)
    assert all((split[np.concatenate([part.validation, part.pool])] == 0).all() for part in found)
    together = np.concatenate([np.concatenate([part.test, part.validation, part.pool]) for part in found])
    assert len(np.unique(together)) == len(together)


def test_a_fixed_split_divides_the_training_samples_alone():
    split = np.repeat([0, 1, 2], [60, 10, 20]).astype(np.int8)
    fixed, whole = numbered(90, split, 4), numbered(90, split)
    found = [split_indices(fixed, settings(1, 1), draw) for draw in range(4)]
    pools = np.concatenate([part.pool for part in found])
    assert sorted(pools) == list(range(60))
    for part in found:
        np.testing.assert_array_equal(part.test, found[0].test)
        np.testing.assert_array_equal(part.test, split_indices(whole, settings(1, 1), 0).test)
        np.testing.assert_array_equal(np.sort(part.validation), np.arange(60, 70))
    assert shared_samples(fixed, settings(1, 1), draws=4, n_train=[6])[0] == 1.0
    size = DatasetSize(90, 60, (1,), 1, "regression", 20, "fixed")
    assert shares(size, settings(1, 1), draws=4, n_train=15) == 4
    assert shares(size, settings(1, 1), draws=4, n_train=16) == 0
    with pytest.raises(DataError, match=r"16 training samples each do not fit into the 60 .* 3 would"):
        shares(size, settings(1, 1, draw_samples="disjoint"), draws=4, n_train=16)


def test_the_samples_of_other_draws_do_not_matter():
    """Neither to normalization nor to real targets, which go by the draw's own pool."""
    chosen = settings(5, 5, normalization="standardize")
    before = numbered(200, n_shares=4)
    own = split_indices(before, chosen, 1)
    others = np.setdiff1d(np.arange(200), np.concatenate([own.pool, own.validation, own.test]))
    x, y = before.x.copy(), before.y.copy()
    x[others], y[others] = -1e6, 7.0
    first, second = (make_draw(data, chosen, 1) for data in (before, replace(before, x=x, y=y)))
    np.testing.assert_array_equal(first.x_test, second.x_test)
    np.testing.assert_array_equal(first.y_test, second.y_test)
    np.testing.assert_allclose(first.x_pool.mean(), 0.0, atol=1e-12)


@quick
@given(count=st.integers(1, 40), draw=st.integers(0, 60))
def test_there_are_as_many_draws_as_shares(count, draw):
    assume(draw >= count)
    with pytest.raises(DataError, match=f"no draw {draw} of samples cut into {count} shares"):
        split_indices(numbered(400, n_shares=count), settings(1, 1), draw)


def test_a_single_draw_and_overlapping_draws_are_permutations():
    size = size_of(1000, settings(5, 5))
    assert shares(size, settings(5, 5, draw_samples="disjoint"), draws=1, n_train=10) == 0
    assert shares(size, settings(5, 5, draw_samples="overlapping"), draws=4, n_train=10) == 0


def test_what_two_draws_share_is_what_is_counted():
    chosen, dataset = settings(20, 60), numbered(200)
    test, train = shared_samples(dataset, chosen, draws=4, n_train=[30, 90])
    draws = [split_indices(dataset, chosen, draw) for draw in range(150)]

    def counted(part) -> float:
        """Mean over pairs of what the second has of the first, as a share."""
        there = np.zeros((len(draws), 200))
        for row, draw in zip(there, draws, strict=True):
            row[part(draw)] = 1
        pairs = there @ there.T
        return (pairs.sum() - np.trace(pairs)) / (len(draws) - 1) / there.sum()

    assert test == pytest.approx(counted(lambda d: d.test), rel=0.02)
    assert train == pytest.approx([counted(lambda d, n=n: d.pool[:n]) for n in (30, 90)], rel=0.03)
    test, train = shared_samples(numbered(200, n_shares=4), chosen, draws=4, n_train=[30, 90])
    assert (test, train.tolist()) == (0.0, [0.0, 0.0])
    test, train = shared_samples(dataset, chosen, draws=1, n_train=[30])
    assert np.isnan([test, *train]).all()


def test_official_sets_are_shared_by_their_own_sizes():
    split = np.repeat([0, 2], [100, 40]).astype(np.int8)
    test, train = shared_samples(numbered(140, split), settings(10, 8), draws=3, n_train=[25])
    assert (test, train.tolist()) == (0.2, [0.25])


def test_other_shares_are_other_data_and_are_stored(tmp_path):
    digests = {dataset_digest(numbered(20, n_shares=count)) for count in (0, 2, 4)}
    assert len(digests) == 3
    save_dataset(numbered(20, n_shares=4), tmp_path / "dataset.nc")
    assert load_dataset(tmp_path / "dataset.nc").shares == 4


def test_the_plan_says_which_draws_there_are():
    assert draws_in_words(experiment(draws=1)) == "1 draw"
    assert draws_in_words(experiment(draws=4)) == "4 disjoint draws"
    assert draws_in_words(experiment(draws=4, draw_samples="overlapping")) == "4 overlapping draws"
    assert draws_in_words(experiment(draws=9)) == "9 overlapping draws (there are samples for 7 disjoint)"
    teacher = {"source": "teacher", "n_samples": 600, "n_validation": 64, "n_test": 256}
    said = draws_in_words(experiment(draws=10, n_train=(24,), dataset=teacher))
    assert said == "10 overlapping draws (dataset.n_samples: 5504 would make them disjoint)"
    assert draw_shares(experiment(draws=10, n_train=(24,), dataset=teacher | {"n_samples": 5504})) == 16


def test_disjoint_draws_that_do_not_fit_are_one_problem_of_the_config():
    study = {"experiments": {"one": experiment(draws=9, draw_samples="disjoint").model_dump(mode="json")}}
    (problem,) = consistency_problems(StudySettings.model_validate(study))
    assert problem.key == ("experiments", "one", "dataset", "draw_samples")
    assert "9 disjoint draws of 256 samples each do not fit into the 1,797" in problem.message
    assert ": 7 would;" in problem.message


def test_kernels_that_are_compared_on_more_samples_need_them():
    asked = experiment(draws=4)
    more = asked.model_copy(update={"kernel_variants": asked_variants(300)})
    assert job_slice("prepare_dataset", asked).found["shares"] == 4
    assert job_slice("prepare_dataset", more).found["shares"] == 0


def asked_variants(n_samples):
    chosen = {"depth": [1], "width": [4, 8], "n_samples": n_samples}
    return ExperimentSettings.model_validate(
        experiment(draws=4).model_dump() | {"kernel_variants": chosen}
    ).kernel_variants


def test_sizes_say_how_samples_are_split(tmp_path):
    assert inspect_dataset(DigitsSettings()).split == "drawn"
    assert inspect_dataset(Cifar10Settings()).split == "official"
    np.savez(tmp_path / "mine.npz", X=np.eye(6), y=np.arange(6) % 2, part=[0, 0, 0, 1, 2, 2])
    assert inspect_dataset(FileSettings(path=str(tmp_path / "mine.npz"), split="part")).split == "fixed"
    cifar = inspect_dataset(Cifar10Settings(n_validation=256, n_test=1024))
    assert shares(cifar, Cifar10Settings(n_validation=256, n_test=1024), draws=5, n_train=2048) == 8
    assert shares(cifar, Cifar10Settings(n_validation=256, n_test=1024), draws=9, n_train=2048) == 9
    assert shares(cifar, Cifar10Settings(n_validation=256, n_test=1024), draws=10, n_train=2048) == 0
