"""Which code ran, as tags of every run."""

import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

from eusml.digests import LIBRARIES


@cache
def code_tags() -> dict[str, str]:
    """Which code ran: the commit, and whether the working tree differed from it."""
    root = Path(__file__).parents[2]

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    commit, status = git("rev-parse", "HEAD"), git("status", "--porcelain")
    if commit is None or status is None:
        return {"eusml.git_commit": "unknown", "eusml.git_dirty": "unknown"}
    return {"eusml.git_commit": commit, "eusml.git_dirty": str(bool(status)).lower()}


def environment() -> dict[str, str]:
    """What a job runs on: system, processor, Python and libraries; no name of a machine or a person."""
    system = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "Python": platform.python_version(),
    }
    return system | {name: version(name) for name in (*LIBRARIES, "captum", "mlflow", "optuna")}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # no Linux
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} threads" if names else "unknown"


def commit_is_known() -> bool:
    """Whether `code_tags` can say which code runs."""
    return code_tags()["eusml.git_commit"] != "unknown"
