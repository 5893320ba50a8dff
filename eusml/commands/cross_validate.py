"""Nested cross-validation: every case asked about by networks that were tuned and trained without it.

In every outer fold an arm is tuned on inner folds of the outer training part, trained on that part and asked about the
fold. The answers to all cases estimate the way in which networks are made (Varma and Simon 2006,
doi:10.1186/1471-2105-7-91); a last network, made of all cases in the same way, is what is registered.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from eusml.commands.at_once import Fold, make_folds_at_once
from eusml.commands.calibrate import on_other_folds
from eusml.commands.compare import Parts, baseline_answers, compare
from eusml.commands.data import (
    CrossValidationData,
    StudyData,
    cross_validation_data,
    recorded_cross_validation_data,
)
from eusml.commands.evaluate import (
    LAYERS,
    Evaluation,
    evaluation_tags,
    log_measures,
    measured,
)
from eusml.commands.fitted import fitted_model
from eusml.commands.job import Job, run_stage
from eusml.commands.reported import Reported, further_cases, held_out_cases, read_predictions
from eusml.commands.terminal import say
from eusml.commands.trained import TrainedModel
from eusml.commands.tune import settled
from eusml.commands.turns import say_of_unlearnt_turns
from eusml.config import Config
from eusml.data.manifest import table_digest
from eusml.data.split import OuterFold
from eusml.digests import fingerprint
from eusml.errors import TrackingError
from eusml.evaluation.folds import by_fold, by_repeat
from eusml.evaluation.metrics import evaluate_answers
from eusml.sentences import Sentence, sentence
from eusml.tracking import runs
from eusml.tracking.lookup import FinishedRun

_ANSWERS = "predictions_test.csv"


def cross_validated_study(job: Job) -> tuple[StudyData, list[Evaluation]]:
    """Every arm cross-validated and made anew of all cases, and all of them compared; returns what they are made of."""
    arms = job.config.arm_configs()
    say_of_unlearnt_turns(arms)
    data = cross_validation_data(job)
    of_folds = make_folds_at_once(job, make_folds, arms, len(data.folds))
    evaluations = [_cross_validated(job, data, arm, config, of_folds[arm]) for arm, config in arms.items()]
    compare(job, data.whole, evaluations, lambda: _baselines(job, data))
    return data.whole, evaluations


def out_of_fold_answers(job: Job, data: CrossValidationData, arm: str, config: Config) -> pd.DataFrame:
    """One arm's answers to all cases, each by a network that was tuned and trained without it.

    Returns:
        Columns as of `commands.evaluate.predictions`, and repeat and fold, which count from 1.
    """
    answers = [_answers_of_fold(job, data, arm, config, fold) for fold in range(len(data.folds))]
    return pd.concat(answers, ignore_index=True)


def make_folds(job: Job, folds: Sequence[Fold]) -> None:
    """What a process that helps the job does."""
    data = recorded_cross_validation_data(job)
    for fold in folds:
        _answers_of_fold(job, data, fold.arm, fold.config, fold.number)


def _answers_of_fold(job: Job, data: CrossValidationData, arm: str, config: Config, fold: int) -> pd.DataFrame:
    outer, study = data.folds[fold]
    name = outer.name(arm)
    sized, best = settled(job, study, name, config)
    model = fitted_model(job, sized, name, best, keep=False)
    held_out = measured(job, sized, model, best, held_out_cases(sized)).predictions["test"]
    return _of_fold(held_out, outer)


def _cross_validated(job: Job, data: CrossValidationData, arm: str, config: Config, of_folds: Config) -> Evaluation:
    """One arm: its answers to all cases, by networks that are made as `of_folds` says, and the network that is kept."""
    answers = out_of_fold_answers(job, data, arm, of_folds)
    study, best = settled(job, data.whole, arm, config)
    by = None if best.calibrate.cases == "none" else on_other_folds(answers)
    model = fitted_model(job, study, arm, best, keep=True, calibrator=by)
    further = further_cases(job, best.data)
    beyond = measured(job, study, model, best, further) if further else None
    return _pooled(job, data, model, answers, beyond)


def _of_fold(answers: pd.DataFrame, outer: OuterFold) -> pd.DataFrame:
    return answers.assign(repeat=outer.repeat + 1, fold=outer.fold + 1)


def _pooled(
    job: Job, data: CrossValidationData, model: TrainedModel, answers: pd.DataFrame, beyond: Evaluation | None
) -> Evaluation:
    """Measure the answers of all folds together, and record them as this arm's evaluation."""
    settings, manifest = job.config.evaluate, data.whole.prepared.manifest
    everyone = Reported(manifest.table, data.whole.prepared.images)
    inputs = {
        **data.key,
        "answers": table_digest(answers),
        "model": model.spec.digest,
        "settings": settings.model_dump(mode="json"),
    }
    key = fingerprint("cross_validate", inputs, LAYERS)
    protocol = _protocol(data, tuned=job.config.tune.enabled)
    tags = {**evaluation_tags(data.whole, model, {"test": everyone}, key), "eusml.protocol": protocol}

    def finish(run_id: str, found: pd.DataFrame) -> Evaluation:
        metrics = evaluate_answers(found, settings)
        whole = Evaluation(model, run_id, settings, {"test": metrics}, {"test": found}, None, protocol)
        if beyond is None:
            return whole
        return replace(
            whole,
            metrics={**whole.metrics, **beyond.metrics},
            predictions={**whole.predictions, **beyond.predictions},
            val_cases_digest=beyond.val_cases_digest,
        )

    def make(run: runs.Run) -> Evaluation:
        result = finish(run.run_id, answers)
        alone = replace(result, metrics={"test": result.metrics["test"]}, predictions={"test": answers})
        run.dataset(manifest.table, "test", data.whole.prepared.digest, "evaluation", manifest.source)
        log_measures(run, alone)
        run.note(result.note)
        folds, repeats = by_fold(answers, settings.threshold), by_repeat(answers, settings)
        run.table(folds, "metrics_by_fold.csv")
        run.table(repeats, "metrics_by_repeat.csv")
        areas = folds["auroc"].to_numpy(dtype=np.float64)
        spread = f"AUROC within folds {np.nanmean(areas):.3f}, from {np.nanmin(areas):.3f} to {np.nanmax(areas):.3f}"
        run.metrics({"test/auroc_within_folds": float(np.nanmean(areas))})
        say(f"  {model.arm}, {protocol}: {spread}")
        return result

    def reuse(finished: FinishedRun) -> Evaluation | None:
        try:
            file = runs.fetch(finished.run_id, _ANSWERS, job.work_dir / "evaluate" / key[:16])
        except TrackingError:
            return None
        return finish(finished.run_id, read_predictions(file))

    return run_stage(job, "evaluate", f"cross-validate {model.arm}", key, tags, make=make, reuse=reuse)


def _protocol(data: CrossValidationData, *, tuned: bool) -> Sentence:
    repeats = data.folds[-1][0].repeat + 1
    counts: dict[str, Any] = {"repeats": repeats, "folds": len(data.folds) // repeats}
    if tuned:
        return sentence("methods.nested_cv", "nested cross-validation, {repeats} x {folds} folds", **counts)
    return sentence("methods.cv", "cross-validation, {repeats} x {folds} folds", **counts)


def _baselines(job: Job, data: CrossValidationData) -> Parts:
    """The clinical baselines, fitted without the fold that they are asked about; and on all cases for the rest."""
    threshold = job.config.evaluate.threshold
    by_name: dict[str, list[pd.DataFrame]] = {}
    for outer, study in data.folds:
        for name, table in baseline_answers(study, held_out_cases(study), threshold).get("test", {}).items():
            by_name.setdefault(name, []).append(_of_fold(table, outer))
    # One that some fold could not fit has not answered all cases.
    whole = {name: pd.concat(tables, ignore_index=True) for name, tables in by_name.items()}
    kept = {name: table for name, table in whole.items() if len(by_name[name]) == len(data.folds)}
    further = baseline_answers(data.whole, further_cases(job, job.config.data), threshold)
    return {"test": kept, **further}
