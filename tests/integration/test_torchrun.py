"""The real `torchrun -m eusml train`: rank 0 alone speaks, and one process is killed."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.integration.conftest import Place, make_place

pytestmark = pytest.mark.slow

TOGETHER = ("torchrun", "--standalone", "--nproc-per-node=2", "--max-restarts=1", "-m", "eusml")
EPOCHS = 4


def ranks_below(launcher: int) -> dict[str, int]:
    """Rank to process id of the processes that `torchrun` started."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1]) if folder.name.isdigit() else 0
            if parent == launcher:
                environment = dict(
                    entry.partition("=")[::2] for entry in (folder / "environ").read_text().split("\0") if entry
                )
                found[environment["RANK"]] = int(folder.name)
        except (OSError, KeyError):
            continue
    return found


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, str]:
    """A training by two processes of which the second was killed while it trained, and what was said."""
    place = make_place(tmp_path_factory.mktemp("torchrun"), epochs=EPOCHS)
    log = place.folder / "log.txt"
    words = [*TOGETHER, "evaluate", "--experiment", str(place.experiment), "--train.offline", "false"]
    with log.open("wb") as file:
        launcher = subprocess.Popen(
            words, env=dict(place.environment), stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
    deadline = time.monotonic() + 240
    while not list((place.folder / "work").glob("train/*/state.pt")):
        assert launcher.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    os.kill(ranks_below(launcher.pid)["1"], signal.SIGKILL)
    assert launcher.wait(timeout=300) == 0, log.read_text()
    return place, log.read_text()


def test_the_training_went_on_and_every_epoch_is_recorded_once(killed: tuple[Place, str]) -> None:
    place, said = killed
    client = MlflowClient(tracking_uri=place.environment["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    finished = client.search_runs([experiment.experiment_id], "tags.`eusml.stage` = 'train' and status = 'FINISHED'")
    (run,) = [run for run in finished if "eusml.weights_sha256" in run.data.tags]
    curve = client.get_metric_history(run.info.run_id, "curve/train_loss")
    assert [point.step for point in sorted(curve, key=lambda point: point.step)] == list(range(1, EPOCHS + 1))
    assert "2 processes" in said
    assert "went on after epoch" in said


def test_rank_0_alone_has_runs_and_no_case_is_counted_twice(killed: tuple[Place, str]) -> None:
    place, said = killed
    client = MlflowClient(tracking_uri=place.environment["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    entries = client.search_runs([experiment.experiment_id], "tags.`eusml.entry_point` = 'evaluate'")
    # Whoever notices first that the other one died: rank 0, whose run fails, or torchrun, which ends it.
    assert sorted(run.info.status for run in entries) in (["FAILED", "FINISHED"], ["FINISHED", "KILLED"])
    (finished,) = [run for run in entries if run.info.status == "FINISHED"]
    assert finished.data.metrics["test/accuracy_total"] == 5
    assert said.count("test: accuracy") == 1
