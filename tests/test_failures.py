"""Pictures of errors: the surest first, each with what the network looked at, and none where there is no error."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from PIL import Image

from eusml.commands.failures import SHOWN, STEPS, log_failures
from eusml.commands.reported import Reported
from eusml.data.images import Preparation, decode
from eusml.learning.bundle import Bundle, ModelSpec
from eusml.learning.model import build_network
from eusml.tables import read_csv
from eusml.tracking import runs
from tests.conftest import answers, two_classes
from tests.reported import HERE
from tests.test_seen import series


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    spec = ModelSpec("resnet34", 1, (0.4,), (0.2,), Preparation(32, 0.15), "GIST", "leiomyoma", 0.5, 1, synthetic=True)
    return Bundle(build_network("resnet34", "none", zero_init_residual=False, seed=0).eval(), spec)


def logged(bundle: Bundle, table: pd.DataFrame, folder: Path) -> tuple[str, Path]:
    images = two_classes(len(table), 32, 0)[0]
    with runs.entry_run("evaluate", {}, HERE) as run:
        log_failures(run, bundle, {"test": Reported(table, images)}, {"test": table})
    return run.run_id, Path(MlflowClient().download_artifacts(run.run_id, "misclassified", str(folder)))


def test_the_surest_errors_are_shown(store_folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    table = answers(0, 80)
    run_id, folder = logged(bundle, table, tmp_path)
    found = read_csv(folder / "test.csv", ["case_id"])
    wrong = table[table["y_true"] != table["y_pred"]]
    assert len(found) == min(len(wrong), SHOWN) > 2
    distance = (found["y_true"] - found["y_score"]).abs()
    assert distance.is_monotonic_decreasing
    assert distance.iloc[0] == (wrong["y_true"] - wrong["y_score"]).abs().max()
    assert set(found["case_id"]) <= set(wrong["case_id"])
    steps = series(run_id, tmp_path)["misclassified"]
    assert sorted(steps) == list(range(min(len(found), STEPS)))
    for file in found["file"]:
        assert decode((folder / file).read_bytes(), file).shape == (256, 256)
    for rank, file in enumerate(found["file"][:STEPS]):
        np.testing.assert_array_equal(steps[rank][:256], np.asarray(Image.open(folder / file)))  # the caption is below


def test_without_errors_the_table_is_empty(store_folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    table = answers(0)
    table = table.assign(y_pred=table["y_true"], y_score=np.where(table["y_true"] == 1, 0.9, 0.1))
    run_id, folder = logged(bundle, table, tmp_path)
    assert series(run_id, tmp_path) == {}
    assert [file.name for file in folder.iterdir()] == ["test.csv"]
    assert len(read_csv(folder / "test.csv", ["case_id"])) == 0
