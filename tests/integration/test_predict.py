"""`predict`: a registered model asked about a folder, as a person would."""

from pathlib import Path

import mlflow
import pytest

from eusml.data.images import encode_png
from eusml.tables import read_csv
from tests.integration.conftest import Place, mlflow_run
from tests.pictures import speckled

pytestmark = pytest.mark.slow
MODEL = "predict.model=models:/eusml-phantom-resnet34@champion"


def test_a_folder_is_answered_file_by_file(finished: Place, tmp_path: Path) -> None:
    folder, output = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    for number, name in enumerate(("anna.png", "=1+1.png")):
        (folder / name).write_bytes(encode_png(speckled(number)))
    (folder / "broken.png").write_bytes(encode_png(speckled(9))[:500])
    said = mlflow_run(finished, "predict", f"predict.images={folder}", f"predict.output={output}", MODEL)
    assert "[predict] 2 of 3 images answered, 1 could not be read" in said
    assert "SYNTHETIC" in said
    table = read_csv(output / "predictions.csv", ["case_id"]).set_index("case_id")
    assert set(table.index) == {"anna.png", "=1+1.png", "broken.png"}
    assert "\n=1+1.png" not in (output / "predictions.csv").read_text()
    assert isinstance(table.loc["broken.png", "error"], str)
    good = table.drop("broken.png")
    assert good["error"].isna().all()
    assert good["probability"].between(0, 1).all()
    assert set(good["label"]) <= {"GIST", "leiomyoma"}
    page = (output / "contact_sheet.html").read_text()
    assert page.count("<img") == 2
    assert "broken.png" in page
    assert "SYNTHETIC" in page

    client = mlflow.MlflowClient(tracking_uri=finished.environment["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "tags.`eusml.entry_point` = 'predict'")
    version = client.get_model_version_by_alias("eusml-phantom-resnet34", "champion")
    assert run.data.tags["eusml.model"] == f"eusml-phantom-resnet34/{version.version}"
    assert (run.data.metrics["predict/images"], run.data.metrics["predict/answered"]) == (3, 2)
    # Files may be called as patients are: no name and no picture goes to the store.
    kept = "".join([str(run.data.tags), str(run.data.metrics)])
    assert "anna" not in kept
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["config.yaml", "environment.json"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "predict.images is not given"),
        (
            ["--predict.images", "{folder}", "--predict.model", "models:/none@champion"],
            "cannot be read from the registry",
        ),
        (["--predict.images", "{folder}", "--predict.model", "models:/none"], "names no version"),
        (["--predict.images", "{folder}", "--predict.model", "runs:/x/y"], "predict.model"),
    ],
)
def test_what_cannot_be_asked_is_said(finished: Place, tmp_path: Path, words: list[str], message: str) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(speckled(0)))
    given = [word.format(folder=tmp_path) for word in words]
    code, said = finished.ask("predict", *given)
    assert code == 2
    assert message in said
    assert "Traceback" not in said
