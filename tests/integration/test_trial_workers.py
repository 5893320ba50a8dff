"""One start of `tune` that takes trials in two processes of its own, and what becomes of them when one is killed."""

import os
import signal
import time
from pathlib import Path

import mlflow
import pytest

from tests.integration.conftest import Place, helpers_of, kill_when
from tests.integration.test_tune_workers import check_store, check_study, start, trials_in_the_journal_of, tuning_place

pytestmark = pytest.mark.slow

TRIALS = 6


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def trials_told(log: Path) -> int:
    return log.read_text().count("  trial ")


def experiment_id(place: Place) -> str:
    client = mlflow.MlflowClient(tracking_uri=place.environment["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    return str(experiment.experiment_id)


def test_workers_end_with_their_start_and_a_start_survives_a_worker(tmp_path: Path) -> None:
    place, words = tuning_place(tmp_path / "here", trials=TRIALS), ("--tune.workers", "2")
    log = place.folder / "first.log"
    job = start(place, log, *words)
    begun: set[int] = set()

    def is_at_work() -> bool:
        begun.update(helpers_of(job.pid))
        return len(begun) == 2 and trials_told(log) >= 2

    kill_when(job, is_at_work)
    deadline = time.monotonic() + 30
    while any(map(is_alive, begun)):
        assert time.monotonic() < deadline, "they outlive the process that started them"
        time.sleep(0.05)
    assert trials_told(log) < TRIALS

    log = place.folder / "second.log"
    job = start(place, log, *words)
    while not (trials_told(log) and (workers := helpers_of(job.pid))):
        assert job.poll() is None, log.read_text()
        time.sleep(0.02)
    os.kill(workers.pop(), signal.SIGKILL)
    assert job.wait(timeout=400) == 0, log.read_text()

    trials = trials_in_the_journal_of(place)
    check_study(trials, wanted=TRIALS, workers=2)
    check_store(place.environment["MLFLOW_TRACKING_URI"], experiment_id(place), trials)
    assert "2 workers, CPU threads of each: 1" in log.read_text()
    assert "reused: the study" in place.told("tune", *words, "--train.offline", "false")
