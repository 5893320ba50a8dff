"""Finished runs: by what was done in them, and by their id, whatever experiment of the store they are in."""

from collections.abc import Mapping
from dataclasses import dataclass

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from eusml.errors import TrackingError
from eusml.tracking.runs import FINGERPRINT, STAGE, Run
from eusml.tracking.store import client

_MOST = 50_000
"""Runs that MLflow gives in one answer."""


@dataclass(frozen=True)
class FinishedRun:
    """A run that ended well and may be reused."""

    run_id: str
    name: str
    tags: Mapping[str, str]
    seconds: float
    """From its start to its end."""


def find_finished(experiment_id: str, fingerprint: str) -> FinishedRun | None:
    """The newest run with this fingerprint that ended well, in an experiment."""
    return next(iter(_finished(experiment_id, FINGERPRINT, fingerprint, at_most=1)), None)


def find_newest(experiment_id: str, stage: str) -> FinishedRun | None:
    """The newest run of a stage that ended well, in an experiment."""
    return next(iter(_finished(experiment_id, STAGE, stage, at_most=1)), None)


def finished_below(run: Run) -> list[FinishedRun]:
    """The runs directly below another one that ended well, in the order in which they began."""
    return _finished(run.experiment_id, MLFLOW_PARENT_RUN_ID, run.run_id, at_most=_MOST)[::-1]


def _finished(experiment_id: str, tag: str, value: str, at_most: int) -> list[FinishedRun]:
    found = client().search_runs(
        [experiment_id],
        f"tags.`{tag}` = '{value}' and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        max_results=at_most,
    )
    return [
        FinishedRun(
            one.info.run_id,
            one.info.run_name,
            dict(one.data.tags),
            (one.info.end_time - one.info.start_time) / 1000,
        )
        for one in found
    ]


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
