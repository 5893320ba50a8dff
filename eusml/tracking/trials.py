"""A study in the store: one run for it, shared by all its workers, and one below it for every trial.

Everything is written so that it may be written twice: whoever ends a study makes good what killed workers left out.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from mlflow.entities import Metric, Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME, MLFLOW_RUN_NOTE

from eusml.learning.tuning.study import TrialRecord
from eusml.tracking.curve import now_ms
from eusml.tracking.provenance import code_tags
from eusml.tracking.runs import STAGE, Run, param_text
from eusml.tracking.store import client

TRIAL = "eusml.trial"
TRIAL_STATE = "eusml.trial_state"
_MAX_TAG_CHARS = 5000


def open_study_run(parent: Run, name: str, tags: Mapping[str, str]) -> Run:
    """A run of no process in particular: a killed worker does not take it along."""
    marks = {MLFLOW_RUN_NAME: name, MLFLOW_PARENT_RUN_ID: parent.run_id, **code_tags(), **tags}
    run = client().create_run(parent.experiment_id, tags=marks, run_name=name)
    return Run(run.info.run_id, parent.experiment_id, parent.worker)


def reopen_study_run(parent: Run, run_id: str) -> Run | None:
    """The study's run below the job that goes on with it; None when this store does not hold it (any more)."""
    try:
        found = client().get_run(run_id)
    except MlflowException:
        return None
    if found.info.lifecycle_stage != "active" or found.info.experiment_id != parent.experiment_id:
        return None
    if found.info.status != "RUNNING":
        client().update_run(run_id, status="RUNNING")
    client().set_tag(run_id, MLFLOW_PARENT_RUN_ID, parent.run_id)
    return Run(run_id, parent.experiment_id, parent.worker)


def end_study_run(study_run: Run) -> None:
    """The study has as many trials as were asked for."""
    client().set_terminated(study_run.run_id, RunStatus.to_string(RunStatus.FINISHED))


def begin_trial(study_run: Run, number: int, settings: Mapping[str, object], tags: Mapping[str, str]) -> str:
    """A run for a trial that starts now; returns its id."""
    name = f"trial {number}"
    marks = {MLFLOW_RUN_NAME: name, MLFLOW_PARENT_RUN_ID: study_run.run_id, STAGE: "trial", TRIAL: str(number), **tags}
    run_id = str(client().create_run(study_run.experiment_id, tags=marks, run_name=name).info.run_id)
    client().log_batch(run_id, params=_params(settings))
    return run_id


def end_trial(run_id: str, record: TrialRecord) -> None:
    """All that is known of a trial that ended, and how it did: killed stands for pruned."""
    ended = _ms(record.ended)
    metrics = [Metric("trial", float(record.number), ended, 0), Metric("seconds", record.seconds, ended, 0)]
    if record.value is not None:
        metrics.append(Metric("objective", record.value, ended, 0))
    metrics += [Metric(f"inner/fold_{fold}", value, ended, 0) for fold, value in enumerate(record.fold_values)]
    metrics += [Metric("inner/loss", value, ended, epoch) for epoch, value in record.curve.items()]
    tags = {TRIAL_STATE: record.state, MLFLOW_RUN_NOTE: _note(record)}
    if record.error:
        tags["eusml.error"] = record.error[:_MAX_TAG_CHARS]
    client().log_batch(
        run_id,
        metrics=metrics,
        params=_params(record.settings),
        tags=[RunTag(name, value) for name, value in tags.items()],
    )
    status = {"complete": RunStatus.FINISHED, "failed": RunStatus.FAILED}.get(record.state, RunStatus.KILLED)
    client().set_terminated(run_id, RunStatus.to_string(status), end_time=ended)


def complete_trials(study_run: Run, records: Sequence[TrialRecord], tags: Mapping[str, str]) -> None:
    """Make good what killed workers left out: every trial has its run, and no run of one is left open."""
    below = client().search_runs(
        [study_run.experiment_id], f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{study_run.run_id}'", max_results=50_000
    )
    runs = {run.info.run_id: run for run in below}
    for record in records:
        known = runs.pop(record.recorded_as, None) if record.recorded_as else None
        if record.state in ("running", "waiting"):
            continue
        if known is None:
            if record.tried:
                end_trial(begin_trial(study_run, record.number, record.settings, tags), record)
        elif TRIAL_STATE not in known.data.tags or known.info.status == "RUNNING":
            end_trial(known.info.run_id, record)
    for run in runs.values():
        # Begun by a worker that died before it could say so, or of a trial that was queued again since.
        if run.info.status == "RUNNING":
            client().set_tag(run.info.run_id, TRIAL_STATE, "lost")
            client().set_terminated(run.info.run_id, RunStatus.to_string(RunStatus.KILLED))


def _note(record: TrialRecord) -> str:
    """What a person should know of a trial before its figures."""
    if record.state == "failed":
        return f"Failed: {(record.error or '')[:_MAX_TAG_CHARS]}"
    if record.state == "pruned":
        folds = len(record.fold_values)
        when = f"{folds} inner fold(s)" if folds else f"epoch {max(record.curve, default=0)} of the first inner fold"
        return f"Pruned after {when}: poor beside other trials, so it was stopped early. No failure."
    return "The settings as they stood before tuning." if record.is_default else "Trained on every inner fold."


def _params(settings: Mapping[str, object]) -> list[Param]:
    return [Param(f"cfg.{name}", param_text(value)) for name, value in settings.items()]


def _ms(when: datetime | None) -> int:
    return int(when.timestamp() * 1000) if when else now_ms()
