"""`make status`: how far the study is, in words, from what is finished by now; a run may be under way."""

import argparse
from functools import partial
from pathlib import Path

from study_of_call import asked, job_digest

from ntk_atlas.study.results import Progress, progress_of


def main() -> None:
    _, _, study = asked(argparse.ArgumentParser(description=__doc__))
    experiments = study.active()
    source, total = partial(job_digest, "train_networks"), Progress()
    for name, experiment in experiments.items():
        folder = Path("results", name)
        progress = progress_of(experiment, folder, source)
        total += progress
        print(f"{name}: {progress}; {_of_cube(folder / 'cube.nc', progress)}")
    if len(experiments) > 1:
        print(f"all: {total}")


def _of_cube(cube: Path, progress: Progress) -> str:
    """A cube beside missing networks is of an earlier config, code or data."""
    if not cube.is_file():
        return "no cube yet"
    return "its cube is there" if progress.finished_cells == progress.cells else "an earlier cube is there"


if __name__ == "__main__":
    main()
