"""The audit as a person meets it: what stops the run, what is logged, and where pictures go."""

import base64
import errno
import shutil
from pathlib import Path

import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.models import Model
from mlflow.tracking import MlflowClient

from eusml.__main__ import main
from eusml.data.images import decode, encode_png
from tests.pictures import everything, speckled
from tests.stores import empty_store

pytestmark = pytest.mark.slow


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Class folders of six pictures each, one of them with a changed copy in its own class."""
    folder = tmp_path / "images"
    for number in range(12):
        label = "GIST" if number % 2 else "LM"
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / f"{number}.png").write_bytes(encode_png(speckled(number)))
    (folder / "LM" / "copy.png").write_bytes(encode_png(everything(speckled(0))))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_store(tmp_path))
    return folder


def run_data(root: Path, *more: str) -> int:
    return main(["data", "--experiment", "experiments/folder.yaml", "--data.path", str(root), "--work_dir",
                 str(root.parent / "work"), "--data.image_size_px", "32", *more])  # fmt: skip


def last_run() -> Run:
    return MlflowClient().search_runs(["0"], order_by=["attributes.start_time DESC"])[0]


def artifacts(run: Run, folder: str | None = None) -> set[str]:
    found = set()
    for file in MlflowClient().list_artifacts(run.info.run_id, folder):
        found |= artifacts(run, file.path) if file.is_dir else {file.path}
    return found


def artifact(run: Run, name: str, folder: Path) -> str:
    return Path(MlflowClient().download_artifacts(run.info.run_id, name, str(folder))).read_text()


def test_findings_are_logged_and_pictures_stay_at_home(root: Path, tmp_path: Path) -> None:
    assert run_data(root) == 0
    run = last_run()
    assert {"audit/audit.html", "audit/findings.csv", "audit/flow.csv", "manifest.csv", "split.csv"} <= artifacts(run)
    assert not [name for name in artifacts(run) if name.endswith((".png", ".jpg"))]
    assert "<img" not in artifact(run, "audit/audit.html", tmp_path)
    (page,) = (root.parent / "work" / "audit").rglob("audit.html")
    assert page.read_text().count("<img") == 1
    assert run.data.metrics["data/same_picture_pairs"] == 1
    sides = pd.read_csv(MlflowClient().download_artifacts(run.info.run_id, "split.csv", str(tmp_path)))
    sides = sides.set_index("case_id")["partition"]
    assert sides["LM/0.png"] == sides["LM/copy.png"]


def test_pictures_are_logged_when_asked(root: Path, tmp_path: Path) -> None:
    assert run_data(root, "--data.audit.log_images", "true") == 0
    run = last_run()
    assert "images.png" in artifacts(run)
    assert artifact(run, "audit/audit.html", tmp_path).count("<img") == 1


@pytest.mark.parametrize("shown", [False, True])
def test_the_example_of_a_model_and_its_errors_are_patients_only_when_asked(root: Path, shown: bool) -> None:
    words = ["--experiment", "experiments/folder.yaml", "--data.path", str(root), "--data.image_size_px", "32"]
    words += ["--work_dir", str(root.parent / "work"), "--train.epochs", "1", "--calibrate.cases", "none"]
    assert main(["evaluate", *words, "--data.audit.log_images", str(shown).lower()]) == 0
    (evaluated,) = MlflowClient().search_runs(["0"], "tags.`eusml.arm` != ''")
    assert ("misclassified/test.csv" in artifacts(evaluated)) is shown
    assert [artifact for artifact in artifacts(evaluated) if artifact.startswith("images")] == [] or shown
    (run,) = MlflowClient().search_runs(["0"], "tags.`eusml.model_id` != ''")
    assert any(artifact.startswith("images/augmentation") for artifact in artifacts(run)) is shown
    example = Model.load(f"models:/{run.data.tags['eusml.model_id']}").load_input_example()
    assert example is not None
    assert bool(decode(base64.b64decode(example[0]["image"]), "example").max()) is shown


def test_a_label_conflict_stops_with_its_ways_out_and_a_page(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "GIST" / "again.png").write_bytes(encode_png(speckled(0)))
    assert run_data(root) == 2
    said = capsys.readouterr().err
    assert "GIST/again.png is GIST, LM/0.png is LM, LM/copy.png is LM" in said
    assert "-P data.audit.label_conflicts=drop_both" in said
    assert "Traceback" not in said
    run = last_run()
    assert run.info.status == "FAILED"
    assert "stops the run" in artifact(run, "audit/findings.csv", tmp_path)
    assert run_data(root, "--data.audit.label_conflicts", "drop_both") == 0
    flow = artifact(last_run(), "audit/flow.csv", tmp_path / "second")
    assert flow.splitlines()[1:] == ["found,14", '"excluded: same picture, two labels",3', "kept,11"]


def test_a_file_that_was_left_out_is_told_of_though_the_cases_are_as_before(root: Path, tmp_path: Path) -> None:
    assert run_data(root) == 0
    before = last_run()
    (root / "GIST" / "damaged.png").write_bytes(b"no picture")
    assert run_data(root, "--data.audit.unreadable", "drop") == 0
    run = last_run()
    assert run.data.tags["eusml.data_digest"] == before.data.tags["eusml.data_digest"]
    flow = artifact(run, "audit/flow.csv", tmp_path)
    assert flow.splitlines()[1:] == ["found,14", "excluded: unreadable,1", "kept,13"]


def test_pictures_are_logged_when_asked_later(root: Path) -> None:
    assert run_data(root) == 0
    assert run_data(root, "--data.audit.log_images", "true") == 0
    assert "images.png" in artifacts(last_run())


def test_a_case_that_was_dropped_for_its_rights_comes_back_with_them(root: Path, tmp_path: Path) -> None:
    file, really = root / "LM" / "2.png", Path.read_bytes

    def guarded(path: Path) -> bytes:
        if path == file:
            raise PermissionError(errno.EACCES, "Permission denied")
        return really(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", guarded)
        assert run_data(root, "--data.audit.unreadable", "drop") == 0
    assert artifact(last_run(), "audit/flow.csv", tmp_path).splitlines()[-1] == "kept,12"
    file.chmod(0o600)
    assert run_data(root, "--data.audit.unreadable", "drop") == 0
    assert artifact(last_run(), "audit/flow.csv", tmp_path / "second").splitlines()[-1] == "kept,13"


def test_an_archive_is_read_like_its_folder(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = shutil.make_archive(str(root.parent / "upload"), "zip", root.parent, "images")
    assert run_data(root) == 0
    assert run_data(Path(archive)) == 0
    assert "[data] reused: inputs, settings and code are those of run" in capsys.readouterr().out
