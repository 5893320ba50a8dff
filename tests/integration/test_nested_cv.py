"""Nested cross-validation end to end, killed in between; and what its model says of itself."""

import os
import signal
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from tests.integration.conftest import Place, helpers_of, kill_when, make_place, wait_until
from tests.integration.report_pages import english_words, read_page, unsaid

pytestmark = pytest.mark.slow

NESTED = """
protocol: {kind: nested_cv, folds: 2}
tune:
  enabled: true
  trials: 2
  folds: 2
  space:
    train.lr: {low: 1.0e-4, high: 1.0e-2, log: true}
"""


def nested_place(folder: Path) -> Place:
    folder.mkdir()
    place = make_place(folder, epochs=1)
    lines = place.experiment.read_text().splitlines()
    text = "\n".join(line for line in lines if "name: resnet50" not in line)
    place.experiment.write_text(text + "\n" + NESTED)
    return place


SETTINGS = ("--train.offline", "false")


def command(place: Place) -> list[str]:
    return ["main", "--experiment", str(place.experiment), *SETTINGS]


def results(place: Place) -> tuple[pd.DataFrame, dict[str, str], "mlflow.MlflowClient"]:
    """Answers to all cases, and tags of the registered model."""
    client = mlflow.MlflowClient(tracking_uri=place.environment["MLFLOW_TRACKING_URI"])
    version = client.get_model_version_by_alias("eusml-phantom-resnet34", "champion")
    file = client.download_artifacts(version.tags["eusml.evaluation_run"], "predictions_test.csv")
    return pd.read_csv(file), {**version.tags, "description": version.description}, client


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A cross-validation that nothing disturbed."""
    place = nested_place(tmp_path_factory.mktemp("nested") / "whole")
    # What is tuned beforehand, by any number of workers, `main` takes over.
    assert "2 outer folds: every case is held out once" in place.told("tune", *SETTINGS)
    said = place.told("main", *SETTINGS)
    assert all(f"[tune {name}] reused" in said for name in ("resnet34-1_1", "resnet34-1_2", "resnet34"))
    return place


def test_every_case_is_answered_once_and_the_model_says_how(whole: Place) -> None:
    answers, tags, client = results(whole)
    assert answers["case_id"].nunique() == len(answers) == 25
    assert tags["eusml.protocol"] == "nested cross-validation, 1 x 2 folds"
    assert "no case is left to measure it on" in tags["description"]
    run = client.get_run(tags["eusml.evaluation_run"])
    assert run.data.metrics["test/accuracy_total"] == 25
    assert "test/accuracy_ci_low" in run.data.metrics
    artifacts = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"metrics_by_fold.csv", "metrics_by_repeat.csv", "predictions_test.csv"} <= artifacts
    # Three studies of two trials: two outer folds, and all cases.
    studies = client.search_runs([run.info.experiment_id], "tags.`eusml.study` LIKE 'tiny-%'")
    assert len(studies) == 3
    assert {study.info.status for study in studies} == {"FINISHED"}
    # The networks of the folds are not kept as models.
    assert len(client.search_logged_models([run.info.experiment_id])) == 1


def test_killed_in_part_and_then_whole_it_goes_on_and_ends_with_the_same_answers(whole: Place, tmp_path: Path) -> None:
    """One of two processes that make folds at once is killed, then the job, which made the other fold itself."""
    place, log = nested_place(tmp_path / "killed"), tmp_path / "log"
    job = place.start(*command(place), "--networks_at_once", "2", log=log)
    wait_until(job, lambda: "1|   resnet34: 12 images" in log.read_text())
    first, _ = sorted(helpers_of(job.pid))
    os.kill(first, signal.SIGKILL)
    kill_when(job, lambda: len(list(place.folder.glob("work/train/*/bundle/model.json"))) == 2)
    said = log.read_text().splitlines()
    assert "  2 networks of folds in 2 processes, which number their lines" in said
    assert any(line.startswith("  process 1 was ended by signal 9") for line in said)
    # The process that lived made its fold, the job that of the one that did not; nothing was there before.
    assert any(line.startswith("2| [train resnet34-1_2] done in") for line in said)
    assert any(line.startswith("[train resnet34-1_1] …") for line in said)
    assert not any("[train resnet34-1_2]" in line for line in said if not line.startswith("2| "))
    assert not any("reused" in line for line in said)

    again = place.told("main", *SETTINGS)
    assert all(f"[tune resnet34-1_{fold}] reused" in again for fold in (1, 2))
    assert "[train resnet34-1_2] reused" in again
    # Killed as it was recorded, or just after.
    assert "[train resnet34-1_1] reused" in again or "that an earlier start of the same training left" in again
    pd.testing.assert_frame_equal(results(place)[0], results(whole)[0])
    client = mlflow.MlflowClient(tracking_uri=place.environment["MLFLOW_TRACKING_URI"])
    everything = client.search_runs([run.experiment_id for run in client.search_experiments()])
    assert {run.info.status for run in everything} == {"FINISHED", "KILLED"}


def test_a_cross_validation_is_told_in_chinese_alone(whole: Place, tmp_path: Path) -> None:
    whole.told("report", *SETTINGS, "--report.language", "zh")
    page, names = read_page(whole, "tiny: report", tmp_path)
    assert english_words(page, names) == set()
    assert set(page.texts) == {"zh-Hans"}
    assert not unsaid(page, "每次重复中各留出一次 25 幅图像")


def test_a_stage_for_one_held_out_partition_is_refused(tmp_path: Path) -> None:
    place = nested_place(tmp_path / "here")
    for entry in ("evaluate", "promote"):
        code, said = place.ask(entry, *SETTINGS)
        assert code == 2
        assert f"{entry} works on one held-out partition, and protocol.kind is nested_cv" in said


def test_a_repeat_of_published_folds_is_refused(tmp_path: Path) -> None:
    place = nested_place(tmp_path / "here")
    code, said = place.ask("main", *SETTINGS, "--split.published", "true", "--protocol.repeats", "2")
    assert code == 2
    assert "published folds are drawn once" in said
    assert "Traceback" not in said
