"""`make card`: in which regime one model is on one set of data, why, and how wide it would have to be.

It writes a small study as `cards/<name>.yaml`, which the user can keep and change, sized so that it takes as long as
asked; runs it as `make run MINE=cards/<name>.yaml` does; and prints what its map says of the model.
"""

import argparse
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml
from study_of_call import REPOSITORY, Call, sources

from ntk_atlas.cards import CardRequest, card_experiments, card_lines, widths_around
from ntk_atlas.datasets import DataError
from ntk_atlas.provenance import source_digest
from ntk_atlas.study import ConfigError, StartChecks, all_seconds, load_regime_thresholds, load_study
from ntk_atlas.user_code import told

log = logging.getLogger("ntk-atlas")
SHARE = 0.9
"""Of the time asked for, that the plan of a study may take."""
START = 15.0
"""Seconds of Snakemake and the report."""


def request_of_the_call() -> tuple[CardRequest, str, list[str]]:
    """What is asked, the name of the study, and what is passed on to the run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits", help="a file, or a source such as digits (default: %(default)s)")
    parser.add_argument("--network", default="fully_connected", help="my_net.py:build, or a family")
    parser.add_argument("--target", help="column or array to predict")
    parser.add_argument("--task", choices=("classes", "binary", "regression"), help="where the target does not tell")
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--init-scale", type=float, default=2.0, help="σ_w²")
    parser.add_argument("--activation", default="relu", help="of a built-in family")
    parser.add_argument("--initial-state", help="weights to start from, as in fine-tuning: a file of a state_dict")
    parser.add_argument("--trainable", default="", help="patterns of names of the parameters that train, with spaces")
    parser.add_argument("--n-train", type=int, help="training samples (default: as many as the time allows)")
    parser.add_argument("--minutes", type=float, default=3.0, help="that it may take (default: %(default)g)")
    parser.add_argument("--name", help="of the study (default: of data and network)")
    given, passed_on = parser.parse_known_args()
    request = CardRequest(
        data=_found(given.data),
        network=_own(given.network),
        target=given.target,
        task=given.task,
        depth=given.depth,
        width=given.width,
        init_scale=given.init_scale,
        activation=given.activation,
        initial_state=None if given.initial_state is None else _found(given.initial_state),
        trainable=tuple(given.trainable.split()),
        n_train=given.n_train,
        minutes=given.minutes,
    )
    parts = [Path(request.network.partition(":")[0]).stem, Path(request.data).name.partition(".")[0]]
    name = given.name or re.sub(r"\W+", "_", "_".join(["card", *parts])).strip("_").lower()
    return request, name, passed_on


def main() -> int:
    """Runs everything; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="== %(message)s")
    request, name, passed_on = request_of_the_call()
    overlay = Path("cards") / f"{name}.yaml"
    try:
        experiment, seconds = sized(request, name, overlay)
    except (ConfigError, DataError) as error:
        log.error("%s", error)
        return 1
    n, widths = experiment["grid"]["n_train"][-1], experiment["grid"]["width"]
    log.info(
        "%s: width %s, up to %d training samples, %d draws; about %.0f s of CPU time",
        overlay, ", ".join(map(str, widths)), n, experiment["grid"]["draws"], seconds,
    )  # fmt: skip
    command = [sys.executable, str(REPOSITORY / "workflow" / "run.py"), "--mine", str(overlay), "--quiet", "all"]
    if status := subprocess.run([*command, *passed_on]).returncode:
        return status
    if {"-n", "--dry-run"} & set(passed_on):
        return 0
    import xarray as xr

    from ntk_atlas import open_cube

    folder = Path("results") / name
    thresholds = load_regime_thresholds(REPOSITORY / "config" / "regimes.yaml")
    with xr.open_dataset(folder / "regimes.nc") as found, open_cube(folder / "cube.nc") as cube:
        print("", *card_lines(found, cube, request, thresholds), sep="\n")
    print(
        "",
        f"Page: results/atlas_{name}.html; report: results/{name}.html; map: {folder}/figures/regime_map.png",
        sep="\n",
    )
    print(f"Keep, change, run again: make run MINE={overlay}")
    return 0


def sized(request: CardRequest, name: str, overlay: Path) -> tuple[dict, float]:
    """The best study that the time asked for allows, written to its file, and its CPU seconds.

    Raises:
        ConfigError: if something is wrong with the request.
        DataError: if something is wrong with its data.
    """
    widths, cores = widths_around(request), os.cpu_count() or 1
    candidates, costs = list(card_experiments(request, widths)), ()
    if request.is_own:
        tried = tried_network(candidates[-1], name, overlay)
        if any("ignores width" in notice for notice in tried.notices):
            log.info("the network knows no width: it is trained as it is, beside its own kernel and linearization")
            candidates = list(card_experiments(request, [request.width]))
        costs = tried.costs
    found = None
    for candidate in candidates:
        study = written(candidate, name, overlay)
        seconds = all_seconds(study.experiments[name], study.jobs, costs)
        found = candidate, sum(seconds.values()) if seconds else float("nan")
        if seconds and found[1] / cores + START <= SHARE * 60 * request.minutes:
            return found
    log.info("the quickest study takes longer than %g min; give MINUTES=", request.minutes)
    return found


def tried_network(candidate: dict, name: str, overlay: Path):
    """What is to be known of a network of the user's own: what it ignores, what it costs."""
    written(candidate, name, overlay)
    memory = sources().path.with_name("start.json")
    digest = source_digest(REPOSITORY / "src/ntk_atlas/study/trial.py", REPOSITORY / "src/ntk_atlas", sources())
    checks = StartChecks(memory=memory, source=digest, say=log.info)
    load_study(_call(overlay, name).tree(), checks)
    return checks.tried[name]


def written(experiment: dict, name: str, overlay: Path):
    """Writes a study; returns its settings."""
    overlay.parent.mkdir(parents=True, exist_ok=True)
    head = f"# Written by `make card`; yours to change. Run it again: make run MINE={overlay}\n"
    overlay.write_text(head + yaml.safe_dump({"experiments": {name: experiment}}, sort_keys=False, allow_unicode=True))
    return _call(overlay, name).study()


def _call(overlay: Path, name: str) -> Call:
    return Call(Path.cwd(), (str(overlay.absolute()),), (f"only=[{name}]",))


def _found(data: str) -> str:
    """The path of a file, also as seen from the folder in which make was called."""
    for folder in (Path.cwd(), Path(os.environ.get("PWD", "/"))):
        if (folder / Path(data).expanduser()).is_file():
            return str((folder / Path(data).expanduser()).absolute())
    return data


def _own(network: str) -> str:
    file, colon, function = network.rpartition(":")
    return f"{_found(file)}:{function}" if colon else network


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:
        sys.exit(f"{error.filename}: {told(error)}")
