"""Counts the judge's words in every world and writes the table: `python tests/worlds/run.py --worlds 2000`.

Rows whose code has not changed since they were counted are kept, and rows on whose first studies the judge still says
the same words (`--again` counts all of them anew). Writes tests/worlds/results.csv and the table in docs/claims.md.
"""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from worlds.registry import WORLDS
from worlds.table import RESULTS, code_digests, read_results, still_holds, write_documents, write_results
from worlds.world import Counts


def count(place: int, n_studies: int) -> tuple[int, Counts, float]:
    start = time.perf_counter()
    return place, WORLDS[place].count(n_studies), time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=2000, help="studies of each world")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--only", default="", help="rows whose claim or name has this in it")
    parser.add_argument("--again", action="store_true", help="count rows that are known already too")
    asked = parser.parse_args()
    results, digests = read_results(RESULTS), code_digests()
    waiting = []
    for place, world in enumerate(WORLDS):
        known = results.get((world.claim, world.name))
        if asked.only not in f"{world.claim} {world.name}":
            continue
        if asked.again or known is None or not still_holds(world, known, digests[place], asked.worlds):
            waiting.append(place)
        elif known.digest != digests[place]:
            results = write_results(RESULTS, results, world, known.counts, digests[place])
    with ProcessPoolExecutor(asked.jobs) as pool:
        for found in [pool.submit(count, place, asked.worlds) for place in waiting]:
            place, counts, seconds = found.result()
            world = WORLDS[place]
            print(f"{world.claim}, {world.name}: {counts} in {seconds:.0f} s", flush=True)  # noqa: T201
            results = write_results(RESULTS, results, world, counts, digests[place])
    write_documents(results)


if __name__ == "__main__":
    main()
