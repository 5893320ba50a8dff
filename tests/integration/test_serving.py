"""The real `mlflow models serve` and the real UI in a browser."""

import base64
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import requests

from eusml.data.images import encode_png
from tests.dicom_files import dataset, ramp, written
from tests.integration.conftest import BIN, Place

pytestmark = [pytest.mark.slow, pytest.mark.server]


@contextmanager
def server(place: Place, port: int, ready: str, *words: str) -> Iterator[str]:
    """A command of a place that serves on 127.0.0.1."""
    log = place.folder / f"server-{port}.log"
    with started(dict(place.environment), log, port, ready, *words) as base:
        yield base


@contextmanager
def started(environment: dict[str, str], log_file: Path, port: int, ready: str, *words: str) -> Iterator[str]:
    """A command that serves on 127.0.0.1, once it answers; ended by its own process group."""
    with log_file.open("w") as log:
        process = subprocess.Popen(
            [str(BIN / "mlflow"), *words], env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            base = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 120
            while True:
                assert process.poll() is None, Path(log.name).read_text()
                assert time.monotonic() < deadline
                try:
                    if requests.get(base + ready, timeout=5).ok:
                        break
                except requests.RequestException:
                    time.sleep(0.3)
            yield base
        finally:
            subprocess.run(["kill", "--", f"-{process.pid}"], check=False)
            process.wait(timeout=30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def served(finished: Place) -> Iterator[str]:
    port = free_port()
    with server(
        finished, port, "/ping", "models", "serve", "-m", "models:/eusml-phantom-resnet34@champion",
        "--env-manager", "local", "-p", str(port), "-h", "127.0.0.1",
    ) as base:  # fmt: skip
        yield f"{base}/invocations"


def test_served_answers_equal_the_evaluated_ones_bit_for_bit(served: str, finished: Place) -> None:
    client = mlflow.MlflowClient(tracking_uri=finished.environment["MLFLOW_TRACKING_URI"])
    version = client.get_model_version_by_alias("eusml-phantom-resnet34", "champion")
    predictions = Path(client.download_artifacts(version.tags["eusml.evaluation_run"], "predictions_test.csv"))
    expected = pd.read_csv(predictions, dtype={"case_id": str}).set_index("case_id")
    for folder in (finished.folder / "work" / "data").iterdir():
        cases = pd.read_csv(folder / "manifest.csv", dtype={"case_id": str})["case_id"]
        if expected.index.isin(cases).all():
            images = dict(zip(cases, np.load(folder / "images.npy"), strict=True))
    rows = [{"image": base64.b64encode(encode_png(images[case])).decode()} for case in expected.index]
    answer = requests.post(served, json={"dataframe_records": rows}, timeout=60)
    assert answer.status_code == 200, answer.text
    found = answer.json()["predictions"]
    assert [row["probability"] for row in found] == expected["y_score"].tolist()
    labels = {1: "GIST", 0: "leiomyoma"}
    assert [row["label"] for row in found] == [labels[value] for value in expected["y_pred"]]
    assert {row["model_version"] for row in found} == {"eusml-phantom-resnet34/1"}
    assert all("SYNTHETIC" in row["notice"] for row in found)


def test_a_dicom_file_is_answered_as_the_same_pixels_in_a_png(served: str) -> None:
    pixels = ramp(96, 96)
    files = [encode_png(pixels), written(dataset(pixels))]
    rows = [{"image": base64.b64encode(file).decode()} for file in files]
    answer = requests.post(served, json={"dataframe_records": rows}, timeout=60)
    assert answer.status_code == 200, answer.text
    by_png, by_dicom = answer.json()["predictions"]
    assert by_dicom == by_png


@pytest.mark.parametrize("image", ["!!", base64.b64encode(b"no image").decode(), ""])
def test_what_is_no_image_is_a_bad_request(served: str, image: str) -> None:
    answer = requests.post(served, data=json.dumps({"dataframe_records": [{"image": image}]}), timeout=60,
                           headers={"Content-Type": "application/json"})  # fmt: skip
    assert answer.status_code == 400


@pytest.mark.browser
def test_a_person_sees_runs_and_result_table_in_the_ui(finished: Place, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    client = mlflow.MlflowClient(tracking_uri=finished.environment["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "attributes.run_name = 'evaluate resnet34'", max_results=1)
    port = free_port()
    with (
        server(finished, port, "/health", "ui", "-p", str(port), "--backend-store-uri",
               finished.environment["MLFLOW_TRACKING_URI"]) as base,
        sync_playwright() as playwright,
    ):  # fmt: skip
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-background-networking"]
        )
        page = browser.new_page(viewport={"width": 1400, "height": 1200})
        page.goto(f"{base}/#/experiments/{experiment.experiment_id}/runs/{run.info.run_id}")
        page.get_by_text("sensitivity").first.wait_for(timeout=60_000)
        assert page.get_by_text("SYNTHETIC").count() > 0
        page.screenshot(path=str(tmp_path / "run.png"))
        page.goto(f"{base}/#/experiments/{experiment.experiment_id}/runs")
        page.get_by_text("tiny: main").first.wait_for(timeout=60_000)
        browser.close()
