"""Where the store is, and what is said to reach it."""

from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from eusml.errors import TrackingError
from eusml.tracking import store

QUIET = "MLFLOW_DISABLE_TELEMETRY=true"


def test_an_experiment_that_another_process_makes_meanwhile_is_used(
    store_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "raced")
    real, made = MlflowClient.get_experiment_by_name, []

    def too_early(self: MlflowClient, name: str) -> object:
        found = real(self, name)
        if not made:
            made.append(self.create_experiment(name, artifact_location=str(store_folder / "raced")))
        return found

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", too_early)
    assert store.experiment_id() == made[0]
    assert store.experiment_id() == made[0]


def test_an_absent_server_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: "http://127.0.0.1:9")
    with pytest.raises(TrackingError, match=r"no MLflow tracking server answers at http://127\.0\.0\.1:9"):
        store.connect()


def test_commands_for_the_next_step(store_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV", raising=False)
    command = store.serve_command("models:/m@champion")
    assert command.startswith(
        f"MLFLOW_TRACKING_URI=sqlite:///{store_folder}/mlflow.db {QUIET} mlflow models serve -m models:/m@champion"
    )
    assert store.ui_command() == f"{QUIET} mlflow ui --backend-store-uri sqlite:///{store_folder}/mlflow.db"
    monkeypatch.chdir(store_folder)
    assert store.serve_command("models:/m@champion").startswith(f"{QUIET} mlflow models serve")
    assert store.ui_command() == f"{QUIET} mlflow ui"
    monkeypatch.setenv("UV", "/bin/uv")
    assert store.ui_command() == f"{QUIET} uv run mlflow ui"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert store.ui_command() == "open http://127.0.0.1:5000"
