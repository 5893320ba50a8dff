"""A tiny study in a folder of its own, with a store of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
from filelock import FileLock

TINY = """
name: tiny
work_dir: {work}
data:
  image_size_px: 32
  phantom: {{gist_cases: 12, leiomyoma_cases: 13, selection_cases: 6, fresh_cases: 10}}
train: {{epochs: {epochs}, batch_size: 8, checkpoint_every_s: 0.0, threads: 1}}
arms:
  - {{name: resnet34, arch: resnet34}}
  - {{name: resnet50, arch: resnet50, epochs: 1}}
evaluate: {{bootstrap_samples: 100}}
"""
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Place:
    """Where a tiny study lives."""

    folder: Path
    environment: Mapping[str, str]

    @property
    def experiment(self) -> Path:
        """The settings."""
        return self.folder / "tiny.yaml"

    def run(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """A command as a person would type it in the project's folder."""
        done = subprocess.run(
            [str(BIN / words[0]), *words[1:]],
            env=dict(self.environment),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    def eusml(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """`python -m eusml …`."""
        return self.run("python", "-m", "eusml", *words, check=check)


def make_place(folder: Path, *, epochs: int = 2) -> Place:
    """Settings, an empty store and an experiment in it."""
    uri = f"sqlite:///{folder}/mlflow.db"
    (folder / "tiny.yaml").write_text(TINY.format(work=folder / "work", epochs=epochs))
    client = mlflow.MlflowClient(tracking_uri=uri)
    if client.get_experiment_by_name("tiny") is None:
        client.create_experiment("tiny", artifact_location=str(folder / "artifacts"))
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_EXPERIMENT_NAME": "tiny",
        "OMP_NUM_THREADS": "2",  # other than `threads` above, as on a user's machine
    }
    return Place(folder, environment)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Place:
    """A place where `mlflow run .` has done the whole tiny study: once, for all processes that run tests."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "finished"
    with FileLock(f"{folder}.lock"):
        folder.mkdir(exist_ok=True)
        place = make_place(folder)
        log = folder / "main.log"
        if not log.exists():
            log.write_text(mlflow_run(place, "main"))
    return place


def mlflow_run(place: Place, entry: str, *parameters: str, env_manager: str = "local") -> str:
    """`mlflow run . -e ENTRY`; returns what a person saw."""
    words = [word for parameter in parameters for word in ("-P", parameter)]
    done = place.run(
        "mlflow", "run", ".", "-e", entry, "--env-manager", env_manager, "--experiment-name", "tiny",
        "-P", f"experiment={place.experiment}", *words,
    )  # fmt: skip
    return done.stdout + done.stderr
