"""Entry point `tune`: a search for settings on inner folds of the training partition, by any number of workers."""

import hashlib
import time
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

import pandas as pd

from eusml.commands.data import StudyData, cross_validation_data, study_at, study_data
from eusml.commands.job import Job, StageRecord, alone, open_job, was_met
from eusml.commands.terminal import say
from eusml.commands.trial_workers import RecordedStudy, take_trials
from eusml.commands.turns import say_of_unlearnt_turns
from eusml.config import Config, check_space, flatten, with_settings, without_passwords
from eusml.data.manifest import table_digest
from eusml.data.split import inner_folds
from eusml.digests import code_digest, fingerprint
from eusml.errors import TrackingError
from eusml.learning.tuning.objective import InnerFolds, TrainingCases
from eusml.learning.tuning.page import study_page
from eusml.learning.tuning.study import TrialRecord, Tuning, open_tuning
from eusml.tracking import runs, trials
from eusml.tracking.lookup import FinishedRun, find_finished
from eusml.workers import Worker

LAYERS = ("data", "learning")
_RUN, _RECORDED = "mlflow_run", "recorded"
_BEST = "best.json"
_WAIT_S, _POLL_S = 60.0, 0.2
_OF_THE_MACHINE = ("train.checkpoint_every_s", "train.threads", "train.device", "train.kernels", "train.resident_mib")
"""Settings in which workers of one study may differ."""


def run(config: Config) -> None:
    """Work on every study of every arm until it has its trials; several processes may do so at once."""
    check_space(config)
    with open_job("tune", config, shared=True) as job:
        arms = config.arm_configs()
        say_of_unlearnt_turns(arms)
        with alone(job):
            data = cross_validation_data(job) if config.protocol.kind == "nested_cv" else study_data(job)
        for arm, settings in arms.items():
            for name, study in data.to_tune_on(arm).items():
                tuned(job, study, name, settings)


def settled(job: Job, study: StudyData, arm: str, config: Config) -> tuple[StudyData, Config]:
    """An arm's images and settings as it is trained: tuned first where `tune.enabled` asks for it."""
    if config.tune.enabled:
        config = tuned(job, study, arm, config)
    return study_at(job, study, config.data), config


def tuned(job: Job, study: StudyData, arm: str, config: Config) -> Config:
    """An arm's settings with the best of its study: from the finished run, or after the trials that it still lacks.

    Raises:
        ConfigError: the search space is empty, or goes together with no setting.
        DataError: a class has fewer patients in the training partition than there are inner folds.
        TuningError: the study cannot be reached, is another one, or has no finished trial.
    """
    check_space(config)
    began = time.perf_counter()
    label, defined = f"tune {arm}", definition(study, config)
    name = study_name(defined, arm, config)
    key = fingerprint("tune", {"definition": defined, "trials": config.tune.trials, "name": name}, LAYERS)
    finished = find_finished(job.run.experiment_id, key)
    best = _recorded_best(job, finished)
    if finished is not None and best is not None:
        if was_met(job, label, finished.run_id):
            return with_settings(config, best)
        say(f"[{label}] reused: the study {name} has its {config.tune.trials} trials in run {finished.run_id}")
        if job.entry == "tune":
            job.run.tags({"eusml.study_run": finished.run_id})
        job.records.append(StageRecord(label, finished.run_id, True, time.perf_counter() - began))
        return with_settings(config, best)
    tuning = open_study(job, study, arm, config)
    say(f"[{label}] study {name}: {config.tune.trials} trials of {len(tuning.inner.folds)} inner folds")
    manifest = study.prepared.manifest
    tags = runs.common_tags(
        "tune", arch=config.train.arch, source=manifest.source, synthetic=manifest.synthetic, fingerprint=""
    )
    marks = {tag: value for tag, value in tags.items() if tag != runs.STAGE}
    study_run = _study_run(job, tuning, label, {**tags, "eusml.study": name})
    found = RecordedStudy(tuning, study_run, marks)
    take_trials(found, job.worker)
    best = tuning.best().settings
    _finish(found, study, key, job.worker)
    job.records.append(StageRecord(label, found.run.run_id, False, time.perf_counter() - began))
    return with_settings(config, best)


def open_study(job: Job, study: StudyData, arm: str, config: Config) -> Tuning:
    """The arm's study, made if there is none; no trial is run."""
    defined = definition(study, config)
    name = study_name(defined, arm, config)
    folder = job.work_dir / "tune" / hashlib.sha256(name.encode()).hexdigest()[:16]
    return open_tuning(config, _inner(job, study, config), name, defined, folder)


def study_name(defined: Mapping[str, Any], arm: str, config: Config) -> str:
    """The name of an arm's study: as asked for, or one that no other `definition` has."""
    if config.tune.study:
        return f"{config.tune.study}-{arm}"
    digest = hashlib.sha256(repr(sorted(defined.items())).encode()).hexdigest()
    return f"{config.name}-{arm}-{digest[:8]}"


def definition(study: StudyData, config: Config) -> dict[str, Any]:
    """What must be equal for trials to be of one study; nothing of it is of the held-out cases."""
    train = study.prepared.manifest.table.iloc[study.split.indices("train")]
    tune = config.tune.model_dump(
        mode="json", exclude={"enabled", "trials", "study", "storage", "heartbeat_s", "workers"}
    )
    # What is searched begins where the settings stand, so they all belong to it.
    settings = {**flatten(config.train, "train."), **flatten(config.augment, "augment.")}
    settings = {name: value for name, value in settings.items() if name not in _OF_THE_MACHINE}
    evaluate = {"views": config.evaluate.views, "threshold": config.evaluate.threshold}
    return {
        "training cases": table_digest(train)[:16],
        "image_size_px": config.data.image_size_px,
        "settings": hashlib.sha256(repr(sorted({**settings, **evaluate}.items())).encode()).hexdigest()[:16],
        "space": tune.pop("space"),
        "search": tune,
        "code": code_digest("tune", *LAYERS)[:16],
    }


def _inner(job: Job, study: StudyData, config: Config) -> InnerFolds:
    settings = config.tune
    rows = study.split.indices("train")

    @cache
    def cases(size_px: int) -> TrainingCases:
        sized = with_settings(config, {"data.image_size_px": size_px}).data
        prepared = study_at(job, study, sized).prepared
        manifest = prepared.manifest
        names = tuple(manifest.table["case_id"].iloc[rows].astype(str))
        return TrainingCases(prepared.images[rows], manifest.y_true[rows], names)

    return InnerFolds(
        cases, inner_folds(study.prepared.manifest, study.split, settings.folds, settings.repeats, settings.seed)
    )


def _study_run(job: Job, tuning: Tuning, label: str, tags: Mapping[str, str]) -> runs.Run:
    """The study's run: who made the study opens it, all others find it noted there."""
    began = time.monotonic()
    while tuning.recall(_RUN) is None and not tuning.is_new and time.monotonic() - began < _WAIT_S:
        time.sleep(_POLL_S)
    known = tuning.recall(_RUN)
    run = trials.reopen_study_run(job.run, known) if known else None
    if run is None:
        run = trials.open_study_run(job.run, label, tags)
        run.params({f"cfg.{name}": value for name, value in flatten(without_passwords(tuning.config)).items()})
        tuning.note(_RUN, run.run_id)
    if job.entry == "tune":
        job.run.tags({"eusml.study_run": run.run_id})
    return run


def _finish(found: RecordedStudy, study: StudyData, key: str, worker: Worker) -> None:
    """Record the whole study, by one worker: who ran the trial that ended last, or anyone if that one is gone."""
    tuning = found.tuning
    records = tuning.records()
    done = str(sum(record.tried for record in records))
    last = max((r for r in records if r.tried), key=lambda r: (r.ended or datetime.min, r.number))
    began = time.monotonic()
    mine = last.worker == worker.name
    gone = last.worker is not None and worker.is_gone(last.worker) is True
    while not (mine or gone) and tuning.recall(_RECORDED) != done and time.monotonic() - began < _WAIT_S:
        time.sleep(_POLL_S)
    if not mine and tuning.recall(_RECORDED) == done:
        say(f"  {tuning.summary()} Another worker recorded the study in run {found.run.run_id}")
        return
    _record(found, study, records, key)
    tuning.note(_RECORDED, done)


def _record(found: RecordedStudy, study: StudyData, records: list[TrialRecord], key: str) -> None:
    from eusml.evaluation import report  # late: scipy stands behind it, and few starts record a study

    tuning, run, synthetic = found.tuning, found.run, study.prepared.manifest.synthetic
    trials.complete_trials(run, records, found.tags)
    best = tuning.best()
    metric = tuning.config.tune.metric
    note = report.tuning_note(trial_table(records), tuning.summary(), metric, synthetic=synthetic)
    run.table(trial_table(records), "trials.csv")
    run.text(study_page(tuning, synthetic=synthetic), "study.html")
    run.json({"trial": best.number, "settings": best.settings, metric: best.value}, _BEST)
    counts = {
        f"tune/{state}": float(sum(r.state == state for r in records)) for state in ("complete", "pruned", "failed")
    }
    assert best.value is not None
    run.metrics({"objective": best.value, **counts})
    run.tags({f"best.{name}": runs.param_text(value) for name, value in best.settings.items()})
    run.tags({runs.FINGERPRINT: key})
    run.note(note)
    trials.end_study_run(run)
    default = next((r.value for r in records if r.is_default and r.value is not None), None)
    gain = f"; as it stood {default:.4f}" if default is not None else ""
    say(
        f"  {tuning.summary()} Best is trial {best.number}, {metric} {best.value:.4f}{gain}; no reported case took part"
    )


def trial_table(records: list[TrialRecord]) -> pd.DataFrame:
    """One row per trial: number, state, objective, folds, seconds, error and every setting."""
    return pd.DataFrame(
        [
            {
                "trial": r.number,
                "state": r.state,
                "as_it_stood": r.is_default,
                "objective": r.value,
                **{f"fold_{fold}": value for fold, value in enumerate(r.fold_values)},
                "seconds": round(r.seconds, 3),
                "error": r.error,
                **{name: runs.param_text(value) for name, value in r.settings.items()},
            }
            for r in records
            if r.state not in ("running", "waiting")
        ]
    )


def _recorded_best(job: Job, finished: FinishedRun | None) -> dict[str, Any] | None:
    if finished is None:
        return None
    try:
        file = runs.fetch(finished.run_id, _BEST, job.work_dir / "tune" / "fetched" / finished.run_id)
    except TrackingError:
        return None
    settings: dict[str, Any] = runs.read_json(file)["settings"]
    return settings
