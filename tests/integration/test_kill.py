"""`kill -9` of the whole process, the same command again."""

import json
from pathlib import Path

import mlflow
import pytest

from eusml.commands.seen import EPOCHS as SEEN
from tests.integration.conftest import Place, kill_when, make_place
from tests.test_seen import series

pytestmark = pytest.mark.slow
EPOCHS = 4


def weights_digest(place: Place) -> str:
    (spec,) = (place.folder / "work" / "train").glob("*/bundle/model.json")
    return str(json.loads(spec.read_text())["weights_sha256"])


def test_a_killed_job_goes_on_and_ends_with_the_same_weights(tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole, killed = (make_place(tmp_path / name, epochs=EPOCHS) for name in ("whole", "killed"))
    settings = ("--train.offline", "false", "--train.online.enabled", "true")
    whole.told("evaluate", *settings)

    command = ("evaluate", "--experiment", str(killed.experiment), *settings)
    kill_when(killed.start(*command), lambda: list(killed.folder.glob("work/train/*/state.pt")))

    assert "went on after epoch" in killed.told("evaluate", *settings)
    assert weights_digest(killed) == weights_digest(whole)
    assert not list(killed.folder.glob("work/train/*/state.pt*"))

    client = mlflow.MlflowClient(tracking_uri=killed.environment["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    first, second = client.search_runs(
        [experiment.experiment_id], "tags.`eusml.stage` = 'train'", order_by=["attributes.start_time ASC"]
    )
    assert first.info.status == "KILLED"
    assert first.data.tags["eusml.superseded_by"] == second.data.tags["mlflow.parentRunId"]
    assert second.info.status == "FINISHED"
    # What the network saw stands there once per epoch, like all else, whatever the killed run had logged.
    assert sorted(series(second.info.run_id, tmp_path, client)["augmentation"]) == list(range(SEEN + 1))
    # The killed job's own run, above the training, is not left open either.
    entries = client.search_runs([experiment.experiment_id], "tags.`eusml.entry_point` = 'evaluate'")
    assert sorted(run.info.status for run in entries) == ["FINISHED", "KILLED"]
    history = client.get_metric_history(second.info.run_id, "curve/train_loss")
    assert [point.step for point in history] == list(range(1, EPOCHS + 1))
