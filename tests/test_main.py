"""The command line: errors that name what is wrong, and an exit code that scripts can see."""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from mlflow.tracking import MlflowClient

from eusml.__main__ import COMMANDS, main, parse
from eusml.data.images import encode_png
from tests.conftest import two_classes
from tests.stores import empty_store


def test_what_needs_no_network_imports_none() -> None:
    code = "import sys, eusml.commands.history; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_draws_nothing_imports_no_matplotlib() -> None:
    code = "import sys, eusml.commands.train; sys.exit(any(m in sys.modules for m in ('matplotlib', 'scipy.stats')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['eusml', '--help']\ntry:\n from eusml.__main__ import main; main()\nfinally: "
    code += "print([m for m in ('torch', 'mlflow', 'pandas', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    for name in COMMANDS:
        assert name in done.stdout


def test_mlproject_has_every_command_and_no_other() -> None:
    project = yaml.safe_load(Path("MLproject").read_text())
    assert list(project["entry_points"]) == list(COMMANDS)
    for name, entry in project["entry_points"].items():
        assert entry["command"] == f"python -m eusml {name} --experiment {{experiment}}"


def test_conda_yaml_repeats_the_tested_versions() -> None:
    import tomllib

    project = tomllib.loads(Path("pyproject.toml").read_text())
    pins = dict(line.split("==") for line in project["tool"]["uv"]["constraint-dependencies"])
    wanted = [line.split(">")[0] for line in project["project"]["dependencies"]]
    (listed,) = (
        d["pip"] for d in yaml.safe_load(Path("conda.yaml").read_text())["dependencies"] if isinstance(d, dict)
    )
    assert sorted(listed) == sorted(f"{name}=={pins[name.split('[')[0]]}" for name in wanted)


def test_overrides_come_in_both_spellings() -> None:
    assert parse(["train", "--train.lr", "3e-4", "--name=x"])[2] == {"train.lr": "3e-4", "name": "x"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "unknown entry point 'trian'; did you mean 'train'?"),
        (["train", "lr=3"], "'lr=3' is not understood"),
        (["train", "--train.lr"], "--train.lr needs a value"),
        (["train", "--train.lrr", "1"], "did you mean 'train.lr'?"),
        (["train", "--experiment", "experiments/quik.yaml"], "does not exist; there is experiments/folder.yaml"),
        (["data", "--train.epochs", "ten"], "train.epochs is 'ten'"),
    ],
)
def test_settings_errors_name_the_mistake(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sound folder of twelve images, and a store beside it."""
    root = tmp_path / "images"
    root.mkdir()
    images, y_true = two_classes(12, 40, seed=0)
    for number, image in enumerate(images):
        (root / f"{number}.png").write_bytes(encode_png(image))
    table = pd.DataFrame({"case_id": [f"c{i}" for i in range(12)], "image": [f"{i}.png" for i in range(12)]})
    table.assign(label=["GIST" if y else "LM" for y in y_true]).to_csv(root / "manifest.csv", index=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_store(tmp_path))
    return root


def run_data(folder: Path, *more: str) -> int:
    return main(["data", "--experiment", "experiments/folder.yaml", "--data.path", str(folder), "--work_dir",
                 str(folder.parent / "work"), "--data.image_size_px", "32", *more])  # fmt: skip


BAD_INPUT = {
    "missing path": ((), "nowhere does not exist"),
    "corrupt image": ((), "3.png is damaged"),
    "one class only": ((), "all 12 cases are labelled 'GIST'"),
    "fewer cases than folds": (("--split.folds", "9"), "has 6 patients, but split.folds is 9"),
    "no such class": (("--data.positive_class", "gist"), "-P data.positive_class=GIST"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_ends_with_a_message_and_leaves_nothing_half_written(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, message = BAD_INPUT[name]
    if name == "corrupt image":
        (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:300])
    if name == "one class only":
        table = pd.read_csv(folder / "manifest.csv").assign(label="GIST")
        table.to_csv(folder / "manifest.csv", index=False)
    assert run_data(folder if name != "missing path" else folder / "nowhere", *words) == 2
    assert message in capsys.readouterr().err
    work = folder.parent / "work"
    left = [file for file in work.rglob("*") if file.is_file() and file.name != ".lock"]
    assert {file.relative_to(work).parts[0] for file in left} <= {"data", "ingest", "audit"}
    assert not [file for file in left if ".tmp" in str(file.relative_to(work))]
    runs = MlflowClient().search_runs(["0"])
    assert {run.info.status for run in runs} <= {"FAILED"}


@pytest.mark.slow
def test_a_work_dir_that_is_a_file_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder.parent / "work").write_text("x")
    assert run_data(folder) == 2
    assert "work cannot be used (" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no disk that is always full")
def test_a_full_disk_is_said_and_the_same_command_goes_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_data(folder) == 0
    work = folder.parent / "work"
    (shard,) = (work / "ingest").glob("*.npz")
    shard.unlink()
    shutil.rmtree(work / "data")
    draft = shard.with_name(shard.name + ".tmp")
    draft.symlink_to("/dev/full")
    assert run_data(folder) == 2
    error = capsys.readouterr().err
    assert "a disk is full: that of work_dir" in error
    assert "No space left on device" in error
    assert "the same command again goes on from here" in error
    assert "Traceback" not in error
    assert not shard.exists()
    draft.unlink()
    assert run_data(folder) == 0
    assert shard.exists()


def test_an_absent_tracking_server_is_said_before_mlflow_tries_for_four_minutes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def tried(*_: object, **__: object) -> None:
        raise AssertionError("MLflow was asked")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr("mlflow.utils.rest_utils.http_request", tried)
    assert run_data(folder) == 2
    assert "no MLflow tracking server answers at http://127.0.0.1:9" in capsys.readouterr().err
    assert not (folder.parent / "work").exists()
