"""Runs, and all that is logged to them.

Everything goes through `MlflowClient` and a run's id, never through MLflow's global "active run": several runs
are open at once here (the job's and its stages'), and an id cannot be confused.
"""

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME, MLFLOW_RUN_NOTE
from mlflow.utils.validation import MAX_TAG_VAL_LENGTH

from eusml.errors import PrivateDataError, TrackingError
from eusml.tables import to_csv_text
from eusml.tracking.curve import Curve, now_ms
from eusml.tracking.provenance import code_tags
from eusml.tracking.store import client, experiment_id
from eusml.workers import Worker

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FINGERPRINT = "eusml.fingerprint"
STAGE = "eusml.stage"
SOURCE = "eusml.data_source"
SYNTHETIC = "eusml.synthetic"
WORKER = "eusml.worker"
"""Which process opened the run, of which work folder of which machine: `Worker.name`."""
_BATCH = 100
_DIGEST_CHARS = 36
"""MLflow's column for a data set's digest is no wider; the whole digest stands in the tag `eusml.data_digest`."""


@dataclass(frozen=True)
class Run:
    """An open run."""

    run_id: str
    experiment_id: str
    worker: str
    """Name of the process that opened it."""

    def params(self, values: Mapping[str, Any]) -> None:
        """Settings; each can be logged once."""
        params = [Param(name, param_text(value)) for name, value in values.items()]
        for start in range(0, len(params), _BATCH):
            client().log_batch(self.run_id, params=params[start : start + _BATCH])

    def tags(self, values: Mapping[str, str]) -> None:
        """Searchable marks; a later value replaces an earlier one."""
        client().log_batch(self.run_id, tags=[RunTag(name, value) for name, value in values.items()])

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Numbers, all in one call."""
        now = now_ms()
        client().log_batch(self.run_id, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    @contextmanager
    def curve(self) -> Iterator[Curve]:
        """A writer of numbers per epoch; what it holds back is written when the block ends, however it ends."""
        curve = Curve(self.run_id)
        try:
            yield curve
        finally:
            curve.flush()

    def text(self, text: str, file: str) -> None:
        """A text artifact."""
        client().log_text(self.run_id, text, file)

    def json(self, value: Any, file: str) -> None:
        """A JSON artifact; what is not a number there is null, for JSON has no NaN."""
        self.text(json.dumps(_without_nan(value), indent=2, default=str, allow_nan=False) + "\n", file)

    def table(self, table: pd.DataFrame, file: str) -> None:
        """A CSV artifact that a spreadsheet opens without running a cell of it."""
        self.text(to_csv_text(table), file)

    def artifacts(self, files: Mapping[str, bytes]) -> None:
        """Artifacts by their path, all in one call: MLflow does some work for each."""
        with TemporaryDirectory() as name:
            for file, content in files.items():
                path = Path(name) / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            client().log_artifacts(self.run_id, name)

    def image(self, picture: "NDArray[np.uint8]", key: str, step: int) -> None:
        """One picture (uint8 [H, W, 3]) of a series, which the UI shows with a slider over the steps."""
        client().log_image(self.run_id, picture, key=key, step=step)

    def note(self, markdown: str) -> None:
        """The description that the UI shows on top of the run; what does not fit there stands in `description.md`."""
        if len(markdown) > MAX_TAG_VAL_LENGTH:
            self.text(markdown, "description.md")
            pointer = "\n\n… goes on in the artifact `description.md`."
            markdown = markdown[: MAX_TAG_VAL_LENGTH - len(pointer)].rsplit("\n", 1)[0] + pointer
        self.tags({MLFLOW_RUN_NOTE: markdown})

    def dataset(self, table: pd.DataFrame, name: str, digest: str, context: str, source: str) -> None:
        """Record which cases went in.

        Args:
            table: their rows; only its shape is stored.
            name: what to call the set: `train`.
            digest: SHA-256 of the prepared data.
            context: MLflow's word for what it was used for: `training`, `evaluation`.
            source: where the data came from, for people.
        """
        profile = json.dumps({"num_rows": len(table), "num_patients": int(table["patient_id"].nunique())})
        dataset = Dataset(
            name=name,
            digest=digest[:_DIGEST_CHARS],
            source_type="eusml",
            source=json.dumps({"source": source}),
            profile=profile,
        )
        inputs = [DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, context)])]
        try:
            client().log_inputs(self.run_id, inputs)
        except MlflowException:
            # Another process may have recorded the same set at the same moment: asked again, MLflow finds it.
            client().log_inputs(self.run_id, inputs)
        self.tags({"eusml.data_digest": digest})


@contextmanager
def entry_run(name: str, tags: Mapping[str, str], worker: str) -> Iterator[Run]:
    """The run of an entry point: the one that `mlflow run` opened, or a new one.

    Raises:
        TrackingError: the store fails, now or while the job runs.
    """
    try:
        named = {MLFLOW_RUN_NAME: name, WORKER: worker, **code_tags(), **tags}
        given = os.environ.get("MLFLOW_RUN_ID")
        if given:
            run = Run(given, client().get_run(given).info.experiment_id, worker)
            run.tags(named)
        else:
            run = _create(experiment_id(), named)
        with _ended(run):
            yield run
    except MlflowException as error:
        raise TrackingError(
            f"the MLflow store {mlflow.get_tracking_uri()} failed: {error}. What was finished is kept; the same "
            "command again goes on from there"
        ) from error


def name_given_run(name: str, tags: Mapping[str, str]) -> None:
    """Name the run that `mlflow run` opened for an entry point that records nothing; elsewhere there is none."""
    if given := os.environ.get("MLFLOW_RUN_ID"):
        for key, value in {MLFLOW_RUN_NAME: name, **tags}.items():
            client().set_tag(given, key, value)


@contextmanager
def child_run(parent: Run, name: str, tags: Mapping[str, str]) -> Iterator[Run]:
    """A run below another one."""
    marks = {MLFLOW_RUN_NAME: name, MLFLOW_PARENT_RUN_ID: parent.run_id, WORKER: parent.worker}
    run = _create(parent.experiment_id, {**marks, **code_tags(), **tags})
    with _ended(run):
        yield run


def common_tags(
    stage: str, *, source: str, synthetic: bool, fingerprint: str, arch: str | None = None
) -> dict[str, str]:
    """Tags by which runs are found in the UI."""
    tags = {STAGE: stage, SOURCE: source, SYNTHETIC: str(synthetic).lower()}
    if fingerprint:
        tags[FINGERPRINT] = fingerprint
    return tags if arch is None else {**tags, "eusml.arch": arch}


def end_abandoned(run: Run, worker: Worker) -> None:
    """End the runs, parents included, that processes of the same work folder left open when they were killed.

    Runs of other folders are left alone, and so are those of processes that live.
    """
    left_open = client().search_runs(
        [run.experiment_id], f"tags.`{WORKER}` LIKE '{worker.place}/%' and attributes.status = 'RUNNING'"
    )
    for other in left_open:
        if worker.is_gone(other.data.tags[WORKER]):
            client().set_tag(other.info.run_id, "eusml.superseded_by", run.run_id)
            client().set_terminated(other.info.run_id, RunStatus.to_string(RunStatus.KILLED))


def fetch(run_id: str, artifact: str, folder: Path) -> Path:
    """Download an artifact; returns where it lies.

    Raises:
        TrackingError: the run has no such artifact.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return Path(client().download_artifacts(run_id, artifact, str(folder)))
    except (MlflowException, OSError) as error:
        raise TrackingError(f"artifact {artifact} of run {run_id} cannot be read: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """What `Run.json` wrote, once fetched.

    Raises:
        TrackingError: it is no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrackingError(f"artifact {path.name} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise TrackingError(f"artifact {path.name} holds no JSON object")
    return value


@contextmanager
def _ended(run: Run) -> Iterator[None]:
    """Give the run its final status: finished, failed with the error's text, or killed by the user."""
    try:
        yield
    except BaseException as error:
        killed = isinstance(error, KeyboardInterrupt)
        try:
            private = isinstance(error, PrivateDataError)
            text = "shown on the terminal only, for it may name patients" if private else str(error)
            run.tags({"eusml.error": f"{type(error).__name__}: {text}"[:5000]})
            status = RunStatus.KILLED if killed else RunStatus.FAILED
            client().set_terminated(run.run_id, RunStatus.to_string(status))
        except MlflowException:
            logging.getLogger(__name__).warning("the end of run %s could not be recorded", run.run_id)
        raise
    client().set_terminated(run.run_id, RunStatus.to_string(RunStatus.FINISHED))


def _create(experiment_id: str, tags: Mapping[str, str]) -> Run:
    run = client().create_run(experiment_id, tags=dict(tags), run_name=tags[MLFLOW_RUN_NAME])
    return Run(run.info.run_id, experiment_id, tags[WORKER])


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def param_text(value: Any) -> str:
    """How a setting is written in the store, the same everywhere: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)
