"""Which runs a report is made of: those of one pipeline run, or those that were named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from eusml.errors import DataError, TrackingError
from eusml.tracking import lookup, runs
from eusml.tracking.lookup import find_newest
from eusml.tracking.store import client

STAGES_FILE = "stages.json"
"""Artifact of a pipeline run: its stages, those that were reused among them."""
AUDIT_FILE = "audit/audit.json"
"""Artifact of a run that read data: findings and flow of cases, with what other languages need to say them."""
METHODS_FILE = "methods.json"
"""Artifact of runs that measure: by which methods, with what other languages need to say them."""
ENVIRONMENT_FILE = "environment.json"
"""Artifact of every run of an entry point: what it ran on."""
ARM, PROTOCOL, TRAIN_RUN = "eusml.arm", "eusml.protocol", "eusml.train_run"
_USED = ("data", "augment", "tune", "train", "evaluate", "compare", "promote")
_DIGESTS = ("eusml.test_cases_digest", "eusml.test_digest")


@dataclass(frozen=True)
class Selection:
    """Finished runs by stage, in their order, and what is known of them together."""

    asked: Sequence[str]
    """The ids that were asked for."""
    by_stage: Mapping[str, Sequence[lookup.StoredRun]]
    settings_of: str
    """The run whose parameters are the settings: the pipeline's, or the one that the evaluation ran in."""
    stages: pd.DataFrame | None = None
    """Columns label, run_id, reused, seconds; of a pipeline run alone."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Run id to what the pipeline calls the stage."""

    def first(self, stage: str) -> lookup.StoredRun | None:
        """The one run of a stage that is run once; None without it."""
        return next(iter(self.by_stage.get(stage, ())), None)


def select(run_ids: Sequence[str], experiment_id: str, folder: Path, *, within: str | None = None) -> Selection:
    """The runs that a report is made of.

    Args:
        run_ids: one run of `main`, or evaluation runs (and runs that belong to them); none means the newest finished
            run of `main` in the experiment.
        experiment_id: where to look for that one.
        folder: for what is downloaded.
        within: a run of `main` that goes on, as its last stage is the report; instead of all others.

    Raises:
        TrackingError: an id is not in the store, did not finish, or is of no use here; or no run of `main` finished.
        DataError: evaluation runs are not of the same cases.
    """
    if within is not None:
        return _pipeline(within, folder)
    if not run_ids:
        return _pipeline(_newest_pipeline(experiment_id), folder)
    found = [lookup.stored_run(run_id) for run_id in run_ids]
    pipelines = [one for one in found if one.tags.get(runs.STAGE) == "main"]
    if pipelines and len(found) > 1:
        raise TrackingError(
            f"run {pipelines[0].run_id} is one of main: it is reported alone, with all its stages. To report several "
            "together, name their evaluation runs"
        )
    return _pipeline(pipelines[0].run_id, folder) if pipelines else _named(run_ids, found)


def _newest_pipeline(experiment_id: str) -> str:
    newest = find_newest(experiment_id, "main")
    if newest is None:
        raise TrackingError(
            "no run of main has finished in this experiment, so there is nothing to report; start one with "
            "`mlflow run .`, or name runs with -P report.runs='[\"run id\"]'"
        )
    return newest.run_id


def _pipeline(run_id: str, folder: Path) -> Selection:
    try:
        file = runs.fetch(run_id, STAGES_FILE, folder / run_id)
    except TrackingError:
        raise TrackingError(
            f"run {run_id} does not say which stages it is made of ({STAGES_FILE} is missing): it is of an older "
            "version, or its artifacts were deleted. Start main again: finished stages are reused, and it ends with a "
            "report"
        ) from None
    stages = pd.DataFrame(runs.read_json(file)["stages"], columns=["label", "run_id", "reused", "seconds"])
    found = [lookup.stored_run(one) for one in dict.fromkeys(stages["run_id"])]
    labels = dict(zip(stages["run_id"], stages["label"], strict=True))
    return Selection([run_id], _by_stage(found), run_id, stages, labels)


def _named(run_ids: Sequence[str], found: Sequence[lookup.StoredRun]) -> Selection:
    by_stage = _by_stage(found)
    for one in found:
        stage = one.tags.get(runs.STAGE, "unknown")
        if stage not in _USED:
            raise TrackingError(
                f"run {one.run_id} is of stage {stage!r}; a report is made of one run of main, or of evaluation runs"
            )
    evaluations = by_stage.get("evaluate", [])
    if not evaluations:
        raise TrackingError(f"there is no evaluation run among {', '.join(run_ids)}: there is nothing to report")
    _check_same_cases(evaluations)
    first = evaluations[0]
    if not by_stage.get("data"):
        data = _data_run(first)
        if data is not None:
            by_stage["data"] = [data]
    holder = first if any(name.startswith("cfg.data.") for name in first.params) else None
    parent = first.tags.get("mlflow.parentRunId")
    if holder is None and parent is None:
        raise TrackingError(f"run {first.run_id} does not hold its settings, and is no part of a run that does")
    return Selection(list(run_ids), by_stage, first.run_id if holder else str(parent))


def _by_stage(found: Sequence[lookup.StoredRun]) -> dict[str, list[lookup.StoredRun]]:
    by_stage: dict[str, list[lookup.StoredRun]] = {}
    for one in found:
        by_stage.setdefault(one.tags.get(runs.STAGE, "unknown"), []).append(one)
    return by_stage


def _check_same_cases(evaluations: Sequence[lookup.StoredRun]) -> None:
    first, *others = evaluations
    for other in others:
        for name in _DIGESTS:
            if name in first.tags and name in other.tags:
                if first.tags[name] != other.tags[name]:
                    raise DataError(
                        f"runs {first.run_id} and {other.run_id} are of different data: their test cases are not the "
                        f"same ({first.tags.get(runs.SOURCE, 'unknown')}, {other.tags.get(runs.SOURCE, 'unknown')}). "
                        "Report them one by one"
                    )
                break


def _data_run(evaluation: lookup.StoredRun) -> lookup.StoredRun | None:
    """The newest run that read these data; None where it was deleted."""
    digest = evaluation.tags.get("eusml.data_digest")
    if digest is None:
        return None
    newest = client().search_runs(
        [client().get_run(evaluation.run_id).info.experiment_id],
        f"tags.`{runs.STAGE}` = 'data' and tags.`eusml.data_digest` = '{digest}' and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return lookup.stored_run(newest[0].info.run_id) if newest else None
