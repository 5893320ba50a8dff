"""What networks of folds that are made at once share, and what their processes say; test_nested_cv.py makes some."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from eusml.commands import at_once, processes
from eusml.commands.at_once import Fold, make_folds_at_once
from eusml.commands.job import Job, StageRecord
from eusml.config import Config, load_config
from eusml.errors import ConfigError
from eusml.ranks import Ranks
from eusml.tracking.lookup import FinishedRun
from eusml.tracking.runs import Run
from eusml.workers import Worker

ARMS = ("a", "b")


def config(**changed: str) -> Config:
    return load_config(None, {name.replace("__", "."): value for name, value in changed.items()})


def nothing(job: Job, folds: Sequence[Fold]) -> None:
    """Stands for making folds."""


@dataclass
class Started:
    """What processes would have been started for."""

    errands: Sequence[at_once._Errand] = ()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """No process is: what would be is noted. Two runs have finished below the job's."""
    noted = Started()
    monkeypatch.setattr(at_once, "run_processes", lambda _, errands: setattr(noted, "errands", errands))
    monkeypatch.setattr(at_once.runs, "end_abandoned", lambda *_: None)
    below = [FinishedRun(run_id, f"train {run_id}", {}, 5.0) for run_id in ("before", "meanwhile")]
    monkeypatch.setattr(at_once, "finished_below", lambda _: below)
    monkeypatch.setattr(processes, "cores", lambda: 7)
    return noted


def asked(settings: Config, folds: int) -> tuple[dict[str, Config], Job]:
    job = Job(settings, "main", Run("run", "0", "w"), Worker(Path("workers"), "w"))
    job.records.append(StageRecord("train before", "before", True, 1.0))
    return dict(make_folds_at_once(job, nothing, dict.fromkeys(ARMS, settings), folds)), job


def test_one_process_leaves_all_to_the_job(started: Started) -> None:
    settings = config(tune__workers="4")
    assert asked(settings, 2)[0] == dict.fromkeys(ARMS, settings)
    assert not started.errands


def test_folds_of_all_arms_are_dealt_and_threads_shared(started: Started) -> None:
    settings, job = asked(config(networks_at_once="3", tune__workers="4"), 2)
    dealt = [[(fold.arm, fold.number) for fold in errand.folds] for errand in started.errands]
    assert dealt == [[("a", 0), ("b", 1)], [("a", 1)], [("b", 0)]]
    assert [errand.number for errand in started.errands] == [1, 2, 3]
    for errand in started.errands:
        assert all(fold.config == settings[fold.arm] for fold in errand.folds)
    assert all(one.train.threads == 2 for one in settings.values())
    assert all(one.tune.workers == 1 for one in settings.values())  # each would share the share once more
    # What they finished is on record once, as made by this job, and took no longer than they did.
    assert [(one.run_id, one.reused) for one in job.records] == [("before", True), ("meanwhile", False)]
    assert job.records[1].seconds < 5.0


def test_no_more_processes_than_folds_and_threads_as_asked(started: Started) -> None:
    settings, _ = asked(config(networks_at_once="9", train__threads="3"), 2)
    assert len(started.errands) == 4
    assert settings["a"].train.threads == 3


def test_processes_of_torchrun_make_each_together(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_once, "current", lambda: Ranks(0, 2))
    assert asked(config(), 2)[0]
    with pytest.raises(ConfigError, match=r"started by torchrun .* networks_at_once must be 1 there"):
        asked(config(networks_at_once="2"), 2)
    assert not started.errands


def test_every_line_begins_with_the_number_of_its_process_and_is_written_whole() -> None:
    shown = io.StringIO()
    stream = at_once._Numbered(shown, 2)
    assert not stream.isatty()
    for text in ("[train", " fold] …\n", "a\n\nb", "\n", "no end"):
        assert stream.write(text) == len(text)
        assert not shown.getvalue() or shown.getvalue().endswith("\n")
    assert shown.getvalue() == "2| [train fold] …\n2| a\n2| \n2| b\n"
    stream.close()
    assert shown.getvalue().endswith("2| b\n2| no end\n")
