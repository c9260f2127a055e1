"""Draws: disjoint, nested, reproducible; normalization with the training pool's statistics only."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ntk_atlas.config import section_of
from ntk_atlas.datasets import (
    DataError,
    Dataset,
    check_draws,
    fit_normalizer,
    make_draw,
    notices,
    read_dataset,
    split_indices,
)

DiabetesSettings = section_of("diabetes")
DigitsSettings = section_of("digits")
FileSettings = section_of("file")
TeacherSettings = section_of("teacher")

quick = hypothesis_settings(max_examples=40, deadline=None, derandomize=True)
ARRAYS = ("x_pool", "y_pool", "x_validation", "y_validation", "x_test", "y_test")


@pytest.fixture(scope="module")
def digits():
    return read_dataset(DigitsSettings())


def numbered(n_samples, split=None):
    """A regression data set whose samples are their own numbers."""
    x = np.arange(n_samples, dtype=float)[:, None]
    return Dataset("numbered", x, x.copy(), None, split, "standardized")


def drawn(n_validation, n_test, **keys):
    return TeacherSettings(n_validation=n_validation, n_test=n_test, **keys)


@quick
@given(
    n_validation=st.integers(1, 30),
    n_test=st.integers(1, 30),
    n_pool=st.integers(1, 60),
    draw=st.integers(0, 10**6),
)
def test_splits_are_disjoint_and_complete(n_validation, n_test, n_pool, draw):
    n_samples = n_validation + n_test + n_pool
    indices = split_indices(numbered(n_samples), drawn(n_validation, n_test), draw)
    assert (len(indices.pool), len(indices.validation), len(indices.test)) == (n_pool, n_validation, n_test)
    together = np.concatenate([indices.pool, indices.validation, indices.test])
    np.testing.assert_array_equal(np.sort(together), np.arange(n_samples))


@quick
@given(split=arrays(np.int8, st.integers(3, 60), elements=st.integers(0, 2)), draw=st.integers(0, 99))
def test_own_split_fixes_all_but_the_order_of_the_pool(split, draw):
    split[:3] = 0, 1, 2
    dataset = numbered(len(split), split)
    indices, other = (split_indices(dataset, drawn(1, 1), d) for d in (draw, draw + 1))
    for value, part in enumerate((indices.pool, indices.validation, indices.test)):
        np.testing.assert_array_equal(np.sort(part), np.flatnonzero(split == value))
    np.testing.assert_array_equal(indices.validation, other.validation)
    np.testing.assert_array_equal(indices.test, other.test)


def test_own_split_draws_permute_the_pool():
    dataset = numbered(60, np.repeat([0, 1, 2], 20))
    first, second = (split_indices(dataset, drawn(1, 1), d).pool for d in (0, 1))
    assert not np.array_equal(first, second)


def test_test_set_of_a_sorted_file_is_not_in_file_order():
    split = np.repeat([0, 1, 2], 50)
    dataset = replace(numbered(150, split), labels=np.tile(np.repeat([0, 1], 25), 3))
    draw = make_draw(dataset, FileSettings(path="sorted.npz", normalization="none"), 0)
    assert set(draw.labels_test[:20]) == {0, 1}


def test_training_sets_are_nested(digits):
    draw = make_draw(digits, DigitsSettings(), 0)
    x_large, y_large = draw.training_set(500)
    for n in (1, 7, 499):
        x, y = draw.training_set(n)
        np.testing.assert_array_equal(x, x_large[:n])
        np.testing.assert_array_equal(y, y_large[:n])
    assert len(draw.training_set(len(draw.x_pool))[0]) == 1797 - 256 - 512


@pytest.mark.parametrize("n_train", [0, 1030])
def test_training_set_beyond_the_pool_is_refused(digits, n_train):
    with pytest.raises(DataError, match=rf"grid.n_train: {n_train} .* pool of 1029: choose 1 to 1029"):
        make_draw(digits, DigitsSettings(), 0).training_set(n_train)


def test_a_draw_is_reproducible_and_independent_of_others(digits):
    settings = DigitsSettings()
    alone = make_draw(digits, settings, 3)
    for index in range(3):
        make_draw(digits, settings, index)
    np.random.default_rng(0).random()
    again = make_draw(digits, settings, 3)
    for name in (*ARRAYS, "labels_pool", "labels_validation", "labels_test"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(again, name))


def test_draws_and_seeds_differ():
    dataset = numbered(200)
    orders = [tuple(split_indices(dataset, drawn(50, 50, seed=seed), draw).pool) for seed in (0, 1) for draw in (0, 1)]
    assert len(set(orders)) == 4


def test_each_sample_is_tested_equally_often():
    dataset, n_draws = numbered(20), 2000
    counts = np.zeros(20)
    for draw in range(n_draws):
        counts[split_indices(dataset, drawn(5, 5), draw).test] += 1
    expected, deviation = n_draws / 4, np.sqrt(n_draws * 0.25 * 0.75)
    assert np.abs(counts - expected).max() < 5 * deviation


def test_more_validation_moves_neither_test_set_nor_first_training_samples():
    few, many = (split_indices(numbered(100), drawn(n, 20), 0) for n in (10, 40))
    np.testing.assert_array_equal(few.test, many.test)
    np.testing.assert_array_equal(few.pool[: len(many.pool)], many.pool)


def test_labels_and_targets_stay_with_their_samples(digits):
    draw = make_draw(digits, DigitsSettings(normalization="none"), 1)
    label_of = {x.tobytes(): label for x, label in zip(digits.x, digits.labels, strict=True)}
    for part in ("pool", "validation", "test"):
        x, y, labels = (getattr(draw, f"{name}_{part}") for name in ("x", "y", "labels"))
        assert [label_of[row.tobytes()] for row in x] == labels.tolist() == y.argmax(axis=1).tolist()


def test_targets_are_standardized_by_the_pool():
    draw = make_draw(read_dataset(DiabetesSettings()), DiabetesSettings(), 0)
    np.testing.assert_allclose(draw.y_pool.mean(axis=0), 0.0, atol=1e-13)
    np.testing.assert_allclose(draw.y_pool.std(axis=0), 1.0, rtol=1e-13)
    assert abs(draw.y_test.mean()) > 1e-3


def test_teacher_targets_keep_their_exact_units():
    settings = TeacherSettings(noise=0.1)
    dataset = read_dataset(settings)
    draw = make_draw(dataset, settings, 0)
    np.testing.assert_array_equal(draw.y_pool, dataset.y[split_indices(dataset, settings, 0).pool])


@pytest.mark.parametrize("normalization", ["none", "standardize", "unit_norm", "center_unit_norm"])
@pytest.mark.parametrize("source", [DigitsSettings, DiabetesSettings])
def test_held_out_samples_do_not_leak_into_training(source, normalization):
    settings = source(normalization=normalization)
    dataset = read_dataset(settings)
    indices = split_indices(dataset, settings, 2)
    x, y = dataset.x.copy(), dataset.y.copy()
    for part in (indices.validation, indices.test):
        x[part] = 100.0 + 50.0 * np.random.default_rng(0).random(x[part].shape)
        y[part] += 3.0
    before, after = make_draw(dataset, settings, 2), make_draw(replace(dataset, x=x, y=y), settings, 2)
    np.testing.assert_array_equal(before.x_pool, after.x_pool)
    np.testing.assert_array_equal(before.y_pool, after.y_pool)
    assert not np.array_equal(before.x_test, after.x_test)
    assert before.normalization == normalization


def test_digits_have_unit_norm_about_the_pool_mean(digits):
    settings = DigitsSettings()
    draw = make_draw(digits, settings, 0)
    for x in (draw.x_pool, draw.x_validation, draw.x_test):
        np.testing.assert_allclose((x**2).sum(axis=1), 64.0, rtol=1e-12)
    pool = digits.x[split_indices(digits, settings, 0).pool]
    direction = pool[5] - pool.mean(axis=0)
    np.testing.assert_allclose(draw.x_pool[5], 8.0 * direction / np.linalg.norm(direction), atol=1e-12)


def test_standardize_gives_mean_0_variance_1_and_constant_features_0(digits):
    draw = make_draw(digits, DigitsSettings(normalization="standardize"), 0)
    constant = np.ptp(digits.x, axis=0) == 0
    assert constant.sum() >= 3  # corner pixels that are never inked
    np.testing.assert_allclose(draw.x_pool.mean(axis=0), 0.0, atol=1e-12)
    variance = draw.x_pool.var(axis=0)
    assert np.all(variance[constant] == 0)
    np.testing.assert_allclose(variance[variance > 0], 1.0, rtol=1e-12)


def test_constant_feature_that_is_no_binary_fraction_becomes_exactly_0():
    x = np.column_stack([np.full(1000, 0.1), np.arange(1000.0)])
    normalizer = fit_normalizer("standardize", x)
    np.testing.assert_array_equal(normalizer(x)[:, 0], 0.0)
    assert normalizer(np.array([[255.0, 0.0]]))[0, 0] == 0.0


@quick
@given(x=arrays(np.float64, (6, 2, 3), elements=st.floats(-1e200, 1e200)))
def test_unit_norm_keeps_directions_and_zero_samples(x):
    x[2] = 0.0
    normalized = fit_normalizer("unit_norm", x)(x)
    assert normalized.shape == x.shape
    for before, after in zip(x, normalized, strict=True):
        if not before.any():
            assert not after.any()
            continue
        assert (after**2).sum() == pytest.approx(6.0, rel=1e-12)
        largest = np.unravel_index(np.abs(before).argmax(), before.shape)
        cosine = before / before[largest] * after[largest]
        np.testing.assert_allclose(after, cosine, rtol=1e-12, atol=1e-300)


def test_sample_at_the_mean_stays_zero():
    x = np.full((7, 3), 0.1)
    np.testing.assert_array_equal(fit_normalizer("center_unit_norm", x)(x), 0.0)


def test_unknown_normalization_is_refused():
    with pytest.raises(ValueError, match="unknown normalization 'whiten': choose one of none, standardize"):
        fit_normalizer("whiten", np.ones((2, 2)))


def test_too_few_samples_for_a_draw_are_refused():
    with pytest.raises(DataError, match="numbered has 20 samples, too few for 10 validation samples, 10 test"):
        make_draw(numbered(20), drawn(10, 10), 0)


def file_settings(path="mine.npz", **keys):
    return FileSettings(path=path, **{"n_validation": 5, "n_test": 5, "normalization": "none", **keys})


def rows(x, y=None, labels=None):
    x = np.asarray(x, dtype=np.float64)
    y = np.arange(len(x), dtype=float)[:, None] if y is None else y
    return Dataset("mine", x, y, labels, None, "standardized" if labels is None else "plus_minus_one", ("a", "b"))


G = np.random.default_rng(0)
X = G.uniform(-1.0, 1.0, (30, 3))
UNLEARNABLE = {
    "all zero": (np.zeros((30, 3)), "unit_norm", "samples of its training pool are equal .* unit_norm, all zero"),
    "all equal": (np.full((30, 3), 0.1), "none", "all samples of its training pool are equal .*none: there"),
    "all equal, standardized": (np.full((30, 3), 0.1), "standardize", "equal under .* standardize, all zero"),
    "all equal, centred": (np.full((30, 3), 0.1), "center_unit_norm", "all samples .* equal under"),
    "beyond float64": (np.where(np.arange(30) % 3, 1.0, -1.0)[:, None] * [1.79e308, 1, 1], "standardize",
        r"feature \[0\] of sample \d+ \(counted from 0\) is not finite"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNLEARNABLE)
def test_pools_of_which_nothing_can_be_learned_are_refused(name):
    x, normalization, message = UNLEARNABLE[name]
    with pytest.raises(DataError, match=rf"mine.npz \(dataset.path\), draw 0: .*{message}"):
        check_draws(rows(x), file_settings(normalization=normalization))


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1e307, 1e-300])
def test_extreme_sizes_are_standardized_as_any_others(scale):
    settings = file_settings(normalization="standardize")
    plain, scaled = (make_draw(rows(s * X, s * X[:, :1]), settings, 0) for s in (1.0, scale))
    for part in ("x_pool", "x_test", "y_pool", "y_test"):
        np.testing.assert_allclose(getattr(scaled, part), getattr(plain, part), rtol=1e-12, atol=1e-12)
    centred = file_settings(normalization="center_unit_norm")
    plain, scaled = (make_draw(rows(s * X), centred, 0) for s in (1.0, scale))
    np.testing.assert_allclose(scaled.x_pool, plain.x_pool, rtol=1e-12, atol=1e-12)


def test_a_pool_of_one_class_is_refused_in_whichever_draw_it_is():
    labels = np.arange(30) == 3
    data = rows(X, 2.0 * labels[:, None] - 1.0, labels.astype(int))
    settings = file_settings()
    without = next(d for d in range(50) if 3 not in split_indices(data, settings, d).pool)
    check_draws(data, settings, draws=without)
    with pytest.raises(
        DataError, match=rf"draw {without}: the targets \(dataset.y\) .* 20 samples, are all of one class"
    ):
        check_draws(data, settings, draws=without + 1)


def test_a_single_training_sample_is_refused():
    with pytest.raises(DataError, match=r"the targets \(dataset.y\) of its training pool, 1 samples, are all equal"):
        check_draws(rows(X), file_settings(n_test=24))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X * [1.0, 1e39, 1.0], r"feature \[1\] of sample \d+ \(counted from 0\) is beyond the range of float32"),
        (
            X + np.array([0.0, 0.0, 1e9]),
            r"feature \[2\] becomes constant in float32, in which networks are trained: set dataset.norm",
        ),
        (np.array([1e9, -1e9, 0])[G.integers(0, 2, (30, 3))] + 1e-2 * X, "most samples become equal in float32"),
    ],
)
def test_what_networks_would_lose_in_their_precision_is_refused(x, message):
    data, settings = rows(x), file_settings()
    check_draws(data, settings)
    check_draws(data, settings, dtype="float64")
    with pytest.raises(DataError, match=message):
        check_draws(data, settings, dtype="float32")


def test_the_line_of_a_table_is_named(tmp_path):
    path = tmp_path / "t.csv"
    lines = [f"{a},{b},{i % 2}" for i, (a, b, _) in enumerate(X)]
    path.write_text("# of the logger\na,b,y\n" + "\n".join(lines).replace(f"{X[7, 1]}", "1e39"))
    settings = file_settings(str(path))
    data = read_dataset(settings)
    with pytest.raises(DataError, match=r"t.csv .*: column 'b' of line 10 is beyond .* \(it is 1e\+39 in the file\)"):
        check_draws(data, settings, dtype="float32")


LABELS = np.arange(30) % 2
NOTICES = {
    "one large feature": (X * [1, 1, 100], "center_unit_norm", r"feature \[2\] has \d\d.* % of the squared norm"),
    "two features, one large": ((X * [1, 10, 1])[:, :2], "none", r"feature \[1\] has \d+.* % of the squared norm"),
    "tokens": (G.integers(0, 20, (30, 8)), "center_unit_norm",
        r"all integers from 0 to 19, .* scales them: if they are tokens"),
    "repeated": (np.concatenate([X[:29], X[:1]]), "none",
        r"1 of 30 samples repeat another one, \d of 5 test samples .* 1 repeated"),
    "constant": (X * [1, 0, 1], "standardize", r"feature \[1\] is constant over the training pool"),
    "zero sample": (X * (np.arange(30) > 0)[:, None], "unit_norm", r"1 of 30 samples are all zero and stay zero"),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTICES)
def test_what_may_not_be_meant_is_said(name):
    x, normalization, message = NOTICES[name]
    settings = file_settings(normalization=normalization)
    (said,) = notices(rows(x, 2.0 * LABELS[:, None] - 1.0, LABELS), settings)
    assert re.search(message, said) and said.startswith("mine.npz (dataset.path): ")


SILENT = {
    "measurements": (X, "standardize"),
    "large feature, standardized": (X * [1, 1, 100], "standardize"),
    "two features": (X[:, :2], "none"),
    "one feature": (X[:, :1], "standardize"),
    "tokens as they are": (G.integers(0, 20, (30, 8)) * [1, 1, 1, 1, 1, 1, 1, 1.0], "none"),
    "binary features": (G.integers(0, 2, (30, 30)), "standardize"),
    "counts of different sizes": (np.stack([G.permutation(100)[:30], G.permutation(5000)[:30]], 1), "standardize"),
    "bytes of images": (G.integers(0, 256, (30, 1, 4, 4)), "center_unit_norm"),
}


@pytest.mark.parametrize("name", SILENT)
def test_what_is_ordinary_is_not_said(name):
    x, normalization = SILENT[name]
    assert notices(rows(x, 2.0 * LABELS[:, None] - 1.0, LABELS), file_settings(normalization=normalization)) == []


def test_rare_and_absent_classes_are_said():
    labels = (np.arange(30) >= 28).astype(int)
    said = notices(rows(X, 2.0 * labels[:, None] - 1.0, labels), file_settings())
    assert "93.3 % of all samples are of class 'a': always answering it errs on 6.7 %" in said[0]
    settings, data = file_settings(), rows(X, 2.0 * LABELS[:, None] - 1.0, LABELS)
    pool = split_indices(data, settings, 0).pool
    one = np.isin(np.arange(30), pool).astype(int)  # the other class is in validation and test only
    assert any("no sample of class 'a'" in s for s in notices(rows(X, 2.0 * one[:, None] - 1.0, one), settings))


@pytest.mark.parametrize("x", [2.0 * LABELS + 3.0, -1.0 * LABELS])
def test_copies_of_the_target_are_said(x):
    data = rows(np.column_stack([X, x]), 2.0 * LABELS[:, None] - 1.0, LABELS)
    (said,) = notices(data, file_settings(normalization="standardize"))
    assert "feature [3] says what the target is, one value for each" in said
    y = X[:, 2:] * 3.0 + 1.0
    (said,) = notices(rows(np.column_stack([X[:, :2], -y, x]), y), file_settings(normalization="standardize"))
    assert "feature [2] says what the target is" in said


def test_classes_that_look_alike_are_said():
    data = replace(rows(X, 2.0 * LABELS[:, None] - 1.0, LABELS), class_names=("Yes", "yes "))
    (said,) = notices(data, file_settings())
    assert "classes 'Yes', 'yes ' differ only in capitals, blanks or type" in said


def test_columns_that_number_lines_are_said():
    data = replace(rows(np.column_stack([np.arange(30.0), X]), X[:, :1] ** 2), feature_names=("id", "a", "b", "c"))
    (said,) = notices(data, file_settings(normalization="standardize"))
    assert "column 'id' numbers the lines one by one" in said


def test_built_in_data_have_nothing_to_be_said(digits):
    assert notices(digits, DigitsSettings()) == []
    for settings in (DiabetesSettings(), TeacherSettings()):
        assert notices(read_dataset(settings), settings) == []


@pytest.mark.parametrize(("normalization", "expected"), [("center_unit_norm", 1.0), ("none", 60.0)])
def test_mean_squared_input(digits, normalization, expected):
    """Pixels of digits are 0 to 16; normalized images have ‖x‖² = 64."""
    draw = make_draw(digits, DigitsSettings(normalization=normalization), 0)
    assert draw.input_scale(64) == pytest.approx(expected, rel=1e-9 if expected == 1.0 else 0.1)
