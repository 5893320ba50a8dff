"""What the served model answers, without a server: every form of a request, row by row."""

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from eusml.data.images import Preparation, decode, encode_png, prepare
from eusml.data.quality import measure_reference
from eusml.learning.bundle import ModelSpec, load_bundle, save_bundle
from eusml.learning.model import build_network
from eusml.learning.temperature import calibrate
from eusml.tracking import asking
from eusml.tracking.asking import Asked
from eusml.tracking.options import Options
from eusml.tracking.served_model import MAX_ROWS, RefusedRequest, ServedModel
from tests.conftest import two_classes

IMAGES = two_classes(40, 40, 0)[0]


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


PNG = encoded(encode_png(IMAGES[0]))


def prepared(image: np.ndarray) -> np.ndarray:
    return prepare(encode_png(image), None, Preparation(32, 0.15), "x")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    """A network with random weights, calibrated on forty made-up answers."""
    rng = np.random.default_rng(0)
    y_true = np.arange(40) % 2
    calibration = calibrate(y_true, np.clip(rng.normal(0.3 + 0.4 * y_true, 0.2), 0.01, 0.99), "40 cases")
    spec = ModelSpec(
        "resnet34", 1, (0.4,), (0.2,), Preparation(32, 0.15), "GIST", "leiomyoma", 0.5, 1, synthetic=True,
        calibration=calibration,
        quality=measure_reference(np.stack([prepared(image) for image in IMAGES]), [(40, 40)] * len(IMAGES)),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("bundle")
    save_bundle(folder, build_network("resnet34", "none", zero_init_residual=False, seed=0).eval(), spec)
    served = ServedModel()
    served.asked = Asked(load_bundle(folder), "eusml-phantom-resnet34", "3")
    return served


def ask(model: ServedModel, given: Any, **params: Any) -> list[dict[str, Any]]:
    return model.predict(None, given, params)  # type: ignore[arg-type]


def test_an_answer_says_what_it_is_and_what_it_does_not_know(model: ServedModel) -> None:
    (answer,) = ask(model, pd.DataFrame([{"image": PNG, "case_id": "x1"}]))
    spec = model.asked.bundle.spec
    assert answer["case_id"] == "x1"
    assert answer["label"] == ("GIST" if answer["probability"] >= 0.5 else "leiomyoma")
    assert answer["positive_class"] == "GIST"
    assert answer["threshold"] == 0.5
    assert set(answer["prediction_set"]) <= {"GIST", "leiomyoma"}
    assert answer["refer"] == (len(answer["prediction_set"]) != 1 or bool(answer["quality"]))
    assert (answer["model"], answer["version"], answer["synthetic"]) == ("eusml-phantom-resnet34", "3", True)
    assert "SYNTHETIC" in answer["notice"]
    assert "not for diagnosis" in answer["notice"]
    assert answer["error"] is None
    assert answer["explanation"] is None
    assert spec.calibration is not None
    json.dumps(answer, allow_nan=False)


@pytest.mark.parametrize(
    "given",
    [
        pd.DataFrame({"image": [PNG, PNG]}),
        pd.DataFrame({"image": [PNG, PNG], "box": [None, [0, 0, 40, 40]], "case_id": [np.nan, "b"]}),
        {"image": np.array([PNG, PNG])},
        {"image": [PNG, PNG], "box": np.array([[0, 0, 40, 40]] * 2)},
        [{"image": np.array(PNG)}, {"image": PNG}],
    ],
)
def test_every_form_of_a_request_is_read(model: ServedModel, given: Any) -> None:
    answers = ask(model, given)
    assert len(answers) == 2
    assert all(answer["error"] is None for answer in answers)
    assert answers[0]["probability"] == ask(model, [{"image": PNG}])[0]["probability"] or "box" in given


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"image": "!!"}, "column image is not base64"),
        ({"image": encoded(b"no image")}, "in row 2"),
        ({"image": ""}, "in row 2"),
        ({"image": 3}, "base64 text"),
        ({"image": None}, "base64 text"),
        ({"image": PNG, "box": [0, 0, 40]}, "column box must hold four finite numbers"),
        ({"image": PNG, "box": [0, 0, float("nan"), 4]}, "column box must hold four finite numbers"),
        ({"image": PNG, "box": [0, 0, 10**400, 4]}, "column box must hold four finite numbers"),
        ({"image": PNG, "box": ["a", 0, 1, 4]}, "column box must hold four finite numbers"),
        ({"image": PNG, "box": "0 0 1 4"}, "column box must hold four finite numbers"),
        ({"image": PNG, "box": [[1], [1, 2], 3, 4]}, "column box must hold four finite numbers"),
        ({"image": PNG, "box": np.zeros((4, 1))}, "column box must hold four finite numbers"),
        ({"image": PNG, "case_id": [[1], [1, 2]]}, "column case_id must hold a text or a number"),
        ({"image": PNG, "case_id": {"a": 1}}, "column case_id must hold a text or a number"),
        ({"image": PNG, "box": [0, 0, 41, 4]}, "does not lie inside its 40 x 40 pixels"),
    ],
)
def test_a_bad_row_says_why_and_the_others_are_answered(model: ServedModel, row: dict[str, Any], message: str) -> None:
    good, bad, last = ask(model, [{"image": PNG}, row, {"image": PNG}])
    assert message in bad["error"]
    assert bad["label"] is None
    assert bad["probability"] is None
    assert bad["refer"] is True
    assert good["probability"] == last["probability"]
    json.dumps(bad, allow_nan=False)


@pytest.mark.parametrize(
    ("given", "params", "message"),
    [
        (pd.DataFrame({"img": [PNG]}), {}, "unknown column img; there are image, box, case_id"),
        (pd.DataFrame({"image": [PNG], "boxx": [1]}), {}, "unknown column boxx"),
        (pd.DataFrame({"box": [[1, 2, 3, 4]]}), {}, "column image is missing"),
        (pd.DataFrame([[PNG, PNG]], columns=["image", "image"]), {}, "column image stands there twice"),
        (np.array([PNG]), {}, "expected rows with a column image"),
        ({"image": np.array(PNG)}, {}, "expected rows with a column image"),
        ({"image": PNG}, {}, "expected rows with a column image"),
        ([{"image": PNG, "z" * 30 + "\n": 1}], {}, f"unknown column {'z' * 16}...; there are"),
        ([{"image": PNG, "a\nb": 1}], {}, "unknown column a?b; there are"),
        (pd.DataFrame([[PNG, PNG]], columns=[PNG, PNG]), {}, "stands there twice"),
        ([PNG], {}, "expected rows with a column image"),
        ({"image": [PNG, PNG], "case_id": ["a"]}, {}, "the columns must be of one length, found 1, 2"),
        (pd.DataFrame({"image": []}), {}, f"a request holds 1 to {MAX_ROWS} rows, found 0"),
        ([{"image": PNG}] * (MAX_ROWS + 1), {}, f"found {MAX_ROWS + 1}"),
        ([{"image": PNG}], {"error_rate": 0.0}, "error_rate must lie between 0 and 1"),
        ([{"image": PNG}], {"error_rate": float("nan")}, "error_rate must lie between 0 and 1"),
        ([{"image": PNG}], {"tta": 3}, "tta must be 1, 2, 4 or 8"),
        ([{"image": PNG}], {"tta": 10**400}, f"found {10**15}..."),
    ],
)
def test_a_request_that_is_none_is_refused_in_one_sentence(
    model: ServedModel, given: Any, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(RefusedRequest) as caught:
        ask(model, given, **params)
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    # MLflow's server would put the request in front of it, image and all.
    caught.value.message = f"Failed to predict data '{given}'. \nError: {caught.value.message}"
    assert PNG[:20] not in caught.value.message
    assert PNG[:20] not in caught.value.serialize_as_json()
    assert caught.value.get_http_status_code() == 422


def test_millions_of_rows_are_counted_before_they_are_made(model: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pd.DataFrame, "to_dict", lambda *_: pytest.fail("rows were made"))
    with pytest.raises(RefusedRequest, match="found 1000000"):
        ask(model, pd.DataFrame({"image": np.zeros(1_000_000, np.int8)}))


def test_an_error_of_ours_is_in_the_log_and_not_in_the_answer(
    model: ServedModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usual = model.asked.answer

    def broken(content: bytes, *words: Any) -> dict[str, Any]:
        if content == b"trap":
            raise RuntimeError("secret of the machine")
        return usual(content, *words)

    monkeypatch.setattr(Asked, "answer", lambda _, *words: broken(*words))
    bad, good = ask(model, [{"image": encoded(b"trap"), "case_id": "x"}, {"image": PNG}])
    assert bad["error"] == "this row could not be answered; the server's log says why"
    assert bad["case_id"] == "x"
    assert good["error"] is None
    assert "secret of the machine" in caplog.text


def test_files_are_decoded_one_at_a_time(model: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, inside, most = asking.read_picture, [0], [0]

    def watched(*words: Any, **more: Any) -> Any:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.01)
        inside[0] -= 1
        return usual(*words, **more)

    alone = ask(model, [{"image": PNG}] * 2)
    monkeypatch.setattr(asking, "read_picture", watched)
    with ThreadPoolExecutor(4) as clients:
        together = list(clients.map(lambda _: ask(model, [{"image": PNG}] * 2), range(4)))
    assert most == [1]
    assert all(answers == alone for answers in together)


def test_more_views_are_their_mean_and_a_lower_error_rate_rules_less_out(model: ServedModel) -> None:
    rows = [{"image": encoded(encode_png(image))} for image in IMAGES[:4]]
    one, four = ask(model, rows), ask(model, rows, tta=4)
    assert [row["probability"] for row in one] != [row["probability"] for row in four]
    assert [row["probability"] for row in ask(model, rows, tta=1)] == [row["probability"] for row in one]
    strict = ask(model, rows, error_rate=0.001)
    assert all(row["prediction_set"] == ["leiomyoma", "GIST"] and row["refer"] for row in strict)


def test_an_uncalibrated_model_gives_no_set_and_refers(model: ServedModel) -> None:
    bundle = model.asked.bundle
    plain = replace(model.asked, bundle=replace(bundle, spec=replace(bundle.spec, calibration=None)))
    answer = plain.answer(base64.b64decode(PNG), None, Options(), "x")
    assert answer["prediction_set"] is None
    assert answer["refer"] is True


def test_odd_images_are_answered_with_a_warning(model: ServedModel) -> None:
    blank = encoded(encode_png(np.full((40, 40), 90, np.uint8)))
    stripes = encoded(encode_png(np.tile(np.array([0, 255], np.uint8), (40, 20))))
    usual, empty, striped, small = ask(
        model, [{"image": PNG}, {"image": blank}, {"image": stripes}, {"image": PNG, "box": [0, 0, 6, 6]}]
    )
    assert usual["quality"] == []
    assert any("blank" in text for text in empty["quality"])
    assert any("not like the images it was trained on" in text for text in striped["quality"])
    assert any("too small" in text for text in small["quality"])
    assert all(answer["label"] for answer in (usual, empty, striped, small))
    # However sure the network is, an image that is like none of its own is for an expert.
    assert all(answer["refer"] for answer in (empty, striped, small))


def test_an_explanation_is_a_picture_of_the_label_and_changes_no_answer(
    model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    (plain,), (explained,) = ask(model, [{"image": PNG}]), ask(model, [{"image": PNG}], explain=True)
    assert explained["probability"] == plain["probability"]
    assert decode(base64.b64decode(explained["explanation"]), "overlay").shape[0] >= 256
    targets = []

    def seen(network: object, image: np.ndarray, normalisation: object, target: int) -> np.ndarray:
        targets.append(target)
        return np.zeros(image.shape, np.float32)

    monkeypatch.setattr(asking, "grad_cam", seen)
    below, above = (replace(model.asked.bundle.spec, threshold=threshold) for threshold in (0.0, 1.0))
    for spec in (below, above):
        bundle = replace(model.asked.bundle, spec=spec)
        replace(model.asked, bundle=bundle).answer(base64.b64decode(PNG), None, Options(explain=True), "x")
    assert targets == [1, 0]
