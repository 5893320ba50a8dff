"""Trials a minute, of the same trainer: `python -m benchmarks.tuning_rate`, from the project's folder.

Eight trials of ResNet-34 on the phantom's 113 training cases (64 px, batch 16, two inner folds of six epochs, learning
rate and decay searched, no trial is stopped early), four ways in turns, each from the start of its command:

- Optuna as its tutorial has it: one process, a study in memory, `study.optimize` of the same `fold_value`; nothing is
  recorded, and a kill loses everything;
- a process per trial, which opens a study in a file, runs one trial and ends;
- `eusml tune` with one worker, and with one per core (`tune.workers`): every trial recorded in MLflow, exact resume.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from eusml.config import Config, load_config, with_settings
from eusml.data.parallel import cores
from eusml.data.prepare import load, prepare, save
from eusml.data.sources import read_cases
from eusml.data.split import inner_folds, make_split
from eusml.learning.tuning.objective import InnerFolds, TrainingCases, fold_value, shortened

ROUNDS, TRIALS = 2, 8
QUICK = Path("experiments/quick.yaml")
SETTINGS = {
    "arms": '[{"name": "resnet34", "arch": "resnet34", "epochs": 120}]',
    "train.shallow_frac": "0",
    "tune.trials": str(TRIALS),
    "tune.epochs_frac": "0.05",
    "tune.pruner": "none",
    "tune.fold_pruner": "none",
}


def settings(work: Path) -> Config:
    """Of the one arm."""
    config = load_config(QUICK, {**SETTINGS, "work_dir": str(work)})
    return config.arm_configs()["resnet34"]


def prepared_cases(work: Path) -> Path:
    """The images, made once for who does not use `eusml data`."""
    config, folder = settings(work), work / "prepared"
    save(prepare(read_cases(config.data, work), config.data), folder)
    return folder


def optimize(work: Path, study: optuna.Study, trials: int) -> None:
    """A plain Optuna loop over the inner folds."""
    config, prepared = settings(work), load(work / "prepared")
    split = make_split(prepared.manifest, config.split)
    rows = split.indices("train")
    names = tuple(prepared.manifest.table["case_id"].iloc[rows].astype(str))
    cases = TrainingCases(prepared.images[rows], prepared.manifest.y_true[rows], names)
    folds = inner_folds(prepared.manifest, split, config.tune.folds, config.tune.repeats, config.tune.seed)
    inner = InnerFolds(lambda _: cases, folds)

    def objective(trial: optuna.Trial) -> float:
        tried = {
            "train.lr": trial.suggest_float("train.lr", 5e-4, 2e-3, log=True),
            "train.weight_decay": trial.suggest_float("train.weight_decay", 0.01, 0.1, log=True),
        }
        one = shortened(with_settings(config, tried), config.tune.epochs_frac)
        return statistics.mean(fold_value(inner, fold, one, "log_loss") for fold in range(len(folds)))

    study.optimize(objective, trials)


def in_memory(work: Path) -> None:
    """All trials in this process."""
    optimize(work, optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0)), TRIALS)


def one_trial(work: Path) -> None:
    """A trial of the study in the file."""
    storage = JournalStorage(JournalFileBackend(str(work / "journal.log")))
    optimize(work, optuna.create_study(storage=storage, study_name="plain", load_if_exists=True), 1)


def ours(workers: int) -> Callable[[Path, int], list[list[str]]]:
    """The command line of `tune`; a study of its own in every round, in a store and folder that hold the data."""

    def commands(work: Path, number: int) -> list[list[str]]:
        words = {**SETTINGS, "tune.workers": str(workers), "tune.study": f"workers{workers}round{number}"}
        words["work_dir"] = str(work / "work")
        given = [f"--{name}={value}" for name, value in words.items()]
        return [[sys.executable, "-m", "eusml", "tune", "--experiment", str(QUICK), *given]]

    return commands


def plain(name: str, times: int) -> Callable[[Path, int], list[list[str]]]:
    """A function of this module, in as many processes one after another."""

    def commands(work: Path, _: int) -> list[list[str]]:
        (work / "journal.log").unlink(missing_ok=True)
        return [[sys.executable, "-m", "benchmarks.tuning_rate", name, str(work)]] * times

    return commands


def main() -> None:
    """Print one row per way."""
    ways = {
        "Optuna's loop, in memory": plain("in_memory", 1),
        "a process per trial": plain("one_trial", TRIALS),
        "`eusml tune`, one worker": ours(1),
        f"`eusml tune`, {cores()} workers": ours(cores()),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        uri = {"MLFLOW_TRACKING_URI": f"sqlite:///{work}/mlflow.db", "MLFLOW_DISABLE_TELEMETRY": "true"}
        environment = {**os.environ, **uri}
        prepared_cases(work)
        data = [sys.executable, "-m", "eusml", "data", "--experiment", str(QUICK), f"--work_dir={work / 'work'}"]
        subprocess.run(data, check=True, env=environment, capture_output=True)
        for number in range(ROUNDS):
            for name, commands in ways.items():
                began = time.perf_counter()
                for words in commands(work, number):
                    subprocess.run(words, check=True, env=environment, capture_output=True)
                found[name].append(time.perf_counter() - began)
                print(f"round {number + 1}, {name}: {found[name][-1]:.1f} s", file=sys.stderr, flush=True)
    first = next(iter(found.values()))
    print(f"| {TRIALS} trials | seconds | trials a minute | against Optuna's loop |\n|---|---|---|---|")
    for name, seconds in found.items():
        middle = statistics.median(seconds)
        ratio = statistics.median(base / own for base, own in zip(first, seconds, strict=True))
        spread = f"{min(seconds):.1f}-{max(seconds):.1f}"
        print(f"| {name} | {middle:.1f} ({spread}) | {60 * TRIALS / middle:.1f} | {ratio:.2f} x |")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["in_memory", work]:
            in_memory(Path(work))
        case ["one_trial", work]:
            one_trial(Path(work))
        case _:
            main()
