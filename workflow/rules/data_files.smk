# Where the data come from: official files of images, fetched or the user's, and files of the user's own.
from ntk_atlas.datasets.errors import DataError
from ntk_atlas.datasets.image_files import find_files
from ntk_atlas.datasets.image_packages import check_can_be_fetched, kept_package
from ntk_atlas.datasets.image_sets import CACHE
from ntk_atlas.datasets.table_sets import FETCHED_SETS
from ntk_atlas.datasets.images import image_folder


def fetched_files(images):
    """The official files of an image data set, as a fetch rule leaves them."""
    return [f"{CACHE}/{images}/{file.name}" for file in FETCHED_SETS[images].files]


def data_files(wildcards):
    """Files that the data are read from: their change reads the data again, and those to be fetched are."""
    dataset = EXPERIMENTS[wildcards.experiment].dataset
    if dataset.source not in FETCHED_SETS:
        return dataset.path if dataset.source == "file" else []
    if dataset.path is None:
        return fetched_files(dataset.source)
    files = find_files(image_folder(dataset), FETCHED_SETS[dataset.source])
    return [str(file) for file in files]


def check_what_must_be_fetched():
    """Ends the run before its first job when data are neither here nor to be had."""
    wanted = {
        experiment.dataset.source
        for name, experiment in EXPERIMENTS.items()
        if experiment.dataset.source in FETCHED_SETS
        and experiment.dataset.path is None
        and not Path(f"results/{name}/dataset.nc").is_file()
    }
    for images in sorted(wanted):
        here = all(Path(file).is_file() for file in fetched_files(images))
        if not here and kept_package(images, Path(CACHE, "packages")) is None:
            try:
                check_can_be_fetched(images)
            except DataError as error:
                sys.exit(f"Nothing was run: {error}")
