"""A small study with a made-up objective, for tests where what counts is which trials there are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from eusml.config import Config, load_config
from eusml.learning.epoch import EpochResult
from eusml.learning.tuning.objective import InnerFolds, TrainingCases
from eusml.learning.tuning.study import TrialRecord, Tuning, open_tuning
from eusml.workers import working

SPACE = (
    '{"train.lr": {"low": 1e-4, "high": 0.1, "log": true}, "train.batch_size": {"low": 4, "high": 12}, '
    '"train.optimizer": {"choices": ["adamw", "sgd"]}, "augment.operations": {"choices": [["flip"], ["flip", "log"]]}}'
)
DEFINED = {"training cases": "abc", "space": {}}
N = 24


def config(**settings: str) -> Config:
    given = {
        "data.image_size_px": "32", "train.epochs": "4", "train.batch_size": "8", "train.offline": "false",
        "augment.operations": '["flip"]', "tune.trials": "8", "tune.startup_trials": "3", "tune.space": SPACE,
    }  # fmt: skip
    return load_config(None, given | {name.replace("__", "."): value for name, value in settings.items()})


def cases(size_px: int) -> TrainingCases:
    rng = np.random.default_rng(size_px)
    y_true = (np.arange(N) % 2).astype(np.int64)
    images = (rng.integers(0, 100, (N, size_px, size_px)) + 80 * y_true[:, None, None]).astype(np.uint8)
    return TrainingCases(images, y_true, tuple(map(str, range(N))))


def folds(count: int) -> InnerFolds:
    part = np.arange(N) // 2 % count
    return InnerFolds(cases, [(np.flatnonzero(part != k), np.flatnonzero(part == k)) for k in range(count)])


def made_up(
    inner: InnerFolds, fold: int, config: Config, metric: str, on_epoch: Callable[[EpochResult], None] | None
) -> float:
    """Best at a learning rate of 0.01, with more to be had from larger batches; a curve that falls to it."""
    value = abs(np.log10(config.train.lr) + 2) + 0.01 * fold - 0.01 * config.train.batch_size + 1
    if on_epoch is not None:
        for epoch in range(1, config.train.epochs + 1):
            on_epoch(EpochResult(epoch, 0.1, 1.0, 0.5, value + 1 / epoch, 0.5, 0.0))
    return float(value)


def opened(folder: Path, settings: Config, count: int = 3, **defined: Any) -> Tuning:
    return open_tuning(settings, folds(count), "s", {**DEFINED, **defined}, folder)


def worked(tuning: Tuning, folder: Path) -> list[TrialRecord]:
    ended: list[TrialRecord] = []
    with working(folder / "workers") as worker:
        tuning.work(worker, end=ended.append)
    return ended


def tried(records: list[TrialRecord]) -> list[tuple[str, dict[str, Any], float | None]]:
    return [(r.state, r.settings, r.value) for r in records]
