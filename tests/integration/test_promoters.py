"""Promoters that race for the same alias, and die in the middle, on real stores."""

import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from eusml.tracking import history, store
from eusml.tracking.history import History
from eusml.tracking.integrity import FILES
from tests.integration.forked import PROCESSES
from tests.integration.serving import free_port, started
from tests.promoter import promote
from tests.stores import empty_store

pytestmark = [pytest.mark.slow, pytest.mark.server]
ALIAS = "champion"


@pytest.fixture(scope="module")
def tracking_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Addresses of a store and of a server of it."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    address = empty_store(folder)
    words = ("server", "--backend-store-uri", address, "-p", str(port), "--host", "127.0.0.1", "--workers", "2")
    with started(os.environ, folder / "server.log", port, "/health", *words) as found:
        yield address, found.base


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Of the registered model that is raced for; some tests share a store."""
    return "eusml-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:8]


@pytest.fixture
def uri(request: pytest.FixtureRequest, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store in which a registered model has two versions, and no champion yet."""
    if request.param == "http":
        address, base = request.getfixturevalue("tracking_server")
    elif request.param == "postgresql":
        address = base = request.getfixturevalue("postgresql")
    else:
        address = base = empty_store(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    store.connect()
    client = MlflowClient()
    history.begin(name, ALIAS, "0", {}, "text")
    for version in (1, 2):
        client.create_model_version(name, f"/nowhere/{version}", tags={FILES: f"f{version}"})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", base)
    return str(base)


def promoter(name: str, version: int, how: str, start: Path, log: Path, rounds: int) -> BaseProcess:
    log.touch()
    arguments = (os.environ["MLFLOW_TRACKING_URI"], name, rounds, str(version), how, start, log)
    process = PROCESSES.Process(target=promote, args=arguments)
    process.start()
    return process


def until(log: Path, word: str, process: BaseProcess) -> None:
    deadline = time.monotonic() + 120
    while word not in log.read_text():
        assert process.is_alive(), log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def read(name: str) -> History:
    known = history.read(name, ALIAS)
    assert known is not None
    return known


RACES = [
    ("sqlite", "locked", 20),
    ("postgresql", "locked", 20),
    # What a store without a lock rests on, such as a tracking server.
    ("sqlite", "bare", 20),
    ("postgresql", "bare", 20),
    ("http", "bare", 20),
]


@pytest.mark.parametrize(("uri", "how", "rounds"), RACES, indirect=["uri"])
def test_two_promoters_many_times_each(uri: str, name: str, how: str, rounds: int, tmp_path: Path) -> None:
    logs = [tmp_path / f"promoter{version}.log" for version in (1, 2)]
    start = tmp_path / "start"
    racing = [promoter(name, version, how, start, log, rounds) for version, log in zip((1, 2), logs, strict=True)]
    for log, process in zip(logs, racing, strict=True):
        until(log, "ready", process)
    start.touch()
    seen: set[str | None] = set()
    gaps = 0
    while any(process.is_alive() for process in racing):
        try:
            found = history.holder(name, ALIAS)
        except MlflowException:  # the store was busy
            continue
        gaps += found is None and bool(seen - {None})
        seen.add(found)
    texts = [log.read_text() for log in logs]
    assert [process.exitcode for process in racing] == [0, 0], "\n".join(texts)
    wrote = [[int(line.split()[1]) for line in text.splitlines() if line.startswith("wrote")] for text in texts]
    lost = sum(line.startswith("lost") for text in texts for line in text.splitlines())

    # Nobody overwrote anybody: each of the entries that a promoter believes it wrote is there, and no other.
    known = read(name)
    assert [len(numbers) for numbers in wrote] == [rounds, rounds]
    assert sorted(wrote[0] + wrote[1]) == list(range(1, 2 * rounds + 1)) == [entry.number for entry in known.entries]
    for version, numbers in enumerate(wrote, start=1):
        by_it = [entry for entry in known.entries if entry.who == str(version)]
        assert [entry.number for entry in by_it] == numbers
        assert [entry.decision_sha256 for entry in by_it] == [f"{version}-{n}" for n in range(rounds)]
    # Each knows whom it displaced, and the alias was on a version from the first entry to the last, and is where it
    # belongs.
    assert [entry.before for entry in known.entries[1:]] == [entry.after for entry in known.entries[:-1]]
    assert gaps == 0
    assert seen <= {None, "1", "2"}
    assert history.holder(name, ALIAS) == known.entries[-1].after
    print(f"{how} at {uri}: {lost} times somebody else was first")
    assert lost > 0 or how == "locked"  # else there was no race


@pytest.mark.parametrize("uri", ["sqlite", "postgresql"], indirect=True)
def test_the_lock_is_held_by_one_and_not_waited_for_for_ever(uri: str) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with store.exclusive():
            held.set()
            assert done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(60)
    began = time.monotonic()
    with store.exclusive(1.0):  # as if the holder had been stopped
        assert 0.9 <= time.monotonic() - began < 10
    done.set()
    holder.join()
    began = time.monotonic()
    with store.exclusive():
        assert time.monotonic() - began < 10


@pytest.mark.parametrize("uri", ["sqlite", "postgresql", "http"], indirect=True)
def test_promoters_killed_again_and_again_leave_nothing_locked_and_nothing_half_done(
    uri: str, name: str, tmp_path: Path
) -> None:
    how = "bare" if uri.startswith("http") else "locked"
    (tmp_path / "start").touch()
    believed: set[tuple[str, str]] = set()
    for round_ in range(4):
        log = tmp_path / f"killed{round_}.log"
        process = promoter(name, 1 + round_ % 2, how, tmp_path / "start", log, rounds=10_000)
        until(log, "wrote", process)
        time.sleep(0.03 * round_)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        lines = log.read_text().splitlines()
        believed |= {(line.split()[1], str(1 + round_ % 2)) for line in lines if line.startswith("wrote")}
    known = read(name)  # which checks the chain
    assert believed <= {(str(entry.number), entry.who) for entry in known.entries}
    history.follow(known)
    assert history.holder(name, ALIAS) == known.entries[-1].after
    # The next one is held up by nobody.
    log = tmp_path / "last.log"
    last = promoter(name, 1, how, tmp_path / "start", log, rounds=1)
    last.join(120)
    assert last.exitcode == 0, log.read_text()
    assert read(name).entries[-1].who == "1"
    assert history.holder(name, ALIAS) == "1"
