"""Runs, and how finished ones are found again, against a real sqlite store."""

import json
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from eusml.errors import TrackingError
from eusml.learning.tuning.study import TrialRecord
from eusml.tracking import runs, trials
from eusml.tracking.lookup import find_finished, finished_below
from eusml.workers import working

TAGS = {"eusml.stage": "train"}
HERE = "0123456789abcdef"


def test_what_is_logged_is_read_back(store_folder: Path) -> None:
    client = MlflowClient()
    with runs.entry_run("job", {"eusml.entry_point": "main"}, HERE) as job:
        job.params({"cfg.train.lr": 0.1, "cfg.name": "x", "cfg.operations": ["a", "b"]})
        with runs.child_run(job, "train", TAGS) as child:
            with child.curve() as curve:
                for epoch in (1, 2, 3):
                    curve.add(epoch, {"curve/train_loss": 1 / epoch})
            child.table(pd.DataFrame({"a": [1]}), "a.csv")
            child.dataset(pd.DataFrame({"patient_id": ["p", "p"]}), "train", "d" * 64, "training", "phantom")
            child.note("# Result")
    parent, found = client.get_run(job.run_id), client.get_run(child.run_id)
    assert parent.data.params == {"cfg.train.lr": "0.1", "cfg.name": "x", "cfg.operations": '["a", "b"]'}
    assert found.data.tags["mlflow.parentRunId"] == job.run_id
    assert len(found.data.tags["eusml.git_commit"]) in {7, 40}
    assert found.data.tags["mlflow.note.content"] == "# Result"
    assert found.info.status == parent.info.status == "FINISHED"
    history = client.get_metric_history(child.run_id, "curve/train_loss")
    assert [(point.step, point.value) for point in history] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    dataset = found.inputs.dataset_inputs[0].dataset
    assert (dataset.name, dataset.digest) == ("train", "d" * 36)
    assert json.loads(dataset.profile) == {"num_rows": 2, "num_patients": 1}
    assert found.data.tags["eusml.data_digest"] == "d" * 64
    assert runs.fetch(child.run_id, "a.csv", store_folder / "fetched").read_text() == "a\n1\n"
    with pytest.raises(TrackingError, match=r"b\.csv of run"):
        runs.fetch(child.run_id, "b.csv", store_folder / "fetched")


def test_a_description_too_long_for_mlflow_goes_on_in_an_artifact(store_folder: Path) -> None:
    text = "\n".join(f"line {number}" for number in range(2000))
    with runs.entry_run("job", TAGS, HERE) as run:
        run.note(text)
    shown = MlflowClient().get_run(run.run_id).data.tags["mlflow.note.content"]
    *lines, _, pointer = shown.split("\n")
    assert lines == text.split("\n")[: len(lines)]
    assert "description.md" in pointer
    assert runs.fetch(run.run_id, "description.md", store_folder / "fetched").read_text() == text


def test_a_failed_run_says_why_and_is_not_reused(store_folder: Path) -> None:
    opened: list[runs.Run] = []

    def fail() -> None:
        with runs.entry_run("x", {runs.FINGERPRINT: "f1"}, HERE) as run, run.curve() as curve:
            opened.append(run)
            curve.add(1, {"loss": 2.0})
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    (run,) = opened
    found = MlflowClient().get_run(run.run_id)
    assert found.info.status == "FAILED"
    assert found.data.tags["eusml.error"] == "ValueError: broken"
    assert found.data.metrics["loss"] == 2.0
    assert find_finished(run.experiment_id, "f1") is None


def test_a_run_that_mlflow_opened_for_a_command_without_one_is_named(
    store_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient()
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    runs.name_given_run("quick: history", {})
    assert client.search_runs(["0"]) == []
    run_id = client.create_run("0", run_name="wise-lynx-282").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    runs.name_given_run("quick: history", {runs.STAGE: "history"})
    found = client.get_run(run_id)
    assert found.info.run_name == "quick: history"
    assert found.data.tags[runs.STAGE] == "history"


def test_a_finished_run_is_found_by_its_fingerprint(store_folder: Path) -> None:
    with runs.entry_run("x", {runs.FINGERPRINT: "f2"}, HERE) as run:
        assert find_finished(run.experiment_id, "f2") is None
    found = find_finished(run.experiment_id, "f2")
    assert found is not None
    assert found.run_id == run.run_id


def test_what_ended_well_below_a_run_is_found_in_its_order(store_folder: Path) -> None:
    with runs.entry_run("above", {}, HERE) as above:
        for name in ("first", "second"):
            with runs.child_run(above, name, {}):
                time.sleep(0.002)  # MLflow orders by milliseconds
        with pytest.raises(ValueError, match="broken"), runs.child_run(above, "third", {}):
            raise ValueError("broken")
        with runs.child_run(above, "open", {}):
            found = finished_below(above)
    assert [one.name for one in found] == ["first", "second"]
    assert all(0 <= one.seconds < 60 for one in found)


def test_a_data_set_that_another_process_records_at_the_same_moment_is_asked_about_again(
    store_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, refused = pd.DataFrame({"patient_id": ["p"]}), [True]
    record = MlflowClient.log_inputs

    def log_inputs(self: MlflowClient, *given: Any) -> None:
        if refused and refused.pop():
            raise MlflowException("UNIQUE constraint failed: datasets.experiment_id, datasets.name, datasets.digest")
        record(self, *given)

    monkeypatch.setattr(MlflowClient, "log_inputs", log_inputs)
    with runs.entry_run("x", {}, HERE) as run:
        run.dataset(table, "train", "0" * 64, "training", "somewhere")
    (logged,) = MlflowClient().get_run(run.run_id).inputs.dataset_inputs
    assert logged.dataset.name == "train"
    refused.extend([True, True])  # and no store that fails for good is taken for that
    with pytest.raises(TrackingError), runs.entry_run("y", {}, HERE) as run:
        run.dataset(table, "test", "0" * 64, "training", "somewhere")


def test_runs_that_a_kill_left_open_are_ended_and_those_of_others_left_alone(
    store_folder: Path, tmp_path: Path
) -> None:
    client = MlflowClient()
    with working(tmp_path / "here") as gone:
        pass
    with working(tmp_path / "here") as worker, working(tmp_path / "here") as beside, working(tmp_path / "there") as far:
        with runs.entry_run("now", {}, worker.name) as run:
            killed, alive, other = (
                client.create_run(run.experiment_id, tags={runs.WORKER: who.name}).info.run_id
                for who in (gone, beside, far)
            )
            runs.end_abandoned(run, worker)
    found = client.get_run(killed)
    assert found.info.status == "KILLED"
    assert found.data.tags["eusml.superseded_by"] == run.run_id
    for left_alone in (alive, other):
        assert client.get_run(left_alone).info.status == "RUNNING"
    assert client.get_run(run.run_id).info.status == "FINISHED"


def trial(number: int, state: str, **known: Any) -> TrialRecord:
    values: dict[str, Any] = {
        "settings": {"train.lr": 0.1 / (number + 1)}, "value": None, "fold_values": (), "curve": {1: 0.9, 2: 0.8},
        "started": datetime(2026, 1, 1, 12, 0, 0), "ended": datetime(2026, 1, 1, 12, 0, 30), "error": None,
        "is_default": number == 0, "worker": None, "recorded_as": None,
    }  # fmt: skip
    return TrialRecord(number, state, **{**values, **known})


def test_every_trial_of_a_study_is_recorded_once_whoever_died_and_however_often_it_is_done(store_folder: Path) -> None:
    with runs.entry_run("tune", TAGS, HERE) as job:
        study = trials.open_study_run(job, "tune a", {})
        records = [
            trial(0, "complete", value=0.7, fold_values=(0.6, 0.8)),
            trial(1, "pruned"),
            trial(2, "failed", error="the loss became nan"),
            trial(3, "lost", recorded_as=trials.begin_trial(study, 3, {"train.lr": 0.025}, {})),
            trial(4, "waiting"),
        ]
        for _ in range(2):
            trials.complete_trials(study, records, {})
            kept = [trials_of(study)[number].info.run_id for number in (0, 1, 2)]
            records[:3] = [replace(record, recorded_as=kept[record.number]) for record in records[:3]]
        trials.end_study_run(study)
    found = trials_of(study)
    assert [found[n].info.status for n in sorted(found)] == ["FINISHED", "KILLED", "FAILED", "KILLED"]
    assert [found[n].data.tags["eusml.trial_state"] for n in sorted(found)] == ["complete", "pruned", "failed", "lost"]
    assert found[0].data.params == {"cfg.train.lr": "0.1"}
    assert found[0].data.metrics == {
        "trial": 0.0, "seconds": 30.0, "objective": 0.7, "inner/fold_0": 0.6, "inner/fold_1": 0.8, "inner/loss": 0.8,
    }  # fmt: skip
    notes = [found[n].data.tags["mlflow.note.content"] for n in (0, 1, 2)]
    assert notes[0] == "The settings as they stood before tuning."
    assert notes[1].startswith("Pruned after epoch 2 of the first inner fold")
    assert notes[2] == "Failed: the loss became nan"
    assert found[2].data.tags["eusml.error"] == "the loss became nan"


def trials_of(study: runs.Run) -> dict[int, Run]:
    below = MlflowClient().search_runs([study.experiment_id], f"tags.mlflow.parentRunId = '{study.run_id}'")
    found = {int(run.data.tags["eusml.trial"]): run for run in below}
    assert len(found) == len(below)
    return found


def test_a_store_that_fails_while_a_job_runs_is_said(store_folder: Path) -> None:
    def fail() -> None:
        with runs.entry_run("x", {}, HERE):
            raise MlflowException("gone")

    with pytest.raises(TrackingError, match="failed: gone"):
        fail()
