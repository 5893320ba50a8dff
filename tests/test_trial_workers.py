"""How a study is handed to further processes; that they take its trials is tested with real ones."""

from pathlib import Path

import pytest

from eusml.commands import processes, trial_workers, tune
from eusml.commands.trial_workers import RecordedStudy, take_trials
from eusml.errors import ConfigError
from eusml.learning.tuning import study
from eusml.ranks import Ranks
from eusml.tracking.runs import Run
from eusml.workers import working
from tests.studies import config, made_up, opened, worked


def test_processes_of_torchrun_train_each_trial_together_and_start_no_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_workers, "current", lambda: Ranks(0, 2))
    tuning = opened(tmp_path, config(tune__workers="2"))
    with working(tmp_path / "workers") as worker:
        found = RecordedStudy(tuning, Run("run", "0", worker.name), {})
        with pytest.raises(ConfigError, match=r"started by torchrun .* tune.workers must be 1 there"):
            take_trials(found, worker)
    assert tuning.records()[0].state == "waiting"


@pytest.mark.parametrize(("asked", "each"), [(None, 2), ("3", 3)])
def test_workers_share_the_cores_unless_told_otherwise(
    asked: str | None, each: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "cores", lambda: 5)
    given = {"train__threads": asked} if asked else {}
    space = '{"data.image_size_px": {"choices": [32, 40]}}'
    tuning = opened(tmp_path, config(tune__workers="2", tune__space=space, **given))
    errand = trial_workers._errand(RecordedStudy(tuning, Run("run", "0", "w"), {}), 2)
    assert errand.config.train.threads == each
    assert {size: cases.images.shape[1:] for size, cases in errand.cases.items()} == {32: (32, 32), 40: (40, 40)}


@pytest.mark.parametrize(("done", "started"), [(0, 3), (8, 2), (9, 0), (10, 0)])
def test_no_more_workers_are_started_than_there_are_trials_left(
    done: int, started: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor for the last trial alone, which this process takes."""
    monkeypatch.setattr(study, "fold_value", made_up)
    calls: list[int] = []
    monkeypatch.setattr(trial_workers, "run_processes", lambda work, errands: calls.append(len(errands)))
    monkeypatch.setattr(trial_workers, "_take", lambda *_: None)
    if done:
        worked(opened(tmp_path, config(tune__trials=str(done))), tmp_path)
    tuning = opened(tmp_path, config(tune__trials="10", tune__workers="3"))
    with working(tmp_path / "workers") as worker:
        take_trials(RecordedStudy(tuning, Run("run", "0", worker.name), {}), worker)
    assert sum(calls) == started


def test_a_study_whose_last_worker_is_gone_is_recorded_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def waits(seconds: float) -> None:
        raise AssertionError("nobody will record it, and so nobody is to be waited for")

    recorded: list[str] = []
    monkeypatch.setattr(study, "fold_value", made_up)
    tuning = opened(tmp_path, config(tune__trials="2"))
    worked(tuning, tmp_path)  # by a worker that has ended
    monkeypatch.setattr(tune, "_record", lambda found, *rest: recorded.append(found.run.run_id))
    monkeypatch.setattr(tune.time, "sleep", waits)
    with working(tmp_path / "workers") as worker:
        tune._finish(RecordedStudy(tuning, Run("run", "0", worker.name), {}), None, "key", worker)
        assert recorded == ["run"]
    assert tuning.recall("recorded") == "2"
