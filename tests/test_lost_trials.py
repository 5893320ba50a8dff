"""Trials whose worker died: who finds out, and what becomes of them."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from optuna.storages._heartbeat import HeartbeatThread
from optuna.trial import TrialState

from eusml.config import Config
from eusml.learning.tuning import retry, study
from eusml.learning.tuning.objective import InnerFolds
from eusml.workers import working
from tests.studies import config, made_up, opened, tried, worked


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "fold_value", made_up)


def test_a_lost_trial_is_repeated_with_what_it_had_finished_and_nothing_else_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "fold_value", made_up)
    settings = config(tune__pruner="none", tune__fold_pruner="none")
    whole = worked(opened(tmp_path / "whole", settings), tmp_path / "whole")
    calls: list[tuple[int, float]] = []

    def dies_in_its_last_fold(inner: InnerFolds, fold: int, now: Config, *rest: Any) -> float:
        calls.append((fold, now.train.lr))
        if len(calls) == 12:  # trial 3, last fold
            raise KeyboardInterrupt
        return made_up(inner, fold, now, *rest)

    monkeypatch.setattr(study, "fold_value", dies_in_its_last_fold)
    tuning = opened(tmp_path / "killed", settings)
    with pytest.raises(KeyboardInterrupt):
        worked(tuning, tmp_path / "killed")
    worked(opened(tmp_path / "killed", settings), tmp_path / "killed")
    assert calls[11] == calls[12]  # the fold that it died in, and none of those before it
    records = opened(tmp_path / "killed", settings).records()
    assert [record.state for record in records].count("lost") == 1
    assert tried([record for record in records if record.tried]) == tried(whole)


@pytest.mark.usefixtures("quick")
def test_a_trial_of_a_dead_worker_is_taken_over_at_once_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    tuning = opened(tmp_path, config(tune__trials="1"))
    with working(tmp_path / "workers") as alive:
        trial = tuning.study.ask()
        trial.set_user_attr(retry.WORKER, alive.name)
        with working(tmp_path / "workers") as other:
            retry.repeat_lost_trials(tuning.study, other, 0.0)
        assert [record.state for record in tuning.records()] == ["running"]
    ended = worked(tuning, tmp_path)
    assert [record.number for record in ended] == [1]
    assert ended[0].is_default
    assert [record.state for record in tuning.records()] == ["lost", "complete"]


def test_a_repeated_trial_that_had_shown_itself_to_be_worse_is_trained_on_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "fold_value", made_up)
    settings = {"tune__pruner": "none", "tune__fold_pruner": "wilcoxon"}
    worked(opened(tmp_path, config(tune__trials="1", **settings), count=6), tmp_path)
    tuning = opened(tmp_path, config(tune__trials="2", **settings), count=6)
    (best,) = tuning.study.get_trials(deepcopy=False)
    worse = [value + 0.1 + 0.01 * fold for fold, value in enumerate(best.user_attrs[retry.FOLD_VALUES][:5])]
    lost = tuning.study.ask(dict(best.distributions))
    lost.set_user_attr(retry.FOLD_VALUES, worse)
    lost.set_user_attr(retry.RECORDED_AS, "a run of its own")
    tuning.study.tell(lost, state=TrialState.FAIL)
    retry.repeat(tuning.study, tuning.study.get_trials(deepcopy=False)[1])
    assert retry.RECORDED_AS not in tuning.study.get_trials(deepcopy=False)[2].user_attrs
    monkeypatch.setattr(study, "fold_value", lambda *_: pytest.fail("the fold that was left was trained on"))
    (again,) = worked(tuning, tmp_path)
    assert again.state == "pruned"
    assert again.fold_values == tuple(worse)


@pytest.mark.usefixtures("quick")
def test_a_trial_that_nobody_claimed_is_given_up_after_a_while_and_one_from_elsewhere_is_left_alone(
    tmp_path: Path,
) -> None:
    tuning = opened(tmp_path, config())
    tuning.study.ask()
    tuning.study.ask().set_user_attr(retry.WORKER, "elsewhere/0123")
    with working(tmp_path / "workers") as worker:
        retry.repeat_lost_trials(tuning.study, worker, 1000.0)
        assert [record.state for record in tuning.records()] == ["running", "running"]
        retry.repeat_lost_trials(tuning.study, worker, -1.0)
    assert [record.state for record in tuning.records()] == ["lost", "running", "waiting"]


def heart_beats(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "studies.db")) as database:
        return int(database.execute("SELECT COUNT(*) FROM trial_heartbeats").fetchone()[0])


@pytest.mark.usefixtures("quick")
def test_the_last_trial_of_a_worker_elsewhere_is_taken_over_once_its_heart_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"tune__trials": "1", "tune__heartbeat_s": "1", "tune__storage": f"sqlite:///{tmp_path}/studies.db"}
    tuning = opened(tmp_path, config(**asked))
    with pytest.warns(UserWarning, match="Heartbeat"):
        trial = tuning.study.ask()
    trial.set_user_attr(retry.WORKER, "elsewhere/0123")
    trial.storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]
    polls: list[float] = []

    def time_passes(seconds: float) -> None:
        polls.append(seconds)
        assert len(polls) < 5, "waits for a worker that is gone"
        if len(polls) == 2:
            with closing(sqlite3.connect(tmp_path / "studies.db")) as database, database:
                database.execute("UPDATE trial_heartbeats SET heartbeat = datetime('now', '-1 hour')")

    monkeypatch.setattr(study.time, "sleep", time_passes)
    ended = worked(tuning, tmp_path)
    assert len(polls) == 2
    assert [(record.number, record.is_default) for record in ended] == [(1, True)]


@pytest.mark.usefixtures("quick")
def test_a_trial_in_a_database_is_claimed_with_a_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As if the worker were killed before Optuna's own thread gave the first one.
    monkeypatch.setattr(HeartbeatThread, "start", lambda _: None)
    monkeypatch.setattr(HeartbeatThread, "join", lambda _: None)
    asked = {"tune__trials": "2", "tune__storage": f"sqlite:///{tmp_path}/studies.db"}
    beats: list[int] = []
    with working(tmp_path / "workers") as worker:
        opened(tmp_path, config(**asked)).work(worker, begin=lambda n, _: beats.append(heart_beats(tmp_path)) or str(n))
    assert beats == [1, 2]


def test_a_trial_that_kills_its_worker_again_and_again_is_not_tried_for_ever(tmp_path: Path) -> None:
    tuning = opened(tmp_path, config())
    with working(tmp_path / "workers") as gone:
        pass
    for _ in range(6):
        tuning.study.ask().set_user_attr(retry.WORKER, gone.name)
        with working(tmp_path / "workers") as worker:
            retry.repeat_lost_trials(tuning.study, worker, 0.0)
    retried = [trial for trial in tuning.study.trials if trial.user_attrs.get(retry.RETRY_OF) == 0]
    assert len(retried) == retry.MAX_RETRIES
