"""The runner's end of a worker process."""

import json
import os
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).parent
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class MissingError(Exception):
    """A side cannot import what the row is about."""


class SideError(Exception):
    """A side failed."""


class Worker:
    """One side in a process of its own; a context manager."""

    def __init__(self, python: str | Path, side: str, threads: int):
        """Starts the process.

        Args:
            python: interpreter of the side's environment.
            side: module in `sides`.
            threads: threads and cores it may use.
        """
        self.side = side
        self._log = tempfile.TemporaryFile("w+")
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= {name: str(threads) for name in _THREAD_VARIABLES}
        environment |= {"OMP_WAIT_POLICY": "PASSIVE", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._process = subprocess.Popen(
            [str(python), str(HERE / "worker.py"), side, str(threads)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def ask(self, do: str, key: str = "case", **arguments) -> dict:
        """Sends one request and waits for its answer.

        Args:
            do: `prepare`, `time`, `memory` or `arrays`.
            key: name of the prepared case in the worker.
            **arguments: of the request.

        Returns:
            The answer.

        Raises:
            MissingError: the side's package or function does not exist.
            SideError: anything else went wrong, or the process died.
        """
        with suppress(BrokenPipeError):  # then there is no answer either
            self._process.stdin.write(json.dumps({"do": do, "key": key, **arguments}) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise SideError(f"{self.side}: the process ended (exit {self._process.wait()})\n{self._log.read()[-3000:]}")
        answer = json.loads(line)
        if "missing" in answer:
            raise MissingError(f"{self.side}: {answer['missing']}")
        if "error" in answer:
            raise SideError(f"{self.side}: {answer['error']}")
        return answer

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(BrokenPipeError):  # the process may have ended before
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()
