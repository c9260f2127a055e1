# Which files an experiment has: what its cube is made of, and everything that is made of it.
import hashlib

from ntk_atlas.datasets.dataset import DataError
from ntk_atlas.datasets.official_files import (
    CACHE,
    FetchedSource,
    check_can_be_fetched,
    kept_package,
)
from ntk_atlas.datasets.sources import SOURCES as DATA_SOURCES, source_of
from ntk_atlas.jobs.parts.slice import canonical_text, code_file_digest, rows
from ntk_atlas.datasets.read import draws_in_words
from ntk_atlas.config.figures import FIGURES
from ntk_atlas.registry import is_own
from ntk_atlas.study.results import (
    cubes_of,
    earlier_results_told,
    file_name,
    final_results,
    page_file,
    study_folder,
)

# Tables over all experiments of this study.
ALL = study_folder(workflow.config_settings.configfiles)
# Their page.
PAGE = page_file(workflow.config_settings.configfiles)


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


def files_of(kind, name):
    """The results of a kind of job in an experiment: one, or one for each of its parts."""
    job = RULES[kind]
    files = [job.file_of(part) for part in job.names(EXPERIMENTS[name], STUDY.jobs)]
    return [f"results/{name}/{file}" for file in files]


def inputs_of(job):
    """A function that gives the files that a job is made of by what they are, as its head says.

    Of a rule that has the same parts, the same part; of one that has other parts, all of them.
    """

    def of(wildcards):
        experiment, found = EXPERIMENTS[wildcards.experiment], {}
        for name in job.made_of:
            part = RULES[name]
            if not part.wanted(experiment) or not job.takes(experiment, name):
                continue
            key = part.kind or part.folder
            if part.per.wildcard and part.per is job.per:
                file = part.file_of(wildcards[part.per.wildcard])
                found[key] = f"results/{wildcards.experiment}/{file}"
            else:
                files = files_of(name, wildcards.experiment)
                found[key] = files if part.per.wildcard else files[0]
        if job.kind == "dataset":
            found["files"] = data_files(wildcards)
        return found

    return of


def page_parts():
    """Digest of the template, style and script of the page, which are no Python."""
    files = sorted((PACKAGE / "page").glob("atlas.*"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[
        :16
    ]


def page_files():
    """Files of each experiment that the page of the study shows, by the name of the experiment."""
    return {
        name: {
            file: f"results/{name}/{file}.nc"
            for file in ("cube", "regimes", "scaling_laws")
            if file in cubes_of(experiment)
        }
        for name, experiment in EXPERIMENTS.items()
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
    values = (DATA_SOURCES.module_file(name),) if name in DATA_SOURCES else ()
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
    return digest_of(file, value_files(job_slice("assemble_cube", wildcards)))


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
