"""Real servers on 127.0.0.1, and what memory they take."""

import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.integration.conftest import BIN, Place


@dataclass(frozen=True)
class Server:
    """A command that serves, and all processes that it started."""

    base: str
    """Address without a path."""
    group: int
    """Process group of all its processes."""
    log: Path

    @property
    def processes(self) -> list[Path]:
        """Their folders in /proc."""
        return [stat.parent for stat in Path("/proc").glob("[0-9]*/stat") if _group(stat) == self.group]

    def forget_peak(self) -> None:
        """Let the peak begin at what is held now."""
        for process in self.processes:
            (process / "clear_refs").write_text("5")

    def memory_mb(self, what: str) -> float:
        """`VmRSS`, what all processes hold now, or `VmHWM`, the sum of their peaks."""
        texts = [(process / "status").read_text() for process in self.processes]
        return sum(int(found[1]) for text in texts if (found := re.search(rf"{what}:\s+(\d+) kB", text))) / 1000


def _group(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[2])
    except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        return 0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(environment: Mapping[str, str], log: Path, port: int, ready: str, *words: str) -> Iterator[Server]:
    """A command of MLflow's that serves on 127.0.0.1, once it answers; ended by its own process group."""
    environment = {**environment, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # eight processes, which nobody asks
    with log.open("w") as file:
        process = subprocess.Popen(
            [str(BIN / "mlflow"), *words], env=environment, stdout=file, stderr=file, start_new_session=True
        )
        try:
            base = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 120
            while True:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline
                try:
                    if requests.get(base + ready, timeout=5).ok:
                        break
                except requests.RequestException:
                    time.sleep(0.3)
            yield Server(base, process.pid, log)
        finally:
            subprocess.run(["kill", "--", f"-{process.pid}"], check=False)
            process.wait(timeout=30)


@contextmanager
def server(place: Place, port: int, ready: str, *words: str) -> Iterator[Server]:
    """The same with a place's store."""
    with started(place.environment, place.folder / f"server-{port}.log", port, ready, *words) as found:
        yield found


@contextmanager
def served_model(place: Place, uri: str) -> Iterator[Server]:
    """`mlflow models serve` of a model of the place's store."""
    port = free_port()
    words = ("models", "serve", "-m", uri, "--env-manager", "local", "-p", str(port), "-h", "127.0.0.1")
    with server(place, port, "/ping", *words) as found:
        yield found
