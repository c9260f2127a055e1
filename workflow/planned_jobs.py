"""The jobs that Snakemake plans for a study, read from the records of a dry run: `planned_jobs.py [options]`."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator


class _Plan(logging.Filter):
    """Prints each planned job as a line of JSON and lets only what is wrong through."""

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "rule_name", None) is not None and hasattr(record, "reason"):
            names = ("rule_name", "wildcards", "input", "output", "log", "benchmark", "reason")
            print(json.dumps({name: getattr(record, name) for name in names}, default=str), file=sys.__stdout__)
        return record.levelno >= logging.WARNING


def planned_jobs(*options: str) -> Iterator[dict]:
    """What a dry run with these options plans.

    Args:
        options: of Snakemake.

    Yields:
        Each job's rule, wildcards, files and Snakemake's reason.

    Raises:
        SystemExit: if Snakemake fails; what it said stands in the terminal.
    """
    run = subprocess.run([sys.executable, __file__, *options], stdout=subprocess.PIPE, text=True)
    if run.returncode:
        said = [line for line in run.stdout.splitlines() if not line.startswith('{"rule_name"')]
        sys.exit("\n".join(said) or "Snakemake could not plan the study: see the messages above")
    yield from (json.loads(line) for line in run.stdout.splitlines() if line.startswith('{"rule_name"'))


if __name__ == "__main__":
    from snakemake.cli import main
    from snakemake.logging import logger

    logger.addFilter(_Plan())
    main(["--dry-run", "--nolock", *sys.argv[1:]])
