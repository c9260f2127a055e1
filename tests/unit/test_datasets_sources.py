"""Built-in sources: sizes against scikit-learn, encodings, the teachers' statistics, cheap inspection."""

import math
import subprocess
import sys

import numpy as np
import pytest
from sklearn import datasets as sklearn_datasets

from ntk_atlas.config import section_of
from ntk_atlas.datasets import DataError, encode_targets, inspect_dataset, read_dataset
from ntk_atlas.datasets.sources.teacher import single_index, two_layer

DiabetesSettings = section_of("diabetes")
DigitsSettings = section_of("digits")
TeacherSettings = section_of("teacher")


def test_digits_are_the_raw_pixels_with_centred_one_hot_targets():
    dataset = read_dataset(DigitsSettings())
    x, classes = sklearn_datasets.load_digits(return_X_y=True)
    np.testing.assert_array_equal(dataset.x, x)
    np.testing.assert_array_equal(dataset.labels, classes)
    assert dataset.target_encoding == "centred_one_hot"
    assert dataset.class_names == tuple(range(10))
    np.testing.assert_allclose(dataset.y.sum(axis=1), 0.0, atol=1e-14)
    np.testing.assert_array_equal(dataset.y.argmax(axis=1), classes)
    np.testing.assert_allclose(dataset.y.max(axis=1), 0.9, rtol=1e-14)
    np.testing.assert_allclose(dataset.y.min(axis=1), -0.1, rtol=1e-14)


def test_digits_parity_is_plus_one_for_the_positive_classes():
    dataset = read_dataset(DigitsSettings(task="binary"))
    classes = sklearn_datasets.load_digits().target
    np.testing.assert_array_equal(dataset.y, np.where(classes % 2 == 1, 1.0, -1.0)[:, None])
    np.testing.assert_array_equal(dataset.labels, classes % 2)
    assert dataset.class_names == ("0 2 4 6 8", "1 3 5 7 9")
    assert dataset.target_encoding == "plus_minus_one"


def test_diabetes_has_raw_features_and_a_standardized_target():
    dataset = read_dataset(DiabetesSettings())
    x, y = sklearn_datasets.load_diabetes(return_X_y=True, scaled=False)
    np.testing.assert_array_equal(dataset.x, x)
    np.testing.assert_allclose(dataset.y[:, 0], (y - y.mean()) / y.std(), atol=1e-12)
    assert dataset.labels is None and dataset.class_names == ()
    assert dataset.target_encoding == "standardized"


@pytest.mark.parametrize(
    "settings",
    [
        DigitsSettings(),
        DigitsSettings(task="binary", n_test=100),
        DiabetesSettings(),
        TeacherSettings(n_samples=900, dimension=7),
    ],
    ids=["digits", "parity", "diabetes", "teacher"],
)
def test_inspection_agrees_with_the_data(settings):
    size, dataset = inspect_dataset(settings), read_dataset(settings)
    assert size.n_samples == dataset.n_samples
    assert size.input_shape == dataset.input_shape
    assert size.n_outputs == dataset.n_outputs
    assert size.n_test == settings.n_test
    assert size.n_pool == dataset.n_samples - settings.n_validation - settings.n_test
    assert (size.task == "regression") == (dataset.labels is None)


def test_inspection_imports_nothing_heavy_for_small_tables_too(tmp_path):
    (tmp_path / "t.csv").write_text("a;y\n" + "".join(f"{i},5;{i % 2}\n" for i in range(12)))
    code = (
        "import sys; from ntk_atlas.config.study import section_of;"
        "D, F = section_of('digits'), section_of('file');"
        "from ntk_atlas.datasets import inspect_dataset; inspect_dataset(D());"
        "assert inspect_dataset(F(path='t.csv', n_validation=2, n_test=2)).n_samples == 12;"
        "print(sorted({'torch', 'sklearn', 'xarray', 'scipy', 'netCDF4', 'pandas', 'fastparquet'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("read", [inspect_dataset, read_dataset])
def test_too_few_samples_are_refused(read):
    with pytest.raises(DataError, match=r"digits has 1797 samples, too few for 256 .* lower dataset.n_validation"):
        read(DigitsSettings(n_test=1541))
    assert read(DigitsSettings(n_test=1540)).n_samples == 1797


@pytest.mark.parametrize(("positive", "word"), [((11,), "no"), (tuple(range(10)), "every")])
@pytest.mark.parametrize("read", [inspect_dataset, read_dataset])
def test_positive_classes_must_split_the_classes(read, positive, word):
    with pytest.raises(DataError, match=rf"positive_classes = .* selects {word} class of scikit-learn's digits"):
        read(DigitsSettings(task="binary", positive_classes=positive))


TEACHERS = [
    TeacherSettings(teacher="single_index", dimension=6),
    TeacherSettings(teacher="two_layer", dimension=6, hidden_units=5),
    TeacherSettings(teacher="two_layer", dimension=3, hidden_units=1, teacher_seed=4),
]


@pytest.mark.parametrize("settings", TEACHERS, ids=["single_index", "two_layer", "one_unit"])
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_teachers_have_mean_0_and_variance_1_plus_noise(settings, noise):
    n = 200_000
    y = read_dataset(settings.model_copy(update={"n_samples": n, "noise": noise})).y[:, 0]
    # Six standard errors of the mean and of the variance, the latter from the sample's own fourth moment.
    assert abs(y.mean()) < 6 * y.std() / math.sqrt(n)
    variance_error = np.std((y - y.mean()) ** 2) / math.sqrt(n)
    assert abs(y.var() - (1 + noise**2)) < 6 * variance_error < 0.2


@pytest.mark.parametrize("settings", TEACHERS, ids=["single_index", "two_layer", "one_unit"])
def test_first_samples_do_not_depend_on_how_many_are_drawn(settings):
    few = read_dataset(settings.model_copy(update={"n_samples": 1000, "noise": 0.3}))
    many = read_dataset(settings.model_copy(update={"n_samples": 5003, "noise": 0.3}))
    np.testing.assert_array_equal(many.x[:1000], few.x)
    np.testing.assert_array_equal(many.y[:1000], few.y)


def test_noise_leaves_inputs_and_function_alone():
    clean, noisy = (read_dataset(TeacherSettings(noise=noise)) for noise in (0.0, 0.25))
    np.testing.assert_array_equal(clean.x, noisy.x)
    noise = (noisy.y - clean.y)[:, 0]
    assert noise.std() == pytest.approx(0.25, rel=0.06)
    assert abs(np.corrcoef(noise, clean.y[:, 0])[0, 1]) < 0.08


def test_teachers_of_other_seeds_differ():
    first, second = (read_dataset(TeacherSettings(teacher_seed=seed)) for seed in (0, 1))
    assert not np.any(first.x == second.x)


def test_single_index_is_a_cubic_in_one_direction():
    settings = TeacherSettings(dimension=4)
    gradient = np.array([single_index(1e-6 * e, settings) for e in np.eye(4)[:, None]])[:, 0] / 1e-6
    w = gradient / np.linalg.norm(gradient)
    z = np.linspace(-3, 3, 13)
    # h3 + identity in units of their deviation √2; the sign of w comes from the slope at 0, 1 − 3/√6 < 0.
    expected = ((z**3 - 3 * z) / math.sqrt(6) + z) / math.sqrt(2)
    np.testing.assert_allclose(single_index(-z[:, None] * w, settings), expected, atol=1e-6)
    across = np.linalg.svd(w[None])[2][1:]
    np.testing.assert_allclose(single_index(across, settings), 0.0, atol=1e-6)


def test_two_layer_teacher_is_homogeneous_up_to_its_mean():
    settings = TeacherSettings(teacher="two_layer", dimension=5)
    x = np.random.default_rng(0).standard_normal((20, 5))
    at_zero = two_layer(np.zeros((1, 5)), settings)
    raw, scaled = (two_layer(factor * x, settings) - at_zero for factor in (1.0, 3.0))
    np.testing.assert_allclose(scaled, 3.0 * raw, atol=1e-12)


def test_binary_data_as_classes_get_two_outputs_of_a_half():
    targets = encode_targets(np.array([7, 3, 7]), task="classes", where="here")
    np.testing.assert_array_equal(targets.y, [[-0.5, 0.5], [0.5, -0.5], [-0.5, 0.5]])
    assert targets.class_names == (3, 7)


@pytest.mark.parametrize(("bits", "inputs"), [(2, "gaussian"), (3, "signs")])
def test_parity_is_a_balanced_binary_task_of_its_first_inputs(bits, inputs):
    settings = TeacherSettings(teacher="parity", parity_bits=bits, inputs=inputs, dimension=6, n_samples=4000)
    dataset, size = read_dataset(settings), inspect_dataset(settings)
    assert size.task == "binary" and dataset.target_encoding == "plus_minus_one"
    np.testing.assert_array_equal(dataset.y[:, 0], 2 * dataset.labels - 1)
    assert (dataset.y[(dataset.x[:, :bits] > 0).all(1)] == 1).all(), "the orthant where all bits are positive"
    assert abs(dataset.y.mean()) < 6 / math.sqrt(4000)
    # No single input says anything: its correlation with y is noise.
    assert np.abs((dataset.y * np.sign(dataset.x)).mean(0)).max() < 5 / math.sqrt(4000)
    np.testing.assert_array_equal(np.sign(dataset.x[:, :bits]).prod(1), dataset.y[:, 0])
    assert set(np.unique(dataset.x)) == {-1.0, 1.0} if inputs == "signs" else len(np.unique(dataset.x)) > 20_000


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"teacher": "parity", "noise": 0.1}, "parity has the classes ±1: set noise to 0"),
        ({"teacher": "parity", "parity_bits": 5, "dimension": 4}, "parity_bits is 5, more than the dimension 4"),
        ({"teacher": "two_layer", "inputs": "signs"}, "inputs: signs makes a task of parity only"),
    ],
)
def test_parity_that_makes_no_sense_is_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        TeacherSettings(**keys)
