"""Several workers on one study: all at once on an empty store, and each killed once with `kill -9`."""

import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
import sqlalchemy

from tests.integration.conftest import Place, kill_when, make_place
from tests.integration.forked import Forked

pytestmark = [pytest.mark.slow, pytest.mark.server]

TUNE = """
tune:
  trials: {trials}
  startup_trials: 4
  folds: 2
  heartbeat_s: 1
  study: shared
  space:
    train.lr: {{low: 1.0e-4, high: 1.0e-2, log: true}}
    train.dropout: {{choices: [0.0, 0.3]}}
    data.image_size_px: {{choices: [32, 40]}}  # so that workers of one folder prepare the same images at once
"""


def database(server: str, name: str) -> str:
    """Address, for SQLAlchemy, of a further empty database: MLflow and Optuna cannot share one."""
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return sqlalchemy.make_url(server).set(database=name, drivername="postgresql+psycopg").render_as_string(False)


def tuning_place(folder: Path, trials: int) -> Place:
    folder.mkdir()
    place = make_place(folder, epochs=1)
    text = place.experiment.read_text().replace("resnet50, arch: resnet50, epochs: 1", "other, arch: resnet34")
    one_arm = "\n".join(line for line in text.splitlines() if "name: other" not in line)
    place.experiment.write_text(one_arm + TUNE.format(trials=trials))
    return place


def start(place: Place, log: Path, *words: str, cwd: Path | None = None) -> Forked:
    command = ("tune", "--experiment", str(place.experiment), "--train.offline", "false")
    return place.start(*command, *words, log=log, cwd=cwd)


def kill_and_start_again(place: Place, log: Path, delay_s: float, *words: str) -> None:
    """A worker that is killed some time after it began to work on the study, and the same command to its end."""
    worker = start(place, log, *words)
    kill_when(worker, lambda: "[tune resnet34] study shared" in log.read_text(), delay_s)
    again = start(place, log, *words)
    assert again.wait(timeout=400) == 0, log.read_text()


def kill_each_once(places: Sequence[Place], words: Sequence[str], seed: int) -> None:
    """A worker in every place, all at once, each killed at a random moment and started again."""
    rng = random.Random(seed)
    delays = [rng.uniform(0, 6) for _ in places]
    with ThreadPoolExecutor(len(places)) as pool:
        running = [
            pool.submit(kill_and_start_again, place, place.folder / f"worker{number}.log", delays[number], *words)
            for number, place in enumerate(places)
        ]
        for one in running:
            one.result()


def check_study(trials: Sequence[object], wanted: int, workers: int) -> None:
    from optuna.trial import FrozenTrial, TrialState

    found = [trial for trial in trials if isinstance(trial, FrozenTrial)]
    states = [trial.state for trial in found]
    ended = states.count(TrialState.COMPLETE) + states.count(TrialState.PRUNED)
    assert wanted <= ended < wanted + workers
    assert TrialState.RUNNING not in states
    assert [trial.number for trial in found] == list(range(len(found)))


def check_store(uri: str, experiment: str, trials: Sequence[object]) -> Mapping[str, str]:
    """The study's run holds every trial that ended, once, and nothing in it is left open; returns its tags."""
    from optuna.trial import FrozenTrial, TrialState

    client = mlflow.MlflowClient(tracking_uri=uri)
    (study,) = client.search_runs([experiment], "tags.`eusml.study` = 'shared-resnet34'")
    assert study.info.status == "FINISHED"
    below = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{study.info.run_id}'")
    assert {run.info.status for run in below} <= {"FINISHED", "KILLED"}
    marks = [run.data.tags for run in below]
    recorded = sorted(int(tags["eusml.trial"]) for tags in marks if tags["eusml.trial_state"] != "lost")
    ended = [
        trial.number
        for trial in trials
        if isinstance(trial, FrozenTrial) and trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    ]
    assert recorded == ended
    artifacts = {file.path for file in client.list_artifacts(study.info.run_id)}
    assert {"trials.csv", "study.html", "best.json"} <= artifacts
    return dict(study.data.tags)


def test_four_workers_with_a_database_each_killed_once(postgresql: str, tmp_path: Path) -> None:
    import optuna
    from optuna.storages import RDBStorage

    storage = database(postgresql, "studies")
    # Folders of their own, as on four machines: only the database tells them of one another.
    places = [tuning_place(tmp_path / f"machine{number}", trials=12) for number in range(4)]
    for place in places:
        environment = dict(place.environment)
        environment.pop("MLFLOW_EXPERIMENT_NAME")
        object.__setattr__(place, "environment", {**environment, "MLFLOW_TRACKING_URI": postgresql})
    kill_each_once(places, ["--tune.storage", storage], seed=1)
    opened = RDBStorage(storage, engine_kwargs={"poolclass": sqlalchemy.NullPool})
    trials = optuna.load_study(storage=opened, study_name="shared-resnet34").get_trials()
    check_study(trials, wanted=12, workers=4)
    check_store(postgresql, "0", trials)


def trials_in_the_journal_of(place: Place) -> Sequence[object]:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    (journal,) = place.folder.glob("work/tune/*/journal.log")
    storage = JournalStorage(JournalFileBackend(str(journal)))
    return optuna.load_study(storage=storage, study_name="shared-resnet34").get_trials()


def test_two_workers_with_a_journal_each_killed_once(tmp_path: Path) -> None:
    place = tuning_place(tmp_path / "here", trials=8)
    kill_each_once([place, place], [], seed=2)
    trials = trials_in_the_journal_of(place)
    check_study(trials, wanted=8, workers=2)
    uri = place.environment["MLFLOW_TRACKING_URI"]
    experiment = mlflow.MlflowClient(tracking_uri=uri).get_experiment_by_name("tiny")
    assert experiment is not None
    check_store(uri, experiment.experiment_id, trials)


def test_eight_workers_start_at_once_in_an_empty_folder(tmp_path: Path) -> None:
    place = tuning_place(tmp_path / "settings", trials=8)
    # The store that the settings came with is none of theirs: they find no `./mlflow.db`, and no experiment in it.
    environment = dict(place.environment)
    del environment["MLFLOW_TRACKING_URI"]
    place, empty = replace(place, environment=environment), tmp_path / "empty"
    empty.mkdir()
    logs = [empty / f"worker{number}.log" for number in range(8)]
    workers = [start(place, log, cwd=empty) for log in logs]
    codes = [worker.wait(timeout=500) for worker in workers]
    assert codes == [0] * 8, "\n".join(log.read_text()[-1000:] for log in logs)
    trials = trials_in_the_journal_of(place)
    check_study(trials, wanted=8, workers=8)
    uri = f"sqlite:///{empty}/mlflow.db"
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    check_store(uri, experiment.experiment_id, trials)
    starts = client.search_runs([experiment.experiment_id], "tags.`eusml.entry_point` = 'tune'")
    assert [run.info.status for run in starts] == ["FINISHED"] * 8
