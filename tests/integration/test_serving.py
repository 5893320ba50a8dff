"""The real `mlflow models serve` and the real UI in a browser."""

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import requests

from eusml.data.images import decode, encode_png
from tests.browser import chromium
from tests.dicom_files import dataset, ramp, written
from tests.integration.conftest import BIN, Place
from tests.integration.serving import free_port, served_model, server

pytestmark = [pytest.mark.slow, pytest.mark.server]


@pytest.fixture(scope="module")
def served(finished: Place) -> Iterator[str]:
    with served_model(finished, "models:/eusml-phantom-resnet34@champion") as found:
        yield f"{found.base}/invocations"


def asked(served: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    answer = requests.post(served, json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = json.loads(answer.text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))[
        "predictions"
    ]
    return found


def test_served_answers_equal_the_evaluated_ones_bit_for_bit(served: str, finished: Place) -> None:
    client = mlflow.MlflowClient(tracking_uri=finished.environment["MLFLOW_TRACKING_URI"])
    version = client.get_model_version_by_alias("eusml-phantom-resnet34", "champion")
    predictions = Path(client.download_artifacts(version.tags["eusml.evaluation_run"], "predictions_test.csv"))
    expected = pd.read_csv(predictions, dtype={"case_id": str}).set_index("case_id")
    for folder in (finished.folder / "work" / "data").iterdir():
        cases = pd.read_csv(folder / "manifest.csv", dtype={"case_id": str})["case_id"]
        if expected.index.isin(cases).all():
            images = dict(zip(cases, np.load(folder / "images.npy"), strict=True))
    rows = [{"image": base64.b64encode(encode_png(images[case])).decode(), "case_id": case} for case in expected.index]
    labels = {1: "GIST", 0: "leiomyoma"}
    for size in (1, 2, 7, 32):
        found = [
            row
            for start in range(0, len(rows), size)
            for row in asked(served, {"dataframe_records": rows[start : start + size]})
        ]
        assert [row["probability"] for row in found] == expected["y_score"].tolist()
        assert [row["label"] for row in found] == [labels[value] for value in expected["y_pred"]]
        assert [row["case_id"] for row in found] == expected.index.tolist()
    assert {(row["model"], row["version"]) for row in found} == {("eusml-phantom-resnet34", "1")}
    assert all("SYNTHETIC" in row["notice"] for row in found)


def test_every_form_of_a_request_gets_the_same_answer(served: str) -> None:
    image = base64.b64encode(encode_png(ramp(96, 96))).decode()
    bodies: list[dict[str, Any]] = [
        {"dataframe_records": [{"image": image}]},
        {"dataframe_split": {"columns": ["image"], "data": [[image]]}},
        {"inputs": {"image": [image]}},
        {"inputs": [{"image": image}]},
        {"instances": [{"image": image}]},
    ]
    answers = [asked(served, body) for body in bodies]
    assert all(answer == answers[0] for answer in answers)
    (boxed,) = asked(served, {"dataframe_records": [{"image": image, "box": [10, 10, 40, 40]}]})
    assert boxed["probability"] != answers[0][0]["probability"]
    (explained,) = asked(
        served, {"dataframe_records": [{"image": image}], "params": {"explain": True, "error_rate": 0.2, "tta": 4}}
    )
    assert decode(base64.b64decode(explained["explanation"]), "overlay").shape[0] >= 256


def test_models_predict_answers_from_a_clean_shell(finished: Place, tmp_path: Path) -> None:
    image = base64.b64encode(encode_png(ramp(96, 96))).decode()
    (tmp_path / "ask.json").write_text(json.dumps({"dataframe_records": [{"image": image}]}))
    clean = {
        name: finished.environment[name]
        for name in ("PATH", "MLFLOW_TRACKING_URI", "HOME")
        if name in finished.environment
    }
    subprocess.run(
        [str(BIN / "mlflow"), "models", "predict", "-m", "models:/eusml-phantom-resnet34@champion", "--env-manager",
         "local", "-i", str(tmp_path / "ask.json"), "-t", "json", "-o", str(tmp_path / "answer.json")],
        cwd=tmp_path, env=clean, check=True, capture_output=True,
    )  # fmt: skip
    (answer,) = json.loads((tmp_path / "answer.json").read_text())["predictions"]
    assert answer["label"] in ("GIST", "leiomyoma")
    assert answer["model"] == "eusml-phantom-resnet34"


def test_a_dicom_file_is_answered_as_the_same_pixels_in_a_png(served: str) -> None:
    pixels = ramp(96, 96)
    files = [encode_png(pixels), written(dataset(pixels))]
    rows = [{"image": base64.b64encode(file).decode()} for file in files]
    by_png, by_dicom = asked(served, {"dataframe_records": rows})
    assert by_dicom == by_png


@pytest.mark.parametrize("image", ["!!", base64.b64encode(b"no image").decode(), ""])
def test_what_is_no_image_is_a_row_that_says_so(served: str, image: str) -> None:
    good = base64.b64encode(encode_png(ramp(96, 96))).decode()
    bad, other = asked(served, {"dataframe_records": [{"image": image}, {"image": good}]})
    assert bad["label"] is None
    assert bad["error"]
    assert other["error"] is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"dataframe_records": [{"picture": "a"}]}, "unknown column picture; there are image, box, case_id"),
        ({"dataframe_records": [{"box": [1, 2, 3, 4]}]}, "column image is missing"),
        ({"inputs": ["a"]}, "expected rows with a column image"),
        ({"dataframe_records": [{"image": "a"}], "params": {"error_rate": 2}}, "error_rate must lie between 0 and 1"),
        ({"dataframe_records": [{"image": "a"}], "params": {"explan": True}}, "unknown params; there are error_rate"),
        ({"dataframe_records": [{"image": "a"}] * 65}, "a request holds 1 to 64 rows, found 65"),
    ],
)
def test_a_request_that_is_none_gets_422_and_one_sentence(served: str, body: dict[str, Any], message: str) -> None:
    answer = requests.post(served, json=body, timeout=60)
    assert answer.status_code == 422
    said = answer.json()
    assert "stack_trace" not in said
    assert message in said["message"]
    assert "\n" not in said["message"]


@pytest.mark.browser
def test_a_person_sees_runs_and_result_table_in_the_ui(finished: Place, tmp_path: Path) -> None:
    client = mlflow.MlflowClient(tracking_uri=finished.environment["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "attributes.run_name = 'evaluate resnet34'", max_results=1)
    port = free_port()
    with (
        server(finished, port, "/health", "ui", "-p", str(port), "--workers", "1", "--backend-store-uri",
               finished.environment["MLFLOW_TRACKING_URI"]) as ui,
        chromium() as browser,
    ):  # fmt: skip
        page = browser.new_page(viewport={"width": 1400, "height": 1200})
        page.goto(f"{ui.base}/#/experiments/{experiment.experiment_id}/runs/{run.info.run_id}")
        page.get_by_text("sensitivity").first.wait_for(timeout=60_000)
        assert page.get_by_text("SYNTHETIC").count() > 0
        page.screenshot(path=str(tmp_path / "run.png"))
        page.goto(f"{ui.base}/#/experiments/{experiment.experiment_id}/runs")
        page.get_by_text("tiny: main").first.wait_for(timeout=60_000)
