"""Processes of their own that need not import anything: forked from one that has, and has done nothing else.

A start of `python -m eusml` takes ten seconds of a core, most of them for imports, and tests of several processes
begin dozens.
"""

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from eusml.__main__ import main

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        # In this order: the commands, then what they import when they first need it.
        *("eusml.commands.main", "eusml.commands.tune", "tests.promoter"),
        *("plotly.offline", "psycopg", "sklearn.model_selection"),
        *("eusml.learning.tuning.page", "mlflow.cli", "mlflow.store.tracking.sqlalchemy_store"),
    ]
)
_LOCK = threading.Lock()
"""Two threads that ask the same child at the same time would both read its status, which is there once."""


class Forked:
    """`python -m eusml …` or `mlflow …`, with the methods of `subprocess.Popen`."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], log: Path, cwd: Path) -> None:
        """Begin; what it says goes to the log."""
        self._words = words
        log.open("w").close()
        with _LOCK:
            self._process: BaseProcess = PROCESSES.Process(target=_run, args=(words, dict(environment), log, cwd))
            self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Exit status; None while it runs."""
        with _LOCK:
            return self._process.exitcode

    def wait(self, timeout: float = 900.0) -> int:
        """Exit status, once it has ended; one that takes too long is killed."""
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                self._process.kill()
                raise subprocess.TimeoutExpired(self._words, timeout)
            time.sleep(0.02)
        return status

    def send_signal(self, number: int) -> None:
        """As `kill` does."""
        os.kill(self.pid, number)


def _run(words: Sequence[str], environment: Mapping[str, str], log: Path, cwd: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    sys.argv = [*words]
    if words[0] == "mlflow":
        from mlflow.cli import cli

        cli()
    sys.exit(main(words[1:]))
