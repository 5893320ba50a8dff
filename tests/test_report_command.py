"""`report` against a real sqlite store: which runs it takes, and what it says of those it cannot take."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import RunStatus
from mlflow.tracking import MlflowClient

from eusml.commands import report
from eusml.config import Config, load_config
from eusml.errors import ConfigError, EusmlError, TrackingError
from eusml.tracking import runs
from eusml.tracking.selection import select
from tests.reported import HERE, Written, write_study

pytestmark = [pytest.mark.slow]


@pytest.fixture(scope="module")
def study(store_folder: Path) -> Written:
    return write_study()


def config(folder: Path, *run_ids: str, **settings: str) -> Config:
    return load_config(None, {"report.runs": json.dumps(run_ids), "work_dir": str(folder / "work"), **settings})


def reported(folder: Path, *run_ids: str, **settings: str) -> tuple[mlflow.entities.Run, Callable[[str], str]]:
    """The newest run after reporting, and how to read an artifact of it."""
    report.run(config(folder, *run_ids, **settings))
    client = MlflowClient()
    experiment = client.get_experiment_by_name("test")
    (newest,) = client.search_runs([experiment.experiment_id], "tags.`eusml.entry_point` = 'report'",
                                   order_by=["attributes.start_time DESC"], max_results=1)  # fmt: skip
    return newest, lambda name: runs.fetch(
        newest.info.run_id, name, folder / "fetched" / newest.info.run_id
    ).read_text()


def experiment_id() -> str:
    return str(MlflowClient().get_experiment_by_name("test").experiment_id)


def test_the_newest_pipeline_run_is_reported_by_default(study: Written, tmp_path: Path) -> None:
    run, artifact = reported(tmp_path)
    assert run.info.status == "FINISHED"
    assert study.main in artifact("report/report.html")
    assert artifact("report/report.md").startswith("**SYNTHETIC images")
    assert run.data.tags["eusml.synthetic"] == "true"
    assert "report/report.html" in run.data.tags["mlflow.note.content"]
    assert run.data.tags["eusml.reported_runs"] == study.main
    client = MlflowClient()
    names = {Path(file.path).name for file in client.list_artifacts(run.info.run_id, "report/data")}
    drawn = {Path(file.path).name for file in client.list_artifacts(run.info.run_id, "report/figures")}
    assert {name.replace(".csv", ".svg") for name in names} <= drawn
    assert not list((tmp_path / "work").glob("tmp*"))


def test_evaluation_runs_are_reported_with_their_training_and_data(study: Written, tmp_path: Path) -> None:
    run, artifact = reported(tmp_path, *study.evaluations.values())
    page = artifact("report/report.html")
    assert 'id="cohort"' in page
    assert 'id="comparison"' not in page  # no comparison was named, and none is made
    assert "9.1" not in run.data.tags
    with_pairs = reported(tmp_path, *study.evaluations.values(), study.compare)[1]("report/report.html")
    assert 'id="comparison"' in with_pairs


def test_two_runs_of_one_arm_are_told_apart(study: Written, store_folder: Path, tmp_path: Path) -> None:
    again = write_study()
    first, second = study.evaluations["resnet34"], again.evaluations["resnet34"]
    run, artifact = reported(tmp_path, first, second)
    page = artifact("report/report.html")
    assert f"resnet34 {first[:8]}" in page
    assert f"resnet34 {second[:8]}" in page
    assert not re.search(r'id="[^"]* ', page)
    names = [file.path for file in MlflowClient().list_artifacts(run.info.run_id, "report/figures")]
    assert f"report/figures/subgroups_resnet34-{first[:8]}.svg" in names


def test_chinese_is_asked_for_by_a_setting(study: Written, tmp_path: Path) -> None:
    assert "仅供研究" in reported(tmp_path, study.main, **{"report.language": "zh"})[1]("report/report.md")
    with pytest.raises(ConfigError, match=r"report\.language"):
        config(tmp_path, **{"report.language": "fr"})


def test_runs_of_other_data_are_refused_by_name(study: Written, tmp_path: Path) -> None:
    other = write_study(digest="other")
    first, second = study.evaluations["resnet34"], other.evaluations["resnet34"]
    with pytest.raises(EusmlError, match=f"runs {first} and {second} are of different data"):
        report.run(config(tmp_path, first, second))


def _unknown(study: Written) -> list[str]:
    return ["0" * 32]


def _of_no_use(study: Written) -> list[str]:
    return [study.data]


def _two_pipelines(study: Written) -> list[str]:
    return [study.main, study.compare]


def _comparison_alone(study: Written) -> list[str]:
    return [study.evaluations["resnet34"], study.compare]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (_unknown, "has no run 0000"),
        (_of_no_use, "there is no evaluation run among"),
        (_two_pipelines, "is one of main: it is reported alone"),
        (_comparison_alone, "which is not among those to report"),
    ],
)
def test_ids_that_make_no_report(
    study: Written, tmp_path: Path, chosen: Callable[[Written], list[str]], message: str
) -> None:
    with pytest.raises(TrackingError, match=message):
        report.run(config(tmp_path, *chosen(study)))


@pytest.mark.parametrize("status", ["RUNNING", "FAILED", "KILLED"])
def test_a_run_that_did_not_finish_is_refused(study: Written, tmp_path: Path, status: str) -> None:
    run = MlflowClient().create_run(experiment_id(), tags={"eusml.stage": "main"})
    if status != "RUNNING":
        MlflowClient().set_terminated(run.info.run_id, status)
    with pytest.raises(TrackingError, match=f"did not finish; its status is {status}"):
        report.run(config(tmp_path, run.info.run_id))
    MlflowClient().set_terminated(run.info.run_id, RunStatus.to_string(RunStatus.KILLED))


def test_a_run_of_another_stage_is_named(study: Written, tmp_path: Path) -> None:
    with runs.entry_run("predict", {runs.STAGE: "predict"}, HERE) as run:
        pass
    with pytest.raises(TrackingError, match="is of stage 'predict'; a report is made of one run of main, or of eval"):
        report.run(config(tmp_path, run.run_id))


def test_an_experiment_without_a_finished_pipeline_says_what_to_do(study: Written, tmp_path: Path) -> None:
    empty = MlflowClient().create_experiment("empty")
    with pytest.raises(TrackingError, match="no run of main has finished in this experiment"):
        select((), empty, tmp_path)


@pytest.mark.parametrize(
    ("place", "artifact"), [("evaluate", "metrics_test.csv"), ("compare", "pairs.json"), ("data", "manifest.csv")]
)
def test_a_missing_artifact_is_named_with_its_run(
    store_folder: Path, tmp_path: Path, place: str, artifact: str
) -> None:
    study = write_study(fresh=False)
    run_id = {"evaluate": study.evaluations["resnet50"], "compare": study.compare, "data": study.data}[place]
    folder = Path(MlflowClient().get_run(run_id).info.artifact_uri.removeprefix("file://"))
    (folder / artifact).unlink()
    with pytest.raises(TrackingError, match=f"artifact {artifact} of run {run_id} cannot be read"):
        report.run(config(tmp_path, study.main))


def test_a_pipeline_run_of_an_older_version_says_what_to_do(store_folder: Path, tmp_path: Path) -> None:
    with runs.entry_run("old: main", {runs.STAGE: "main"}, HERE) as run:
        pass
    with pytest.raises(TrackingError, match=r"does not say which stages it is made of .* Start main again"):
        report.run(config(tmp_path, run.run_id))


def test_a_run_cannot_stand_twice(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stands more than once"):
        config(tmp_path, "a", "a")
