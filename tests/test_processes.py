"""How processes that help end: well, with a word of their own, or without one."""

import os
import signal
from pathlib import Path

import pytest

from eusml.commands.processes import run_processes
from eusml.errors import DataError

pytestmark = pytest.mark.slow


def work(errand: tuple[str, Path]) -> None:
    """What each process does."""
    how, file = errand
    file.write_text("began")
    if how == "says":
        raise DataError("a file is missing")
    if how == "crashes":
        raise ZeroDivisionError
    if how == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)


def test_how_each_ended_is_said_and_all_are_waited_for(
    store_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hows = ["ends well", "says", "crashes", "is killed"]
    run_processes(work, [(how, tmp_path / how) for how in hows])
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(hows)
    said = capfd.readouterr().out.splitlines()
    assert "  a process ended: a file is missing" in said
    assert "  process 3 crashed; what it left undone is done now" in said
    assert any(line.startswith("  process 4 was ended by signal 9") for line in said)
    assert not any(line.startswith(("  process 1 ", "  process 2 ")) for line in said)
