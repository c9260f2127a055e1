"""What a run was measured on and with: number of cores, CPU model, versions; nothing that names the machine."""

import json
import os
import re
import subprocess
from pathlib import Path

_VERSIONS = """
import json
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in NAMES:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def machine() -> dict:
    """Returns `cores` this process may use and the `cpu` model."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    information = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*:\s*(.+)", information.read_text()) if information.exists() else None
    return {"cores": cores, "cpu": model[1].strip() if model else "an unnamed CPU"}


def versions(python: str | Path, names: tuple[str, ...]) -> dict[str, str]:
    """Returns the versions of those packages that an environment has."""
    code = _VERSIONS.replace("NAMES", repr(names))
    return json.loads(subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout)
