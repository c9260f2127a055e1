"""`make run`: runs the study to its report, also after a run before it was killed.

It takes a lock of its own, cancels jobs in the queue and ends workers that a killed run left behind (they would write
into results that the new run computes), unlocks Snakemake, removes results that are damaged, runs the study, and writes
the report. Asked to end (Ctrl-C, SIGTERM, a closed terminal), it ends Snakemake and its workers at once: finished
units stay, and half trained ones their last state.
"""

import argparse
import contextlib
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from damaged import remove_damaged, remove_foreign, remove_half_written
from folder_lock import FolderLockError, locked
from orphans import end_workers, live_snakemake
from slurm_queue import cancel_jobs, end_lost_jobs, queued_jobs, wait_for_submissions
from snakemake_process import SNAKEMAKE, StopAskedError, StopSignals, run_snakemake
from study_of_call import add_options, call_of

from ntk_atlas.study.problems import ConfigError
from ntk_atlas.study.results import missing_results, page_file

log = logging.getLogger("ntk-atlas")
LEAST_FREE_MB = 50
"""With less room on the disk no run starts, and a run that failed most likely failed for want of it."""


def folder_problem(folder: Path) -> str | None:
    """What keeps a run from writing in its folder, in a sentence; None if nothing does."""
    for place in (folder, folder / "results", folder / ".snakemake"):
        probe = place / f".ntk-atlas-{os.getpid()}"
        try:
            place.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            return f"cannot write in {place} ({error.strerror}): make it writable, or choose another with --directory"
        free = shutil.disk_usage(place).free // 2**20
        if free < LEAST_FREE_MB:
            return f"the disk of {place} is full ({free} MiB free): make room"
    return None


def end_what_a_killed_run_left(folder: Path, lock: Path, *, force: bool) -> str | None:
    """Cancels jobs in the queue and ends workers here, of a run that was started on this machine.

    Args:
        folder: of the results.
        lock: this launcher's lock file, which names the machine of the last run.
        force: go on whatever machine the last run was on: it may be alive there, which cannot be seen.

    Returns:
        What keeps a run from starting, in a sentence; None if nothing does.
    """
    last, here = lock.read_text().strip(), socket.gethostname()
    wait_for_submissions(folder)
    jobs = queued_jobs(folder)
    if jobs and not (force or last == here):
        return (
            f"{len(jobs)} job(s) of this folder are in the queue ({', '.join(jobs[:5])}), of a run on "
            f"{last or 'a machine that is not known'}: wait for it; if it is dead, add --cancel-queued"
        )
    if is_locked(folder) and last not in ("", here) and not force:
        return f"a run on {last} has locked {folder}: wait for it; if it is dead, add --cancel-queued"
    if jobs and (jobs := cancel_jobs(folder, jobs)):
        return f"{len(jobs)} job(s) of a run before this one ({', '.join(jobs[:5])}) do not end: see `squeue --me`"
    end_lost_jobs(folder)
    end_workers(folder)
    if left := live_snakemake(folder, of_jobs=True):
        return f"a job of another run (process {left[0].pid}) is at work in {folder}: wait for it, or end it"
    lock.write_text(here)
    return None


def is_locked(folder: Path) -> bool:
    """Whether Snakemake's lock is there, of a run that is alive or was killed."""
    locks = folder / ".snakemake" / "locks"
    return locks.is_dir() and any(locks.iterdir())


def unlock(folder: Path, study: list[str]) -> None:
    """Removes Snakemake's lock if a killed run left one."""
    if is_locked(folder):
        log.info("unlocking the folder: the run before this one was killed")
        subprocess.run([*SNAKEMAKE, *study, "--unlock", "--quiet", "all"])


def arguments_of_the_call() -> tuple[argparse.Namespace, list[str]]:
    """What this launcher understands, and what it only passes on to the run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--unlock-only", action="store_true", help="end orphans and unlock, run nothing")
    parser.add_argument("--report-only", action="store_true", help="write the report of what is finished, run nothing")
    parser.add_argument(
        "--cancel-queued", action="store_true", help="the last run is dead, wherever it was: cancel its jobs, unlock"
    )
    add_options(parser)
    parser.add_argument("--dry-run", "-n", action="store_true", help="only say what would run")
    return parser.parse_known_args()


def main() -> int:
    """Runs everything; returns the exit status."""
    call, passed_on = arguments_of_the_call()
    logging.basicConfig(level=logging.INFO, format="== %(message)s")
    with StopSignals() as stops:
        try:
            return locked_run(call, passed_on, stops)
        except StopAskedError as asked:
            log.error("stopped: finished work is kept, the same command goes on")
            return 128 + asked.args[0]
        except (ConfigError, FolderLockError) as error:
            log.error("%s", error)
            return 1


def locked_run(call: argparse.Namespace, passed_on: list[str], stops: StopSignals) -> int:
    """Runs everything unless another run is under way in the folder, or something is wrong with it."""
    folder = call.directory.resolve()
    if problem := folder_problem(folder):
        log.error("nothing was run: %s", problem)
        return 1
    with locked(folder) as lock:
        if running := live_snakemake(folder):
            log.error("snakemake (process %d) is at work in %s: wait for it, or end it", running[0].pid, folder)
            return 1
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        asked = call_of(call)
        settings = None if call.unlock_only else asked.study()  # `ConfigError` says what is wrong, before anything runs
        study = asked.options
        os.environ["NTK_ATLAS_LAUNCHER"] = "run.py"
        if call.dry_run:
            return run_study(call, study, ["--dry-run", "--nolock", *passed_on], stops, folder)
        if problem := end_what_a_killed_run_left(folder, lock, force=call.cancel_queued):
            log.error("nothing was run: %s", problem)
            return 1
        unlock(folder, study)
        if call.unlock_only:
            return 0
        if call.report_only:
            with contextlib.chdir(folder):  # which the config's paths are relative to
                missing = missing_results(settings, Path("results"))
            if missing:
                log.error(
                    "the report was not written: %d results are not there yet, for example %s: `make run` makes them, "
                    "and writes it", len(missing), missing[0],
                )  # fmt: skip
                return 1
            return write_report(call, study, stops, folder)
        try:
            remove_half_written(folder / "results")
            remove_damaged(folder / "results")
            remove_foreign(settings, folder / "results")
        except OSError as error:  # of what lies around a file: rights, a disk that does not answer
            log.error("nothing was run: %s cannot be read or removed (%s)", error.filename, error.strerror)
            return 1
        return run_study(call, study, passed_on, stops, folder) or write_report(call, study, stops, folder)


def run_study(
    call: argparse.Namespace, study: list[str], passed_on: list[str], stops: StopSignals, folder: Path
) -> int:
    """Runs the study; returns the exit status."""
    start = time.monotonic()
    log.info("running the study (each job's progress is in logs/)")
    given = any(word.startswith(("--cores", "-c", "--profile", "--jobs", "-j")) for word in passed_on)
    cores = [] if given else ["--cores", "all"]
    status = run_snakemake(stops, *study, *cores, *passed_on, folder=folder / "results")
    if status:
        log.error("the study did not finish: %s; finished work is kept", reason(folder))
    elif not call.dry_run:
        log.info("study finished in %.0f s", time.monotonic() - start)
    return status


def write_report(call: argparse.Namespace, study: list[str], stops: StopSignals, folder: Path) -> int:
    """Writes the report and says where to look; returns the exit status."""
    log.info("writing the report")
    status = run_snakemake(stops, *study, "--report", call.report, "--quiet", "rules", folder=folder / "results")
    if status == 0:
        page = page_file(call_of(call).files)
        open_on_the_page(folder / call.report, page)
        log.info(
            "done: open %s in a browser; all figures and tables are in %s, cubes are results/<experiment>/cube.nc",
            page, call.report,
        )  # fmt: skip
    else:
        log.error("the report was not written: %s; results are complete", reason(folder))
    return status


_OPENING = """<script>
// Added by NTK Atlas. Browsers refuse addresses of some MB, as which the report has pages: they get short ones.
for (const [path, result] of Object.entries(results)) {
  if (!path.endsWith(".html") || !String(result.data_uri).startsWith("data:")) continue;
  const bytes = Uint8Array.from(atob(result.data_uri.split(",")[1]), (letter) => letter.charCodeAt(0));
  result.data_uri = URL.createObjectURL(new Blob([bytes], {type: "text/html"}));
}
(function open() {
  const page = results["%s"];
  if (!page) return;
  if (typeof app === "undefined" || !app) { setTimeout(open, 20); return; }
  app.setView({content: "html", contentPath: page.data_uri, resultPath: "%s"});
})();
</script>
</body>"""


def open_on_the_page(report: Path, page: str) -> None:
    """Has a report open on the page of the study in place of the graph of rules, which is one click away.

    Args:
        report: an HTML report; others (zip) are left alone.
        page: the page, as the report has it.
    """
    if report.suffix != ".html":
        return
    text = report.read_text(encoding="utf-8")
    before, end, after = text.rpartition("</body>")
    if end:
        report.write_text(before + _OPENING % (page, page) + after, encoding="utf-8")


def reason(folder: Path) -> str:
    """Why Snakemake failed and what to do: the disk, or what it said itself."""
    problem = folder_problem(folder)
    return f"{problem}, and run again" if problem else "see the messages above; run again to go on"


if __name__ == "__main__":
    sys.exit(main())
