"""A study's engine, with a made-up objective where what counts is which trials there are."""

import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from eusml.commands.tune import definition
from eusml.config import Config, check_space, load_config, tunable_names, with_settings
from eusml.errors import ConfigError, TrainingError, TuningError
from eusml.learning.epoch import EpochResult
from eusml.learning.tuning import objective, retry, study
from eusml.learning.tuning.objective import InnerFolds, fold_value, measure
from eusml.learning.tuning.page import study_page
from eusml.learning.tuning.pruning import worse_fold_by_fold
from eusml.learning.tuning.study import TrialRecord
from tests.studies import config, folds, made_up, opened, tried, worked


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "fold_value", made_up)


@pytest.mark.usefixtures("quick")
def test_the_first_trial_is_the_setting_as_it_stands_and_tuning_never_ends_below_it(tmp_path: Path) -> None:
    tuning = opened(tmp_path, config())
    ended = worked(tuning, tmp_path)
    assert [record.number for record in ended] == list(range(8))
    first = ended[0]
    assert first.is_default
    assert first.settings == {
        "train.lr": 1e-3, "train.batch_size": 8, "train.optimizer": "adamw", "augment.operations": ("flip",),
    }  # fmt: skip
    best = tuning.best()
    assert best.value is not None
    assert first.value is not None
    assert best.value < first.value
    assert best.value == min(record.value for record in ended if record.value is not None)
    assert len(best.fold_values) == 3
    assert best.value == pytest.approx(np.mean(best.fold_values))


@pytest.mark.usefixtures("quick")
def test_one_seed_is_one_sequence_of_trials_however_often_it_is_stopped(tmp_path: Path) -> None:
    whole = worked(opened(tmp_path / "whole", config()), tmp_path / "whole")
    again = worked(opened(tmp_path / "again", config()), tmp_path / "again")
    assert tried(whole) == tried(again)
    for trials in ("2", "5", "8"):  # each a process of its own
        last = worked(opened(tmp_path / "parts", config(tune__trials=trials)), tmp_path / "parts")
    assert tried(opened(tmp_path / "parts", config()).records()) == tried(whole)
    assert len(last) == 3
    assert worked(opened(tmp_path / "parts", config()), tmp_path / "parts") == []
    other = worked(opened(tmp_path / "other", config(tune__seed="1")), tmp_path / "other")
    assert tried(other)[1:] != tried(whole)[1:]


def test_a_trial_that_fails_leaves_nothing_of_its_training_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = []

    def fails(*_: Any) -> float:
        assert [reference for reference in left if reference() is not None] == []  # which may fill a device
        network = torch.nn.Linear(1, 1)
        left.append(weakref.ref(network))
        raise TrainingError("the loss became nan at step 3")

    monkeypatch.setattr(study, "fold_value", fails)
    worked(opened(tmp_path, config(tune__trials="3")), tmp_path)
    assert len(left) == 3


def test_a_trial_that_fails_says_why_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(inner: InnerFolds, fold: int, now: Config, *rest: Any) -> float:
        if now.train.lr > 0.001:
            raise TrainingError("the loss became nan at step 3")
        return made_up(inner, fold, now, *rest)

    monkeypatch.setattr(study, "fold_value", fails)
    tuning = opened(tmp_path, config())
    ended = worked(tuning, tmp_path)
    failed = [record for record in ended if record.state == "failed"]
    assert len(ended) == 8
    assert failed
    assert {record.error for record in failed} == {"the loss became nan at step 3"}
    assert f"{len(failed)} failed" in tuning.summary()

    monkeypatch.setattr(study, "fold_value", lambda *_: fails(folds(3), 0, config(train__lr="0.05"), "log_loss"))
    hopeless = opened(tmp_path / "hopeless", config(tune__trials="2"))
    worked(hopeless, tmp_path)
    with pytest.raises(TuningError, match=r"no trial of the study 's' was finished\n  trial 0: the loss became nan"):
        hopeless.best()


@pytest.mark.usefixtures("quick")
def test_poor_trials_end_after_few_epochs_and_the_first_one_never(tmp_path: Path) -> None:
    settings = config(tune__trials="20", tune__pruner="median", train__lr="1e-4", train__epochs="10")
    ended = worked(opened(tmp_path, settings), tmp_path)
    pruned = [record for record in ended if record.state == "pruned"]
    assert pruned
    assert all(record.value is None for record in pruned)
    assert all(len(record.curve) < 10 for record in pruned if not record.fold_values)
    assert ended[0].state == "complete"
    assert ended[0].value is not None
    # It is the worst there is, and would have been stopped if any had.
    assert ended[0].value == max(record.value for record in ended if record.value is not None)


def test_poor_trials_end_early_where_the_measure_is_to_be_high_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "fold_value", lambda *given: -made_up(*given))
    settings = config(tune__trials="20", tune__pruner="median", tune__metric="auroc", train__epochs="10")
    ended = worked(opened(tmp_path, settings), tmp_path)

    def beside(records: list[TrialRecord]) -> list[float]:
        return [abs(np.log10(record.settings["train.lr"]) + 2) for record in records]

    pruned = beside([record for record in ended if record.state == "pruned"])
    complete = beside([record for record in ended if record.state == "complete"])
    assert pruned
    assert min(complete) < min(pruned)
    assert np.median(complete) < np.median(pruned)
    assert all(loss > 0 for record in ended for loss in record.curve.values())


def test_folds_tell_a_worse_trial_from_one_that_is_not() -> None:
    found = optuna.create_study()
    values = [0.5, 0.6, 0.4, 0.7, 0.5]
    found.add_trial(optuna.create_trial(value=float(np.mean(values)), user_attrs={retry.FOLD_VALUES: values}))
    worse = [value + 0.1 + 0.01 * fold for fold, value in enumerate(values)]
    assert not worse_fold_by_fold(found, worse[:3], 0.1)  # 1/8 is the least p of three folds
    assert worse_fold_by_fold(found, worse[:4], 0.1)  # 1/16
    assert not worse_fold_by_fold(found, [0.6, 0.5, 0.5, 0.6], 0.1)
    assert not worse_fold_by_fold(optuna.create_study(), worse, 0.1)


@pytest.mark.usefixtures("quick")
def test_a_study_of_another_definition_is_refused_by_name(tmp_path: Path) -> None:
    opened(tmp_path, config())
    with pytest.raises(TuningError, match=r"(?s)'s' is another one.*: the study has \"abc\", asked for is \"xyz\""):
        opened(tmp_path, config(), **{"training cases": "xyz"})
    with pytest.raises(TuningError, match="differ in space"):
        opened(tmp_path, config(), space={"train.lr": 1})


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("{}", "tune.space is empty"),
        (
            '{"train.lrr": {"low": 1, "high": 2}}',
            "that can be searched; did you mean 'train.lr'",
        ),
        ('{"train.seed": {"low": 1, "high": 2}}', "'train.seed' is no setting that can be searched"),
        ('{"train.shallow_frac": {"low": 0, "high": 0.9}}', "'train.shallow_frac' is no setting that can be searched"),
        ('{"train.lr": {"low": 0.1, "high": 0.01}}', "tune.space.train.lr: low 0.1 must be below high 0.01"),
        ('{"train.lr": {"low": 0.1, "high": 11}}', "train.lr is 11 (int), expected less than or equal to 10"),
        ('{"train.lr": {"low": 0.0, "high": 1.0, "log": true}}', "with log it must be above 0"),
        ('{"train.lr": {"low": 0.1}}', "give low and high, or choices"),
        ('{"train.lr": {"low": 0.1, "high": 1.0, "choices": [1.0, 2.0]}}', "give either choices, or low and high"),
        ('{"train.optimizer": {"choices": ["sgd"]}}', "at least two different values"),
        ('{"train.optimizer": {"choices": ["adam", "sgd"]}}', "did you mean 'adamw'?"),
        ('{"train.batch_size": {"low": 8, "high": 32.5}}', "train.batch_size is 32.5"),
        ('{"train.lr": {"lo": 0.1}}', "unknown setting 'tune.space.train.lr.lo'"),
    ],
)
def test_a_space_that_makes_no_sense_is_said(space: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_space(load_config(None, {"tune.space": space}))
    assert message in str(raised.value)


def test_a_study_of_no_trials_and_a_storage_that_is_none_are_said() -> None:
    with pytest.raises(ConfigError, match=r"tune\.trials is 0"):
        config(tune__trials="0")
    with pytest.raises(ConfigError, match="is no address"):
        config(tune__storage="studies.db")


def test_several_workers_need_the_image_sizes_beforehand() -> None:
    some = '{"data.image_size_px": {"choices": [32, 48]}}'
    check_space(load_config(None, {"tune.space": some, "tune.workers": "2"}))
    every = '{"data.image_size_px": {"low": 32, "high": 48}}'
    check_space(load_config(None, {"tune.space": every, "tune.workers": "1"}))
    with pytest.raises(ConfigError, match=r"tune.workers is 2 and tune.space gives data.image_size_px a range"):
        check_space(load_config(None, {"tune.space": every, "tune.workers": "2"}))


def test_a_space_that_does_not_hold_the_settings_as_they_stand_is_refused(tmp_path: Path) -> None:
    settings = config(tune__space='{"train.lr": {"low": 0.01, "high": 0.1}}')
    with pytest.raises(ConfigError, match=r"train\.lr is 0\.001 as things stand"):
        opened(tmp_path, settings)


def test_a_database_that_is_not_there_is_said_without_its_password(tmp_path: Path) -> None:
    url = "postgresql+psycopg://me:secret@127.0.0.1:9/none"
    with pytest.raises(TuningError, match=r"storage postgresql.*cannot be reached") as raised:
        opened(tmp_path, config(tune__storage=url))
    assert "secret" not in str(raised.value)


def test_settings_change_by_name_and_are_checked() -> None:
    changed = with_settings(config(), {"train.lr": 0.5, "augment.operations": ("log",), "data.image_size_px": 48})
    assert (changed.train.lr, changed.augment.operations, changed.data.image_size_px) == (0.5, ("log",), 48)
    assert with_settings(config(), {}) == config()
    with pytest.raises(ConfigError, match=r"train\.lr is 99"):
        with_settings(config(), {"train.lr": 99})


@pytest.mark.parametrize(
    ("name", "value", "same"),
    [("threads", 3, True), ("device", "cpu", True), ("kernels", "torch", True), ("resident_mib", 1, True),
     ("checkpoint_every_s", 1.0, True), ("lr", 0.5, False), ("precision", "fp32", False)],
)  # fmt: skip
def test_what_differs_from_machine_to_machine_makes_no_other_study_and_is_not_searched(
    name: str, value: object, same: bool
) -> None:
    part = SimpleNamespace(indices=lambda _: [0])
    table = pd.DataFrame({"case_id": ["a", "b"]})
    cohort: Any = SimpleNamespace(prepared=SimpleNamespace(manifest=SimpleNamespace(table=table)), split=part)
    changed = with_settings(config(), {f"train.{name}": value})
    assert (definition(cohort, changed) == definition(cohort, config())) is same
    assert not same or f"train.{name}" not in tunable_names()


def test_the_objective_is_what_scikit_learn_says_of_the_inner_fold() -> None:
    rng = np.random.default_rng(0)
    y_true, y_score = rng.integers(0, 2, 40), rng.random(40)
    assert measure("log_loss", y_true, y_score, 0.5) == pytest.approx(log_loss(y_true, y_score))
    assert measure("auroc", y_true, y_score, 0.5) == pytest.approx(roc_auc_score(y_true, y_score))
    assert measure("balanced_accuracy", y_true, y_score, 0.3) == pytest.approx(
        balanced_accuracy_score(y_true, y_score >= 0.3)
    )


def test_a_fold_is_trained_on_its_part_and_measured_on_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int | None, int]] = []
    real = objective.fit

    def watched(train: Any, test: Any, *rest: Any, originals: Any, **named: Any) -> Any:
        seen.append((len(train), test and len(test), len(originals)))
        return real(train, test, *rest, originals=originals, **named)

    monkeypatch.setattr(objective, "fit", watched)
    inner = folds(3)
    epochs: list[EpochResult] = []
    settings = with_settings(config(), {"train.offline": True, "train.epochs": 2})
    value = fold_value(inner, 1, settings, "log_loss", epochs.append)
    assert seen == [(32, 8, 16)]  # 16 originals and one flipped copy of each
    assert [epoch.epoch for epoch in epochs] == [1, 2]
    assert value == fold_value(inner, 1, settings, "log_loss")
    assert seen[1] == (32, None, 16)  # nobody asked what it measures on the way


@pytest.mark.usefixtures("quick")
def test_a_study_can_be_looked_at(tmp_path: Path) -> None:
    tuning = opened(tmp_path, config(tune__trials="10"))
    worked(tuning, tmp_path)
    page = study_page(tuning, synthetic=True)
    for heading in ("History", "Importance", "Parallel coordinates", "Slices", "Timeline"):
        assert heading in page
    assert "Not drawn" not in page
    assert "SYNTHETIC" in page
    assert "10 configurations were tried" in page
    assert "<script src" not in page  # it must open where there is no network
    assert page.count('"showSendToCloud": false') == page.count("Plotly.newPlot(") == 5  # nor upload what it shows


def test_a_journal_is_optunas_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "fold_value", made_up)
    worked(opened(tmp_path, config(tune__trials="2")), tmp_path)
    found = optuna.load_study(storage=JournalStorage(JournalFileBackend(str(tmp_path / "journal.log"))), study_name="s")
    assert [trial.state for trial in found.trials] == [TrialState.COMPLETE, TrialState.COMPLETE]
