"""Finished runs: by what was done in them, and by their id, whatever experiment of the store they are in."""

from collections.abc import Mapping
from dataclasses import dataclass

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from eusml.errors import TrackingError
from eusml.tracking.runs import FINGERPRINT, STAGE
from eusml.tracking.store import client


@dataclass(frozen=True)
class FinishedRun:
    """A run that ended well and may be reused."""

    run_id: str
    tags: Mapping[str, str]
    seconds: float
    """From its start to its end."""

    @property
    def parent_run_id(self) -> str | None:
        """Of the run that it stands below, if it does."""
        return self.tags.get(MLFLOW_PARENT_RUN_ID)


def find_finished(experiment_id: str, fingerprint: str) -> FinishedRun | None:
    """The newest run with this fingerprint that ended well, in an experiment."""
    return _newest(experiment_id, FINGERPRINT, fingerprint)


def find_newest(experiment_id: str, stage: str) -> FinishedRun | None:
    """The newest run of a stage that ended well, in an experiment."""
    return _newest(experiment_id, STAGE, stage)


def _newest(experiment_id: str, tag: str, value: str) -> FinishedRun | None:
    found = client().search_runs(
        [experiment_id],
        f"tags.`{tag}` = '{value}' and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    if not found:
        return None
    info = found[0].info
    return FinishedRun(info.run_id, dict(found[0].data.tags), (info.end_time - info.start_time) / 1000)


@dataclass(frozen=True)
class StoredRun:
    """A run that ended well."""

    run_id: str
    tags: Mapping[str, str]
    params: Mapping[str, str]


def stored_run(run_id: str) -> StoredRun:
    """The run of this id; where that one only took over the result of another, the other.

    Raises:
        TrackingError: the store has no such run, it was deleted, or it did not finish.
    """
    try:
        found = client().get_run(run_id)
    except MlflowException:
        raise TrackingError(f"the store {mlflow.get_tracking_uri()} has no run {run_id}") from None
    if found.info.lifecycle_stage != "active":
        raise TrackingError(f"run {run_id} was deleted; restore it with `mlflow runs restore`, or name another one")
    if found.info.status != "FINISHED":
        raise TrackingError(f"run {run_id} did not finish; its status is {found.info.status}")
    reused = found.data.tags.get("eusml.reused_run")
    return stored_run(reused) if reused else StoredRun(run_id, dict(found.data.tags), dict(found.data.params))


@dataclass(frozen=True)
class RunState:
    """A run as it is, however it ended."""

    status: str
    """As MLflow has it; `DELETED` or `ABSENT` for one that is not there (any more)."""
    tags: Mapping[str, str]


def run_state(run_id: str) -> RunState:
    """How a run ended, and its tags."""
    try:
        found = client().get_run(run_id)
    except MlflowException:
        return RunState("ABSENT", {})
    status = found.info.status if found.info.lifecycle_stage == "active" else "DELETED"
    return RunState(status, dict(found.data.tags))
