"""A job that records into a real PostgreSQL, and what is said when there is none."""

from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.integration.conftest import Place, make_place

pytestmark = [pytest.mark.slow, pytest.mark.server]


def recording_at(uri: str, folder: Path) -> Place:
    place = make_place(folder)
    environment = {name: value for name, value in place.environment.items() if name != "MLFLOW_EXPERIMENT_NAME"}
    return replace(place, environment={**environment, "MLFLOW_TRACKING_URI": uri})


def test_a_job_records_into_postgresql_and_is_reused_from_there(postgresql: str, tmp_path: Path) -> None:
    place = recording_at(postgresql, tmp_path)
    place.told("augment")
    assert "[augment] reused" in place.told("augment")
    client = MlflowClient(tracking_uri=postgresql)
    found = client.search_runs(["0"], "tags.`eusml.stage` = 'data' and attributes.status = 'FINISHED'")
    assert [run.data.metrics["data/train_images"] for run in found] == [20.0]


def test_an_absent_database_is_said_at_once_and_its_password_is_not(tmp_path: Path) -> None:
    place = recording_at("postgresql://reader:secret@127.0.0.1:9/none", tmp_path)
    done = place.run("python", "-m", "eusml", "data", "--experiment", str(place.experiment), check=False)
    assert done.returncode == 2
    assert "postgresql://reader:***@127.0.0.1:9/none cannot be used" in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr
    assert "will be retried" not in done.stderr  # as MLflow itself would say, ten times in a minute and a half
