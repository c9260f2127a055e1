"""A real Slurm of one node on this machine: installed if need be, started for a test, ended after it.

Ports are free ones and all state lies in a folder of its own, so daemons that another run left alive do no harm. The
configuration has to be at the default place as well: Snakemake's Slurm executor drops `SLURM_CONF`. What lies there is
set aside and put back.

    python tests/one_node_slurm.py      starts one and holds it until Ctrl-C, for trying things out
"""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "munged", "munge")
DEFAULT_CONF = Path("/etc/slurm/slurm.conf")
CPUS, MEMORY_MB = 8, 16000
"""What the node says it has. Jobs of the tests mostly wait or import: more of them than cores is what is wanted."""


class SlurmStartError(RuntimeError):
    """This machine cannot run a one-node Slurm; the message says why and what to do."""


@contextlib.contextmanager
def one_node_slurm() -> Iterator[Path]:
    """Starts a Slurm, and ends it with all its jobs.

    Yields:
        The folder with its logs.

    Raises:
        SlurmStartError: if it cannot be installed or started.
    """
    if os.geteuid() != 0:
        raise SlurmStartError("daemons that start jobs must belong to root: run this test as root")
    _install()
    _start_munge()
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="one-node-slurm-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        conf = _configuration(folder)
        stack.enter_context(_at_default_place(conf))
        for daemon in ("slurmctld", "slurmd"):
            stack.enter_context(_daemon(daemon, conf, folder))
            # Before the first daemon is there, nothing can be asked.
        _wait_for(
            "an idle node (`sinfo`)",
            lambda: "idle" in _output("sinfo", "--noheader", "--format=%T"),
            lambda: _ends_of_logs(folder),
        )
        stack.callback(_cancel_all)
        yield folder


def jobs(*, state: str = "running,pending") -> list[dict[str, str]]:
    """The jobs in the queue: `id`, `name`, `state`, `folder`."""
    lines = _output("squeue", "--noheader", f"--states={state}", "--format=%A|%j|%T|%Z").splitlines()
    return [dict(zip(("id", "name", "state", "folder"), line.split("|"), strict=True)) for line in lines]


def finished_states(folder: Path) -> set[str]:
    """States of all jobs of a folder that ended: COMPLETED, FAILED, TIMEOUT, CANCELLED, OUT_OF_MEMORY."""
    return {job["state"] for job in jobs(state="all") if job["folder"] == str(folder)}


def _install() -> None:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise SlurmStartError(
            f"{', '.join(missing)} not found, and no apt-get to install them: install Slurm and munge"
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(["apt-get", *command], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SlurmStartError(f"`apt-get {' '.join(command)}` failed:\n{done.stdout}{done.stderr}")


def _start_munge() -> None:
    """Uses a munged that answers; else starts one, which stays: others may have come to use it."""
    if _succeeds("munge", "--no-input"):
        return
    key = Path("/etc/munge/munge.key")
    if not key.is_file():
        key.parent.mkdir(parents=True, exist_ok=True)
        key.write_bytes(os.urandom(1024))
    owner = pwd.getpwnam("munge")
    for place in map(Path, ("/etc/munge", "/var/lib/munge", "/var/log/munge", "/run/munge")):
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o755 if place.name == "munge" and place.parts[1] == "run" else 0o700)
        for path in (place, *place.iterdir()):
            os.chown(path, owner.pw_uid, owner.pw_gid)
    key.chmod(0o400)
    Path("/run/munge/munged.pid").unlink(missing_ok=True)
    subprocess.run(["munged", "--force"], user="munge", group="munge", extra_groups=[], check=False)
    _wait_for("an answer of munged", lambda: _succeeds("munge", "--no-input"), lambda: "see /var/log/munge/munged.log")


def _configuration(folder: Path) -> Path:
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    settings = {
        "ClusterName": "tests",
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "SlurmctldPort": _free_port(),
        "SlurmdPort": _free_port(),
        "SlurmUser": "root",
        "AuthType": "auth/munge",
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": folder / "spool",
        "SlurmctldPidFile": folder / "slurmctld.pid",
        "SlurmdPidFile": folder / "slurmd.pid",
        "SlurmctldLogFile": folder / "slurmctld.log",
        "SlurmdLogFile": folder / "slurmd.log",
        # The node may say that it has more than there is.
        "SlurmdParameters": "config_overrides",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "MpiDefault": "none",
        "SwitchType": "switch/none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU_Memory",
        "SchedulerType": "sched/builtin",
        "SchedulerParameters": "sched_min_interval=0,batch_sched_delay=0",
        # Without control groups, memory is watched every second, and a job above its limit is killed.
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobAcctGatherFrequency": "task=1",
        "JobAcctGatherParams": "OverMemoryKill",
        "AccountingStorageType": "accounting_storage/none",
        "MinJobAge": 3600,
        "KillWait": 2,
        "ReturnToService": 2,
    }
    lines = [f"{key}={value}" for key, value in settings.items()]
    lines += [
        f"NodeName={host} NodeAddr=127.0.0.1 CPUs={CPUS} RealMemory={MEMORY_MB} State=UNKNOWN",
        f"PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP",
    ]
    conf = folder / "slurm.conf"
    conf.write_text("\n".join(lines) + "\n")
    return conf


@contextlib.contextmanager
def _at_default_place(conf: Path) -> Iterator[None]:
    aside = DEFAULT_CONF.with_name("slurm.conf.set-aside-by-a-test")
    DEFAULT_CONF.parent.mkdir(exist_ok=True)
    ours = DEFAULT_CONF.is_symlink() and "one-node-slurm-" in str(DEFAULT_CONF.readlink())  # of a killed test
    if ours:
        DEFAULT_CONF.unlink()
    elif DEFAULT_CONF.is_symlink() or DEFAULT_CONF.exists():
        DEFAULT_CONF.rename(aside)
    DEFAULT_CONF.symlink_to(conf)
    try:
        yield
    finally:
        DEFAULT_CONF.unlink(missing_ok=True)
        if aside.is_symlink() or aside.exists():
            aside.rename(DEFAULT_CONF)


@contextlib.contextmanager
def _daemon(name: str, conf: Path, folder: Path) -> Iterator[None]:
    with (folder / f"{name}.out").open("w") as out:
        process = subprocess.Popen([name, "-D", "-f", str(conf)], stdout=out, stderr=out, start_new_session=True)
    try:
        time.sleep(0.3)
        if process.poll() is not None:
            raise SlurmStartError(f"{name} ended at once (status {process.returncode}):\n{_ends_of_logs(folder)}")
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _cancel_all() -> None:
    subprocess.run(["scancel", "--user=root"], capture_output=True)
    with contextlib.suppress(SlurmStartError):
        _wait_for("the end of all jobs", lambda: not jobs(), str, seconds=10)


def _wait_for(what: str, condition: Callable[[], bool], details: Callable[[], str], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SlurmStartError(f"waited {seconds} s in vain for {what}:\n{details()}")
        time.sleep(0.1)


def _ends_of_logs(folder: Path) -> str:
    files = [*folder.glob("*.out"), *folder.glob("*.log")]
    return "\n".join(f"--- {file.name}\n" + "\n".join(file.read_text().splitlines()[-15:]) for file in files)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


if __name__ == "__main__":
    with one_node_slurm() as logs:
        print(f"Slurm is up (logs: {logs}); Ctrl-C ends it")  # noqa: T201
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(1)
