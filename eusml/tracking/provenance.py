"""Which code ran, as tags of every run."""

import subprocess
from functools import cache
from pathlib import Path


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


def commit_is_known() -> bool:
    """Whether `code_tags` can say which code runs."""
    return code_tags()["eusml.git_commit"] != "unknown"
