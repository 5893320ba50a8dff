"""MLflow's own UI: where in it the runs stand, and the process that shows it on this machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import requests
import sqlalchemy
from mlflow.exceptions import MlflowException

from eusml.errors import TrackingError
from eusml.tracking import runs, store
from eusml.tracking.lookup import FinishedRun, find_newest

STAGE = "ui"
_HOST = "127.0.0.1"
_READY_S = 120.0
_END_S = 10.0
_TAIL_CHARS = 2000
_VIEW = "eusml-networks"
_VIEW_TAG = f"mlflow.sharedViewState.{_VIEW}"
"""Tag of an experiment, where the UI keeps shared views of its list; of itself, that shows no measure at all."""
_WIDTH_PX = 150


@dataclass(frozen=True)
class Shown:
    """What there is to look at."""

    experiment: str
    """Name."""
    experiment_id: str
    pipeline: FinishedRun | None
    """The newest run of `main` that ended well."""
    viewed: bool
    """Whether the store keeps the view of networks beside one another."""

    def runs_at(self, base: str) -> str:
        """Address of the list of runs, below the UI's own address."""
        return f"{base}/#/experiments/{self.experiment_id}/runs"

    def networks_at(self, base: str) -> str | None:
        """Address of the evaluation runs alone, with measures and intervals as columns; None without that view."""
        return f"{self.runs_at(base)}?viewStateShareKey={_VIEW}" if self.viewed else None

    def pipeline_at(self, base: str) -> str | None:
        """Address of the pipeline run's page; None where no run of `main` ended well."""
        return None if self.pipeline is None else f"{self.runs_at(base)}/{self.pipeline.run_id}"


def look(run_name: str) -> Shown:
    """What the experiment holds.

    Args:
        run_name: what to call the run that `mlflow run` opened, where it did.

    Raises:
        TrackingError: nothing is recorded there, or the store cannot be used.
    """
    uri = mlflow.get_tracking_uri()
    if uri.startswith("sqlite:") and (file := sqlalchemy.make_url(uri).database) and not Path(file).exists():
        # Before a connection makes the file, and all its tables.
        raise TrackingError(f"nothing is recorded yet, for there is no {file}: `mlflow run .` records a study")
    store.connect()
    runs.name_given_run(run_name, {"eusml.entry_point": STAGE, runs.STAGE: STAGE})
    experiment = store.client().get_experiment(store.experiment_id())
    filled = f"tags.`{runs.STAGE}` != '{STAGE}'"  # which no run without the tag meets
    if not store.client().search_runs([experiment.experiment_id], filled, max_results=1):
        others = [
            f"'{one.name}'"
            for one in store.client().search_experiments()
            if store.client().search_runs([one.experiment_id], max_results=1)
            and one.experiment_id != experiment.experiment_id
        ]
        hint = f", and --experiment-name or MLFLOW_EXPERIMENT_NAME names another: {', '.join(others)}" if others else ""
        raise TrackingError(
            f"nothing is recorded in experiment '{experiment.name}' yet: `mlflow run .` records a study there{hint}"
        )
    known = experiment.experiment_id
    return Shown(experiment.name, known, find_newest(known, "main"), _keep_view(known))


def _keep_view(experiment_id: str) -> bool:
    """Write down, in the experiment, how networks are to be listed; whether that could be done.

    Sorted by name: another order than by time makes the UI list runs that stand below others, and one by a measure of
    the held-out cases would invite to choose by it.
    """
    measures = [
        f"metrics.`{part}/{name}`"
        for part in ("test", "fresh")
        for measure in ("accuracy", "auroc")
        for name in (measure, f"{measure}_ci_low", f"{measure}_ci_high")
    ]
    columns = ["attributes.`Run Name`", "runDateAndNestInfo", *measures, "duration"]
    view = {
        # With a measure, which a run that only took over another one's result has not.
        "searchFilter": f"tags.`{runs.STAGE}` = 'evaluate' and metrics.`test/accuracy` >= 0",
        "orderByKey": "tags.`mlflow.runName`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": measures,
        "columnOrder": columns,
        "columnWidths": dict.fromkeys(columns, _WIDTH_PX),
    }
    try:
        store.client().set_experiment_tag(experiment_id, _VIEW_TAG, json.dumps(view))
    except MlflowException:  # who may read a store may not always write to it
        return False
    return True


def server_of_store() -> str | None:
    """Address of the tracking server that holds the runs and shows them itself; None for any other store."""
    uri = mlflow.get_tracking_uri()
    return uri.rstrip("/") if uri.startswith(("http://", "https://")) else None


@dataclass(frozen=True)
class Server:
    """MLflow's UI on this machine."""

    base: str
    """Address without a path."""
    process: "subprocess.Popen[bytes]"
    log: Path

    def wait(self) -> None:
        """Wait until it ends, which it does not do by itself.

        Raises:
            TrackingError: it did.
        """
        status = self.process.wait()
        raise TrackingError(f"MLflow's UI ended by itself, with status {status}: {_tail(self.log)}")


@contextmanager
def serving(port: int | None) -> Iterator[Server]:
    """Show the store on 127.0.0.1 as long as the block lasts; then every process of it is ended.

    Args:
        port: where; None for a port that is free.

    Raises:
        TrackingError: the port is taken, or the UI does not start.
    """
    chosen = _port(port)
    words = ("ui", "--host", _HOST, "--port", str(chosen), "--workers", "1")
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *words],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of its own, so that all of it can be ended
            )
        try:
            server = Server(f"http://{_HOST}:{chosen}", process, log)
            _wait_until_ready(server)
            yield server
        finally:
            _end(process)


def _environment() -> dict[str, str]:
    # The address of the store goes by the environment, for it may hold a password, and everybody sees a command line.
    return {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": mlflow.get_tracking_uri(),
        "MLFLOW_REGISTRY_STORE_URI": mlflow.get_registry_uri(),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # more processes, for what no run here has
        "MLFLOW_UVICORN_OPTS": "--log-level warning",
    }


def _port(wanted: int | None) -> int:
    with socket.socket() as probe:
        # As the server will ask for it: without this, a port that was left a moment ago counts as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, wanted or 0))
        except OSError as error:
            raise TrackingError(
                f"port {wanted} of {_HOST} cannot be had ({error.strerror}); without ui.port a free one is taken"
            ) from None
        return int(probe.getsockname()[1])


def _wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + _READY_S
    while True:
        if server.process.poll() is not None:
            raise TrackingError(f"MLflow's UI did not start: {_tail(server.log)}")
        with suppress(requests.RequestException):
            if requests.get(f"{server.base}/health", timeout=5).ok:
                return
        if time.monotonic() > deadline:
            raise TrackingError(f"MLflow's UI did not answer within {_READY_S:.0f} s: {_tail(server.log)}")
        time.sleep(0.1)


def _end(process: "subprocess.Popen[bytes]") -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):  # all of the group are gone
            os.killpg(process.pid, how)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
            return


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace").strip()[-_TAIL_CHARS:] or "it said nothing"
