"""What two ways of reporting say where there is nothing to be learnt: labels permuted among all cases.

    uv run python -m benchmarks.null_test [WORK_DIR]

Nested cross-validation of the phantom's 142 cases with permuted labels; and beside it, of the very same trials in the
very same outer folds, the one that does best on the cases that are reported, as is found in papers.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.in_folder import measure_in_folder
from eusml.commands.cross_validate import out_of_fold_answers
from eusml.commands.data import CrossValidationData, cross_validation_data, with_outer_folds
from eusml.commands.evaluate import measured
from eusml.commands.fitted import fitted_model
from eusml.commands.job import Job, open_job
from eusml.commands.reported import held_out_cases
from eusml.commands.tune import open_study
from eusml.config import Config, load_config, with_settings
from eusml.data.prepare import Prepared
from eusml.evaluation.folds import by_fold
from eusml.evaluation.intervals import auroc_delong
from eusml.learning.tuning.objective import shortened

TRIALS = 8
SETTINGS = {
    "name": "null", "data.image_size_px": "32", "data.phantom.selection_cases": "0", "data.phantom.fresh_cases": "0",
    "protocol.kind": "nested_cv", "protocol.folds": "5", "train.epochs": "6", "train.offline": "false",
    "train.online.enabled": "true", "tune.enabled": "true", "tune.trials": str(TRIALS), "tune.folds": "2",
    "tune.pruner": "none", "tune.fold_pruner": "none", "tune.metric": "auroc",
    "tune.space": '{"train.lr": {"low": 1e-4, "high": 1e-2, "log": true}, '
                  '"train.weight_decay": {"low": 0.005, "high": 0.1, "log": true}, '
                  '"train.dropout": {"choices": [0.0, 0.3]}}',
}  # fmt: skip


def permuted(data: CrossValidationData, config: Config, seed: int) -> CrossValidationData:
    """The same images with labels that have nothing to do with them, and folds stratified by those labels."""
    manifest = data.whole.prepared.manifest
    order = np.random.default_rng(seed).permutation(len(manifest.table))
    table = manifest.table.copy()
    for column in ("label", "y_true"):
        table[column] = manifest.table[column].to_numpy()[order]
    prepared = Prepared(replace(manifest, table=table), data.whole.prepared.images)
    return with_outer_folds(prepared, config)


def best_on_the_test_cases(job: Job, data: CrossValidationData, config: Config) -> pd.DataFrame:
    """In every outer fold, the answers of that trial's setting that has the highest AUROC on the fold itself."""
    chosen = []
    for outer, study in data.folds:
        name = outer.name("resnet34")
        found = []
        for record in open_study(job, study, name, config).records():
            tried = with_settings(shortened(config, config.tune.epochs_frac), record.settings)
            model = fitted_model(job, study, f"{name}-trial{record.number}", tried, keep=False)
            answers = measured(job, study, model, tried, held_out_cases(study)).predictions["test"]
            found.append((auroc(answers)[0], answers))
        chosen.append(max(found, key=lambda pair: pair[0])[1])
    folds = [answers.assign(repeat=1, fold=one.fold) for answers, (one, _) in zip(chosen, data.folds, strict=True)]
    return pd.concat(folds, ignore_index=True)


def auroc(answers: pd.DataFrame) -> tuple[float, float, float]:
    """AUROC with DeLong's interval."""
    estimate = auroc_delong(answers["y_true"].to_numpy(), answers["y_score"].to_numpy(), 0.95)
    return estimate.value, estimate.low, estimate.high


def main(work: Path, seed: int = 0) -> None:
    """Print both figures."""
    config = load_config(None, {**SETTINGS, "work_dir": str(work / "work")})
    with open_job("null", config) as job:
        data = permuted(cross_validation_data(job), config, seed)
        nested = out_of_fold_answers(job, data, "resnet34", config)
        looked = best_on_the_test_cases(job, data, config)
    print(f"| labels permuted among {len(nested)} cases, {TRIALS} configurations | AUROC, all folds | mean of folds |")
    print("|---|---|---|")
    for name, answers in (("nested cross-validation", nested), ("best of the same trials on the test cases", looked)):
        value, low, high = auroc(answers)
        within = by_fold(answers, config.evaluate.threshold)["auroc"].mean()
        print(f"| {name} | {value:.3f} ({low:.3f}-{high:.3f}) | {within:.3f} |")


if __name__ == "__main__":
    measure_in_folder(main)
