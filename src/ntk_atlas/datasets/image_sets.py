"""The image data sets in full: shapes, sizes, classes, and what their official files hold, byte for byte.

MNIST: LeCun, Cortes and Burges (1998). Fashion-MNIST: Xiao, Rasul and Vollgraf (2017). CIFAR-10: Krizhevsky (2009).
"""

from dataclasses import dataclass

CACHE = "resources"
"""Folder of what was fetched, relative to the working directory; experiments share it."""


@dataclass(frozen=True)
class OfficialFile:
    """One official file, decompressed.

    Attributes:
        name: its official name, without `.gz`.
        n_bytes: its length.
        sha256: SHA-256 of its bytes. Pickled CIFAR-10 batches are held to the hash of the binary batch they equal.
    """

    name: str
    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class ImageSet:
    """What is known of an image data set without opening it.

    Attributes:
        title: its name in messages.
        input_shape: `(channels, height, width)`.
        n_train: images of the official training set.
        n_test: images of the official test set.
        class_names: names of the classes 0, 1, ...
        files: the official files, those of the training set first.
        folders: where in a folder of the user's the files may also lie: as the official archive or torchvision
            leave them.
    """

    title: str
    input_shape: tuple[int, int, int]
    n_train: int
    n_test: int
    class_names: tuple[str, ...]
    files: tuple[OfficialFile, ...]
    folders: tuple[str, ...]


def _idx_files(*hashes: str, n_train: int = 60_000, n_test: int = 10_000, n_pixels: int = 784) -> tuple:
    sizes = (16 + n_train * n_pixels, 8 + n_train, 16 + n_test * n_pixels, 8 + n_test)
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return tuple(
        OfficialFile(f"{name}-ubyte", size, digest) for name, size, digest in zip(names, sizes, hashes, strict=True)
    )


def _cifar_files(*hashes: str) -> tuple:
    names = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
    return tuple(OfficialFile(name, 10_000 * 3073, digest) for name, digest in zip(names, hashes, strict=True))


IMAGE_SETS = {
    "mnist": ImageSet(
        "MNIST",
        (1, 28, 28),
        60_000,
        10_000,
        tuple("0123456789"),
        _idx_files(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        ("MNIST/raw",),
    ),
    "fashion_mnist": ImageSet(
        "Fashion-MNIST",
        (1, 28, 28),
        60_000,
        10_000,
        ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle_boot"),
        _idx_files(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        ("FashionMNIST/raw",),
    ),
    "cifar10": ImageSet(
        "CIFAR-10",
        (3, 32, 32),
        50_000,
        10_000,
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        _cifar_files(
            "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
            "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
            "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
            "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
            "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
            "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
        ),
        ("cifar-10-batches-bin", "cifar-10-batches-py"),
    ),
}
"""By the name that `dataset.source` gives them."""
