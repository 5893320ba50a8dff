"""What `compare` works on: the networks of the experiment's arms, or evaluation runs from the store by their ids."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from eusml.commands.evaluate import ARM, PREPARATION, Evaluation, cases_digest_tag, digest_tag
from eusml.commands.job import Job
from eusml.commands.reported import read_predictions
from eusml.commands.terminal import say
from eusml.errors import DataError, TrackingError
from eusml.evaluation.alignment import same_cases
from eusml.evaluation.report import PARTS
from eusml.tables import read_csv
from eusml.tracking import lookup, runs


@dataclass(frozen=True)
class Compared:
    """One network among those compared."""

    name: str
    run_id: str
    """Its evaluation run."""
    predictions: Mapping[str, pd.DataFrame]
    """Partition to its answers, as `commands.evaluate.predictions` makes them."""
    arch: str
    offline: bool | None
    """Whether it was trained on the off-line expanded images; None where that is not known."""
    history: pd.DataFrame | None
    """Its learning curves, one row per epoch; None where they cannot be had."""

    @property
    def epochs(self) -> int:
        """Length of its training, 0 where that is not known."""
        return 0 if self.history is None else len(self.history)


def compared_arms(evaluations: Sequence[Evaluation]) -> list[Compared]:
    """The experiment's arms."""
    return [
        Compared(
            e.model.arm,
            e.run_id,
            e.predictions,
            e.model.spec.arch,
            e.model.settings.offline,
            e.model.history,
        )
        for e in evaluations
    ]


def stored_evaluations(run_ids: Sequence[str]) -> list[lookup.StoredRun]:
    """The evaluation runs of these ids.

    Raises:
        TrackingError: one is not in the store, did not finish or is no evaluation run, or two are the same.
    """
    found = [lookup.stored_run(run_id) for run_id in run_ids]
    for run_id, stored in zip(run_ids, found, strict=True):
        if digest_tag("test") not in stored.tags:
            stage = stored.tags.get(runs.STAGE, "unknown")
            hint = "; its evaluation runs are its children" if stage == "main" else ""
            raise TrackingError(f"run {run_id} is no evaluation run, but one of stage {stage!r}{hint}")
    counts = Counter(stored.run_id for stored in found)
    twice = [run_id for run_id, stored in zip(run_ids, found, strict=True) if counts[stored.run_id] > 1]
    if twice:
        raise TrackingError(f"runs {', '.join(twice)} are the same evaluation: each took over the result of one run")
    return found


def compared_runs(job: Job, stored: Sequence[lookup.StoredRun]) -> list[Compared]:
    """The networks of evaluation runs, by their predictions in the store; no image is read.

    All are called at the threshold of this experiment. Partitions other than `test` that are not of the same cases in
    all runs are left out, and that is said.

    Raises:
        DataError: the runs were not measured on the same test cases; it names the cases.
        TrackingError: a run's predictions cannot be read.
    """
    names = _names(stored)
    answers: dict[str, dict[str, pd.DataFrame]] = {name: {} for name in names}
    for part in PARTS:
        if not all(digest_tag(part) in run.tags for run in stored):
            continue
        tables = {name: _predictions(job, run, part) for name, run in zip(names, stored, strict=True)}
        try:
            _check_same_cases(names, stored, tables, part)
        except DataError as error:
            if part == "test":
                raise
            say(f"  {part} is left out: {error}")
            continue
        for name, table in tables.items():
            answers[name][part] = table
    return [_compared(job, name, run, answers[name]) for name, run in zip(names, stored, strict=True)]


def _names(stored: Sequence[lookup.StoredRun]) -> list[str]:
    """What to call the networks: by their arm, and by their run, too, where that is not enough."""
    arms = [run.tags.get(ARM) or run.tags.get("eusml.arch", "network") for run in stored]
    return [f"{arm} {run.run_id[:8]}" if arms.count(arm) > 1 else arm for arm, run in zip(arms, stored, strict=True)]


def _predictions(job: Job, run: lookup.StoredRun, part: str) -> pd.DataFrame:
    table = read_predictions(runs.fetch(run.run_id, f"predictions_{part}.csv", _folder(job, run)))
    y_pred = (table["y_score"] >= job.config.evaluate.threshold).astype(np.int64)
    if (y_pred != table["y_pred"]).any():
        say(f"  run {run.run_id} called its {part} cases at another threshold; here all runs are called at "
            f"evaluate.threshold, {job.config.evaluate.threshold}")  # fmt: skip
    return table.assign(y_pred=y_pred)


def _check_same_cases(
    names: Sequence[str], stored: Sequence[lookup.StoredRun], tables: Mapping[str, pd.DataFrame], part: str
) -> None:
    """Raise unless all runs were measured on the same cases; their images may have been prepared otherwise.

    Raises:
        DataError: they were not.
    """
    try:
        same_cases(tables)  # names the cases
    except DataError as error:
        raise DataError(f"{part}: {error}") from None
    for name, other in zip(names[1:], stored[1:], strict=True):
        why = _why_other_images(stored[0], other, part)
        if why:
            raise DataError(
                f"{part}: {names[0]} and {name} cannot be compared: case ids, labels and patients are the same, but "
                f"{why}"
            )


def _why_other_images(first: lookup.StoredRun, other: lookup.StoredRun, part: str) -> str | None:
    """Why cases that are called the same may be other ones; None where they are the same, however prepared."""
    if first.tags[digest_tag(part)] == other.tags[digest_tag(part)]:
        return None
    cases = [run.tags.get(cases_digest_tag(part)) for run in (first, other)]
    if None in cases:
        return "the pixels differ, and an older run does not say whether only their preparation does; evaluate it anew"
    if cases[0] != cases[1]:
        return "not what else is known of the cases (files, boxes, covariates), so they may be other images"
    ours, theirs = (json.loads(run.tags.get(PREPARATION, "{}")) for run in (first, other))
    if ours == theirs:
        return "the pixels differ although both runs prepared their images alike, so the files are not the same"
    changed = [f"{name} {ours.get(name)} against {theirs.get(name)}" for name in {**ours, **theirs}
               if ours.get(name) != theirs.get(name)]  # fmt: skip
    say(f"  {part}: the same cases, prepared otherwise: {', '.join(changed)}")
    return None


def _compared(job: Job, name: str, run: lookup.StoredRun, predictions: Mapping[str, pd.DataFrame]) -> Compared:
    offline, history = None, None
    try:
        trained = lookup.stored_run(run.tags.get("eusml.train_run", "that trained it"))
        offline = {"true": True, "false": False}.get(trained.params.get("cfg.train.offline", ""))
        history = read_csv(runs.fetch(trained.run_id, "curves.csv", _folder(job, run)))
    except TrackingError as error:
        say(f"  no learning curves of {name}: {error}")
    return Compared(name, run.run_id, predictions, run.tags.get("eusml.arch", ""), offline, history)


def _folder(job: Job, run: lookup.StoredRun) -> Path:
    return job.work_dir / "compare" / run.run_id
