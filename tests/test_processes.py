"""How processes that help end: well, with a word of their own, or without one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from eusml.commands.processes import run_processes
from eusml.data.parallel import in_order
from eusml.errors import DataError

pytestmark = pytest.mark.slow


def work(errand: tuple[str, Path]) -> None:
    """What each process does."""
    how, file = errand
    file.write_text("began")
    if how == "has helpers":
        assert list(in_order(abs, [-1, 2], 2, str)) == [1, 2]
    if how == "says":
        raise DataError("a file is missing")
    if how == "crashes":
        raise ZeroDivisionError
    if how == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)


def test_how_each_ended_is_said_and_all_are_waited_for(
    store_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hows = ["has helpers", "says", "crashes", "is killed"]
    run_processes(work, [(how, tmp_path / how) for how in hows])
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(hows)
    said = capfd.readouterr().out.splitlines()
    assert "  a process ended: a file is missing" in said
    assert "  process 3 crashed; what it left undone is done now" in said
    assert any(line.startswith("  process 4 was ended by signal 9") for line in said)
    assert not any(line.startswith(("  process 1 ", "  process 2 ")) for line in said)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes by Linux' /proc")
def test_processes_that_decode_images_do_not_outlive_a_killed_job(tmp_path: Path) -> None:
    files = [tmp_path / "1", tmp_path / "2"]
    job = subprocess.Popen([sys.executable, "-m", "tests.decoding_job", *map(str, files)])
    try:
        _wait_until(lambda: all(file.exists() and file.read_text() for file in files))
    finally:
        job.kill()
        job.wait()
    helpers = [int(file.read_text()) for file in files]
    _wait_until(lambda: not any(map(_lives, helpers)))


def _lives(pid: int) -> bool:
    """Whether it runs: who is not waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
