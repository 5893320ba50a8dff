"""The entry point `ui`, started for real: it leads to the runs, and leaves nothing behind when it ends."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pytest
import requests

from eusml.__main__ import main
from eusml.tracking import runs
from tests.integration.serving import free_port

pytestmark = [pytest.mark.slow, pytest.mark.server]


@pytest.fixture(scope="module")
def pipeline(store_folder: Path) -> str:
    """A store with a run of `main` that ended well, and a later one that did not; its id."""
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("test")
    assert experiment is not None
    ids = []
    for status in ("FINISHED", "FAILED"):
        run = client.create_run(experiment.experiment_id, tags={runs.STAGE: "main"}, run_name=f"study {status}")
        client.set_terminated(run.info.run_id, status)
        ids.append(str(run.info.run_id))
    return ids[0]


@contextmanager
def opened(*words: str) -> Iterator[tuple["subprocess.Popen[str]", dict[str, str]]]:
    """`python -m eusml ui` once it says where it is; its addresses by what they lead to."""
    with subprocess.Popen([sys.executable, "-m", "eusml", "ui", *words], stdout=subprocess.PIPE, text=True) as process:
        try:
            found = {}
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("Ctrl-C"):
                    break
                what, _, address = line.strip().partition("   ")
                found[what] = address
            yield process, found
        finally:
            process.terminate()


def processes_at(port: str) -> list[str]:
    """Command lines of all processes that were told of a port."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(file.read_text().split("\0"))
        except (OSError, UnicodeDecodeError):  # it ended meanwhile
            continue
    return [" ".join(words) for words in lines if port in words]


def test_it_leads_to_the_runs_and_ends_with_all_it_started(
    pipeline: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened() as (process, found):
        runs_at = found["runs of experiment 'test'"]
        base, _, place = runs_at.partition("/#/")
        port = base.rpartition(":")[2]
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", base)
        assert found["newest run of main"] == f"{base}/#/experiments/{place.split('/')[1]}/runs/{pipeline}"
        assert found["networks side by side"] == f"{runs_at}?viewStateShareKey=eusml-networks"
        assert "<title>MLflow" in requests.get(runs_at, timeout=30).text
        asked = requests.get(f"{base}/ajax-api/2.0/mlflow/runs/get", {"run_id": pipeline}, timeout=30).json()
        assert asked["run"]["info"]["run_name"] == "study FINISHED"
        assert len(processes_at(port)) >= 1

        # That very server as a store: it shows the runs itself, so nothing is started.
        with monkeypatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", base)
            assert main(["ui"]) == 0
        assert f"{base}/#/experiments/" in capsys.readouterr().out

        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)  # `mlflow run` sends it after Ctrl-C, too
        assert process.wait(timeout=30) == 0
        assert processes_at(port) == []
        with pytest.raises(requests.ConnectionError):
            requests.get(base, timeout=5)


def test_the_port_is_the_one_that_was_asked_for_or_said_to_be_taken(
    pipeline: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = str(other.getsockname()[1])
        assert main(["ui", "--ui.port", taken]) == 2
    assert f"port {taken} of 127.0.0.1 cannot be had" in capsys.readouterr().err
    port = free_port()
    with opened("--ui.port", str(port)) as (process, found):
        assert f"http://127.0.0.1:{port}/" in found["newest run of main"]
        process.terminate()
        assert process.wait(timeout=30) == 0
    assert processes_at(str(port)) == []


def test_where_nothing_is_recorded_it_says_what_to_do_and_makes_nothing(
    pipeline: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    assert main(["ui"]) == 2
    said = capsys.readouterr().err
    assert "nothing is recorded in experiment 'Default' yet: `mlflow run .` records a study there" in said
    assert "'test'" in said
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    assert main(["ui"]) == 2
    assert "nothing is recorded yet" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
