# Which files an experiment has: what its cube is made of, and everything that is made of it.
from ntk_atlas.datasets.dataset import DataError
from ntk_atlas.datasets.fetching import check_can_be_fetched, kept_package
from ntk_atlas.datasets.official_files import CACHE, FetchedSource
from ntk_atlas.datasets.sources import SOURCES as DATA_SOURCES, source_of
from ntk_atlas.study.prepare_spec import ReaderSpec, reader_spec
from ntk_atlas.study.cells import canonical_text, rows
from ntk_atlas.study.dispersion_inputs import (
    dispersion_assembly_spec,
    dispersion_spec,
)
from ntk_atlas.study.dispersion_spec import architectures
from ntk_atlas.study.earlier_results import earlier_results_told, final_results
from ntk_atlas.study.jobs import predictors
from ntk_atlas.config.figures import FIGURES
from ntk_atlas.registry import is_own
from ntk_atlas.study.user_files import code_file_digest
from ntk_atlas.study.outputs import (
    cube_spec,
    cubes_of,
    file_name,
    has_scaling_laws,
    study_folder,
)

# Tables over all experiments of this study.
ALL = study_folder(workflow.config_settings.configfiles)


def all_figures():
    """Names of all figures, as the config has them."""
    shown = [name for each in EXPERIMENTS.values() for name in each.show or ()]
    return dict.fromkeys([*FIGURES.names(), *shown])


def own_code(names):
    """The user's files among values, `my_file.py:x`, each with the digest of what it imports of the user's."""
    files = dict.fromkeys(name.rpartition(":")[0] for name in names if is_own(name))
    return " ".join(f"{file}: {code_file_digest(Path(file))}" for file in files)


def figure_of(wildcards):
    """The name of a figure as the config has it."""
    shown = EXPERIMENTS[wildcards.experiment].show or ()
    own = [name for name in shown if is_own(name)]
    return next((f for f in own if file_name(f) == wildcards.figure), wildcards.figure)


wildcard_constraints:
    figure="|".join(dict.fromkeys(map(file_name, all_figures()))),


def row_names(name):
    """Names of all rows of an experiment."""
    grid = EXPERIMENTS[name].grid
    return [row.name for row in rows(grid, STUDY.jobs.init_scales_per_job)]


def cube_inputs(wildcards):
    """Files of the cube by what they are; the script finds each one's place by its name."""
    name = wildcards.experiment
    experiment, folder = EXPERIMENTS[name], f"results/{name}"
    empirical = predictors(experiment, "empirical")
    linearized = predictors(experiment, "linearized")
    infinite = predictors(experiment, "infinite")
    scales = experiment.grid.init_scale if infinite else ()
    predictions = f"{folder}/predictions"
    return {
        "dataset": f"{folder}/dataset.nc",
        "networks": [f"{folder}/networks/{row}.nc" for row in row_names(name)],
        "empirical": [
            f"{predictions}/empirical/{row}.nc" for row in row_names(name) if empirical
        ],
        "linearized": [
            f"{folder}/linearized/{row}.nc" for row in row_names(name) if linearized
        ],
        "infinite": [
            f"{predictions}/infinite/init_scale-{canonical_text(scale)}.nc"
            for scale in scales
        ],
        "rivals": [
            f"{predictions}/rivals/{kernels}.nc"
            for kernels in rival_groups(experiment, STUDY.jobs.rivals_per_job)
        ],
    }


def claim_files(wildcards):
    """The files that an experiment is judged by; those it does not make are left out."""
    folder = f"results/{wildcards.experiment}"
    made = cubes_of(EXPERIMENTS[wildcards.experiment])
    names = ("cube", "functions", "dispersion", "output_variance", "kernel_variants")
    files = {name: f"{folder}/{name}.nc" for name in names if name in made}
    return files | {"variants": variant_cubes(wildcards.experiment)}


def layer_experiments():
    """Names of the experiments in which adding a layer can be judged, if the study judges it (C1)."""
    if (
        STUDY.claims is None
        or "C1" not in load_thresholds(Path(STUDY.claims)).claims.by_name()
    ):
        return []
    return [
        name
        for name, settings in EXPERIMENTS.items()
        if len(settings.grid.depth) > 1
        and "infinite_ntk" in settings.regression.predictors
    ]


def variants_of(name):
    """Names of the experiments that are variants of another one."""
    return [v for v, settings in EXPERIMENTS.items() if settings.variant_of == name]


def variant_cubes(name):
    """The cubes of the variants of an experiment."""
    return [f"results/{variant}/cube.nc" for variant in variants_of(name)]


def output_variance_inputs(wildcards):
    """Files of the output variance by what they are; the script finds each one's place by its name."""
    name = wildcards.experiment
    folder = f"results/{name}"
    return {
        "dataset": f"{folder}/dataset.nc",
        "networks": [f"{folder}/networks/{row}.nc" for row in row_names(name)],
        "linearized": [f"{folder}/linearized/{row}.nc" for row in row_names(name)],
        "theory": [
            f"{folder}/predictions/output_variance/init_scale-{canonical_text(scale)}.nc"
            for scale in EXPERIMENTS[name].grid.init_scale
        ],
    }


def initial_kernels_spec(experiment, depth_and_width):
    """Spec of the untrained networks of one depth and width."""
    return dispersion_spec(experiment, *depth_and_width)


def dispersion_files(wildcards):
    """The files of untrained networks that the dispersion is joined from."""
    folder = f"results/{wildcards.experiment}/dispersion"
    names = architectures(EXPERIMENTS[wildcards.experiment])
    return [f"{folder}/{name}.nc" for name in names]


def figure_files(wildcards):
    """The files that a figure is drawn from, in the order in which it takes them."""
    head = FIGURES.head(figure_of(wildcards))
    wanted = [(wildcards.experiment, file) for file in (*head.files, *head.also)]
    variants = variants_of(wildcards.experiment) if head.of_variants else []
    wanted += [(v, file) for v in variants for file in head.of_variants]
    return [
        f"results/{name}/{file}.nc"
        for name, file in wanted
        if file in cubes_of(EXPERIMENTS[name])
    ]


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


def figure_source(wildcards):
    """Digest of a figure's file, of all that it imports of the package, and of the values that its experiment names."""
    name = figure_of(wildcards)
    file = Path(name.rpartition(":")[0]) if is_own(name) else FIGURES.module_file(name)
    return digest_of(file, value_files(cube_spec(EXPERIMENTS[wildcards.experiment])))


def experiment_targets(name):
    """Everything that is made of one experiment."""
    made = final_results(EXPERIMENTS[name], claims=STUDY.claims is not None)
    return [f"results/{name}/{file}" for file in made]


def tell_earlier_results():
    """Names results in the folders of this study that its config does not make."""
    if told := earlier_results_told(STUDY, Path("results")):
        logger.warning(told)


if workflow.is_main_process and "--report" in sys.argv:
    tell_earlier_results()
