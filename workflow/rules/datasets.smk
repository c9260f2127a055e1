# Data: fetched once, read, checked and stored; draws (splits, nested subsets) are pure functions of this file and the spec.
from ntk_atlas.datasets.dataset import DataError
from ntk_atlas.datasets.fetching import check_can_be_fetched, kept_package
from ntk_atlas.datasets.official_files import CACHE, FetchedSource
from ntk_atlas.datasets.sources import SOURCES as DATA_SOURCES, source_of
from ntk_atlas.study.prepare_spec import ReaderSpec, reader_spec


def data_files(wildcards):
    """Files that the data are read from: their change reads the data again, and those to be fetched are."""
    dataset = EXPERIMENTS[wildcards.experiment].dataset
    return [str(file) for file in source_of(dataset).input_files(dataset)]


USED = {experiment.dataset.source for experiment in EXPERIMENTS.values()}
OFFICIAL = {
    name: DATA_SOURCES.get(name).official
    for name in sorted({*DATA_SOURCES.names(), *USED})
    if isinstance(DATA_SOURCES.get(name), FetchedSource)
}
"""The official files of every source that is fetched; each is one rule below."""


def fetch_source(name):
    """Digest of the code that fetches a source."""
    values = value_files(ReaderSpec(source=name))
    return digest_of(WORKFLOW / "workflow" / "scripts" / "fetch_data.py", values)


def check_what_must_be_fetched():
    """Ends the run before its first job when data are neither here nor to be had."""
    wanted = {
        experiment.dataset.source
        for name, experiment in EXPERIMENTS.items()
        if source_of(experiment.dataset).is_fetched(experiment.dataset)
        and not Path(f"results/{name}/dataset.nc").is_file()
    }
    for name in sorted(wanted):
        official = OFFICIAL[name]
        here = all(file.is_file() for file in official.cached())
        if not here and kept_package(official, Path(CACHE, "packages")) is None:
            try:
                check_can_be_fetched(official)
            except DataError as error:
                sys.exit(f"Nothing was run: {error}")


for source_name, official in OFFICIAL.items():

    rule:
        name:
            f"fetch_{official.source}"
        output:
            [str(file) for file in official.cached()],
        log:
            f"logs/fetch_{official.source}.log",
        priority: 100
        # Where the run was started: nodes of a cluster often have no connection.
        localrule: True
        conda:
            CONDA
        threads: 1
        resources:
            mem_mb=growing(500),
            runtime=growing(10),
        params:
            data=source_name,
            source=fetch_source(source_name),
        message:
            f"fetching {official.title} into {CACHE}/{official.source}, once"
        script:
            "../scripts/fetch_data.py"


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
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        spec=spec(prepare_spec),
        source=source("prepare_dataset.py", reader_spec),
    message:
        "{wildcards.experiment}: reading and checking the data"
    script:
        "../scripts/prepare_dataset.py"
