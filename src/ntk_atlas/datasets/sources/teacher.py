r"""Synthetic teachers: Gaussian inputs x ~ N(0, 1_d) labelled by a known function.

* single index: y = g(w·x), ‖w‖ = 1, g(z) = h₃(z) + z with the normalized probabilists' Hermite polynomial
  h₃(z) = (z³ − 3z)/√6; h₃ and z are orthonormal under the Gaussian, so E y = 0 and Var y = 2;
* two layers: y = Σ_j a_j max(0, w_j·x), ‖w_j‖ = 1, a_j ~ N(0, 1);
* product: y = (w₁·x)(w₂·x), orthonormal w: no direction alone says anything;
* additive: y = Σ_j sin 2x_j;
* smooth and rough: y = Σ_k cos(ω_k·x + φ_k), random Fourier features (Rahimi & Recht 2007) of a Gaussian process with
  RBF kernel (ω normal) or Laplace kernel (ω Cauchy) of length scale ℓ√d;
* parity: y = sign(x_1 ⋯ x_k), k = `parity_bits`, of Gaussian inputs or of their signs: a binary task.

All but the last are put in units of their exact Gaussian mean and standard deviation, not the sample's: the first k
samples are the same at every `n_samples`, and a noise of 0.1 is 0.1 of the noiseless target's deviation.
"""

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ntk_atlas.datasets.dataset import Dataset, DatasetBase, DatasetSize, DatasetSource, Normalization

_N_WAVES = 256
"""Fourier features of a Gaussian process."""


class TeacherSettings(DatasetBase):
    """Gaussian inputs labelled by a known function, so that what can be learned is known."""

    source: Literal["teacher"] = "teacher"
    """A synthetic teacher."""
    teacher: Literal["single_index", "two_layer", "product", "additive", "smooth", "rough", "parity"] = "single_index"
    """`single_index`: y = g(w·x), g the third Hermite polynomial plus the identity; `two_layer`: a ReLU network;
    `product`: of two orthogonal directions; `additive`: Σ_j sin 2x_j; `smooth`, `rough`: a draw of the Gaussian process
    with RBF or Laplace kernel. All these are scaled to mean 0 and variance 1 over the inputs' distribution. `parity`:
    y = ±1, the sign of the product of the first `parity_bits` inputs, a binary task that takes learned features."""
    parity_bits: PositiveInt = 2
    """How many inputs the parity is of; at most `dimension`."""
    inputs: Literal["gaussian", "signs"] = "gaussian"
    """Distribution of the inputs: standard normal, or their signs ±1, of which `parity` alone makes a task."""
    dimension: PositiveInt = 20
    """Number of input features."""
    n_samples: Annotated[int, Field(ge=8)] = 4096
    """How many samples are drawn in all (validation and test included)."""
    hidden_units: PositiveInt = 8
    """Hidden units of the two-layer teacher."""
    length_scale: PositiveFloat = 1.0
    """Length scale of the kernel of `smooth` and `rough`, in units of √dimension, the size of an input."""
    noise: NonNegativeFloat = 0.0
    """Standard deviation of the Gaussian noise on y, in units of the noiseless target's own."""
    teacher_seed: NonNegativeInt = 0
    """Seed of the teacher's weights, inputs and noise."""
    normalization: Normalization = "none"
    """See the other sources; Gaussian inputs need none."""

    @model_validator(mode="after")
    def _two_directions(self) -> "TeacherSettings":
        if self.teacher == "product" and self.dimension < 2:
            raise ValueError("the teacher `product` needs two directions: set dimension to 2 or more")
        return self

    @model_validator(mode="after")
    def _parity(self) -> "TeacherSettings":
        if self.teacher == "parity" and self.noise > 0.0:
            raise ValueError("noise is added to real targets, and parity has the classes ±1: set noise to 0")
        if self.teacher == "parity" and self.parity_bits > self.dimension:
            raise ValueError(f"parity_bits is {self.parity_bits}, more than the dimension {self.dimension}: lower it")
        if self.teacher != "parity" and self.inputs == "signs":
            raise ValueError(f"inputs: signs makes a task of parity only, and the teacher is {self.teacher}")
        return self


class Teacher(DatasetSource):
    """Inputs, teacher and noise are drawn each from a stream of its own.

    The first k samples depend neither on `n_samples` nor, inputs and noiseless targets, on `noise`; y has mean 0 and
    variance 1 + noise² over the input distribution.
    """

    settings, title, is_known, samples_key = TeacherSettings, "the teacher", True, "n_samples"

    def place(self, settings: TeacherSettings) -> str:
        """See `DatasetSource`."""
        return "the teacher (dataset.n_samples)"

    def size(self, settings: TeacherSettings) -> DatasetSize:
        """See `DatasetSource`."""
        task = "binary" if settings.teacher == "parity" else "regression"
        return self.drawn(settings, settings.n_samples, (settings.dimension,), 1, task)

    def read(self, settings: TeacherSettings) -> Dataset:
        """See `DatasetSource`."""
        x = _stream(settings, "inputs").standard_normal((settings.n_samples, settings.dimension))
        if settings.teacher == "parity":
            return _parity_dataset(np.sign(x) if settings.inputs == "signs" else x, settings.parity_bits)
        y = _TEACHERS[settings.teacher](x, settings)
        noise = _stream(settings, "noise").standard_normal(settings.n_samples)
        return Dataset(
            name="teacher",
            x=x,
            y=(y + settings.noise * noise)[:, None],
            labels=None,
            split=None,
            target_encoding="teacher_standardized",
        )


def _parity_dataset(x: np.ndarray, bits: int) -> Dataset:
    y = np.sign(x[:, :bits]).prod(axis=1)  # of standard normals, none of which is exactly 0
    labels = (y > 0.0).astype(np.int64)
    return Dataset("teacher", x, y[:, None], labels, None, "plus_minus_one", ("negative", "positive"))


def single_index(x: np.ndarray, settings: TeacherSettings) -> np.ndarray:
    """Returns noiseless single-index targets `(n,)` of inputs `(n, dimension)`; mean 0, variance 1."""
    w = _unit_rows(_stream(settings, "weights").standard_normal((1, settings.dimension)))[0]
    z = _project(x, w)
    return ((z**3 - 3.0 * z) / math.sqrt(6.0) + z) / math.sqrt(2.0)


def two_layer(x: np.ndarray, settings: TeacherSettings) -> np.ndarray:
    """Returns noiseless two-layer ReLU targets `(n,)` of inputs `(n, dimension)`; mean 0, variance 1."""
    stream = _stream(settings, "weights")
    w = _unit_rows(stream.standard_normal((settings.hidden_units, settings.dimension)))
    a = stream.standard_normal(settings.hidden_units)
    y = np.zeros(len(x))
    for a_j, w_j in zip(a, w, strict=True):
        y += a_j * np.maximum(_project(x, w_j), 0.0)
    mean = a.sum() / math.sqrt(2.0 * math.pi)
    return (y - mean) / math.sqrt(a @ _relu_second_moments(w) @ a - mean**2)


def product(x: np.ndarray, settings: TeacherSettings) -> np.ndarray:
    """Returns noiseless targets (w₁·x)(w₂·x), `(n,)`; mean 0, variance 1."""
    first, second = _stream(settings, "weights").standard_normal((2, settings.dimension))
    first = first / np.linalg.norm(first)
    second = second - (second @ first) * first
    return _project(x, first) * _project(x, second / np.linalg.norm(second))


def additive(x: np.ndarray, settings: TeacherSettings) -> np.ndarray:
    """Returns noiseless additive targets Σ_j sin 2x_j, `(n,)`; mean 0, variance 1."""
    return np.sin(2.0 * x).sum(axis=1) / math.sqrt(settings.dimension * 0.5 * (1.0 - math.exp(-8.0)))


def gaussian_process(x: np.ndarray, settings: TeacherSettings) -> np.ndarray:
    """Returns noiseless targets of a Gaussian process, `(n,)`; mean 0, variance 1.

    With a, b of the frequencies and p, q of their phases, E cos(a·x + p) = cos p e^{−‖a‖²/2} and
    E cos(a·x + p) cos(b·x + q) = ½[cos(p − q) e^{−‖a−b‖²/2} + cos(p + q) e^{−‖a+b‖²/2}] over x ~ N(0, 1).
    """
    stream = _stream(settings, "weights")
    frequencies = stream.standard_normal((_N_WAVES, settings.dimension))
    if settings.teacher == "rough":  # a normal vector over |a normal number| is a Cauchy vector
        frequencies /= np.abs(stream.standard_normal((_N_WAVES, 1)))
    frequencies /= settings.length_scale * math.sqrt(settings.dimension)
    phases = stream.uniform(0.0, 2.0 * math.pi, _N_WAVES)
    y = np.zeros(len(x))
    for frequency, phase in zip(frequencies, phases, strict=True):
        y += np.cos(_project(x, frequency) + phase)
    squares = (frequencies**2).sum(1)
    mean = (np.cos(phases) * np.exp(-0.5 * squares)).sum()
    products = frequencies @ frequencies.T
    second = 0.0
    for sign in (-1.0, 1.0):
        exponent = -0.5 * np.maximum(squares[:, None] + squares + sign * 2.0 * products, 0.0)
        second += 0.5 * (np.cos(phases[:, None] + sign * phases) * np.exp(exponent)).sum()
    return (y - mean) / math.sqrt(second - mean**2)


def _relu_second_moments(w: np.ndarray) -> np.ndarray:
    """Returns E[relu(w_i·x) relu(w_j·x)] for unit rows: half the arc-cosine kernel of Cho and Saul (2009)."""
    cosine = np.clip(w @ w.T, -1.0, 1.0)
    return (np.sqrt(1.0 - cosine**2) + cosine * (math.pi - np.arccos(cosine))) / (2.0 * math.pi)


def _project(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Returns w·x row by row; a matrix product may round differently at other row or thread counts."""
    return (x * w).sum(axis=1)


def _unit_rows(w: np.ndarray) -> np.ndarray:
    return w / np.linalg.norm(w, axis=1, keepdims=True)


_TEACHERS = {
    "single_index": single_index,
    "two_layer": two_layer,
    "product": product,
    "additive": additive,
    "smooth": gaussian_process,
    "rough": gaussian_process,
}


def _stream(settings: TeacherSettings, part: str) -> np.random.Generator:
    from ntk_atlas.streams import numpy_stream  # imports torch

    return numpy_stream("teacher", settings.teacher, part, settings.teacher_seed)


teacher = Teacher()
