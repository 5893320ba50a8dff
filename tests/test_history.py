"""The history of champions against a real sqlite store: written once, followed by the alias, and mended."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from eusml.errors import PromotionError, TrackingError
from eusml.tracking import history
from eusml.tracking.history import Entry, History, Move
from eusml.tracking.integrity import FILES

ALIAS = "champion"


@pytest.fixture
def name(store_folder: Path, request: pytest.FixtureRequest) -> str:
    return f"eusml-{request.node.name}"


@pytest.fixture
def known(name: str) -> History:
    """An empty history, of a registered model with three versions whose files have digests f1 to f3."""
    found = begin(name)
    client = MlflowClient()
    for number in (1, 2, 3):
        client.create_model_version(name, f"/nowhere/{number}", tags={FILES: f"f{number}"})
    return found


def begin(name: str) -> History:
    return history.begin(name, ALIAS, "0", {}, "text")


def move(version: int, kind: str = "promotion") -> Move:
    return Move(kind, str(version), f"f{version}", "d" * 64, "r" * 32, "me@here")


def alias_of(name: str) -> str | None:
    return history.holder(name, ALIAS)


def moved(known: History, version: int, kind: str = "promotion") -> History:
    assert history.append(known, move(version, kind)) is not None
    return history.read(known.name, known.alias) or known


def test_a_move_is_on_record_and_the_alias_follows(known: History) -> None:
    assert known.champion is None
    assert alias_of(known.name) is None
    later = moved(moved(known, 1), 3)
    first, second = later.entries
    assert (first.number, first.before, first.after, first.kind, first.who) == (1, None, "1", "promotion", "me@here")
    assert (second.number, second.before, second.after, second.files_sha256) == (2, "1", "3", "f3")
    assert first.previous == ""
    assert len(second.previous) == 64
    assert first.when.endswith("+00:00")
    assert alias_of(known.name) == "3"


def test_who_comes_second_learns_of_it_and_changes_nothing(known: History) -> None:
    moved(known, 1)
    assert history.append(known, move(2)) is None  # decided when there was no champion
    found = history.read(known.name, ALIAS)
    assert found is not None
    assert [entry.after for entry in found.entries] == ["1"]
    assert alias_of(known.name) == "1"


def test_the_store_itself_lets_nobody_change_an_entry(known: History) -> None:
    moved(known, 1)
    with pytest.raises(MlflowException, match="Changing param values is not allowed"):
        MlflowClient().log_param(known.run_id, "champion.0001", "{}")


def test_an_alias_left_behind_by_a_dead_process_or_moved_by_hand_is_put_back(
    known: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(history, "_follow", lambda *_: None)  # killed between entry and alias
        later = moved(known, 1)
    assert alias_of(known.name) is None
    assert history.follow(later) == "none"
    assert alias_of(known.name) == "1"
    assert history.follow(later) is None
    MlflowClient().set_registered_model_alias(known.name, ALIAS, "3")
    assert history.follow(later) == "3"
    assert alias_of(known.name) == "1"


def test_a_slow_process_does_not_leave_the_alias_on_what_was_displaced(
    known: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, others = MlflowClient.set_registered_model_alias, [2]

    def slow(self: MlflowClient, name: str, alias: str, version: str) -> None:
        if others:  # while this one was about to set the alias, somebody else has moved it on
            between = history.read(name, alias)
            assert between is not None
            with monkeypatch.context() as patch:
                patch.setattr(MlflowClient, "set_registered_model_alias", real)
                patch.setattr(history, "exclusive", nullcontext)
                moved(between, others.pop())
        real(self, name, alias, version)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", slow)
    moved(known, 1)
    found = history.read(known.name, ALIAS)
    assert found is not None
    assert [entry.after for entry in found.entries] == ["1", "2"]
    assert alias_of(known.name) == "2"


def test_an_alias_that_another_process_made_at_the_same_moment_is_no_failure(
    known: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refusals = MlflowClient.set_registered_model_alias, []

    def refused_once(client: MlflowClient, name: str, alias: str, version: str) -> None:
        if not refusals:
            refusals.append(version)
            real(client, name, alias, "3")  # the other one was first
            raise MlflowException("UNIQUE constraint failed: registered_model_aliases.alias")
        real(client, name, alias, version)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", refused_once)
    moved(known, 1)
    assert refusals == ["1"]
    assert alias_of(known.name) == "1"


def test_a_store_that_sets_no_alias_is_said(known: History, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise MlflowException("the disk is full")

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", refused)
    monkeypatch.setattr(history, "_PAUSE_S", 0.0)
    with pytest.raises(MlflowException, match="the disk is full"):
        history.append(known, move(1))


def test_a_deleted_champion_leaves_its_history_and_no_alias(known: History) -> None:
    later = moved(moved(known, 1), 3)
    client = MlflowClient()
    client.delete_model_version(known.name, "3")
    assert later.champion is not None
    assert not history.is_there(known.name, later.champion)
    assert history.follow(later) is None  # and not back to 1, which nobody decided
    assert alias_of(known.name) is None
    assert str(client.create_model_version(known.name, "/nowhere/4").version) == "4"  # no number is given out twice


def test_a_failing_store_is_said_and_a_write_that_came_through_counts(
    known: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = MlflowClient.log_param

    def lost(*_: object, **__: object) -> None:
        raise MlflowException("timed out")

    def answer_lost(self: MlflowClient, run_id: str, key: str, value: str) -> None:
        real(self, run_id, key, value)
        raise MlflowException("timed out")

    monkeypatch.setattr(MlflowClient, "log_param", lost)
    with pytest.raises(TrackingError, match="could not be written: timed out"):
        history.append(known, move(1))
    monkeypatch.setattr(MlflowClient, "log_param", answer_lost)
    assert history.append(known, move(1)) is not None
    assert alias_of(known.name) == "1"


def test_rollbacks_lead_back_one_by_one() -> None:
    def entries(*moves: tuple[str, str]) -> History:
        made = [Entry(n, kind, "", "", None, to, "", "", "", "") for n, (kind, to) in enumerate(moves, start=1)]
        return History("n", ALIAS, "r", made)

    def back(*moves: tuple[str, str]) -> list[str]:
        return [entry.after for entry in entries(*moves).displaced()]

    up = [("promotion", "1"), ("promotion", "2"), ("promotion", "3")]
    assert back() == back(up[0]) == []
    assert back(*up) == ["1", "2"]
    assert back(*up, ("rollback", "2")) == ["1"]  # and not back to 3, from which one has just rolled back
    assert back(*up, ("rollback", "2"), ("rollback", "1")) == []
    assert back(*up, ("rollback", "1")) == []
    assert back(*up, ("rollback", "2"), ("promotion", "4")) == ["1", "2"]
    assert back(*up, ("rollback", "2"), ("rollback", "3")) == ["1", "2"]  # forward again


def test_the_history_begins_once_with_the_registered_model(name: str) -> None:
    first, again = begin(name), begin(name)
    assert first.run_id == again.run_id
    run = MlflowClient().get_run(first.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["eusml.history_of"] == name
    assert history.read("nobody", ALIAS) is None


def test_of_two_that_begin_at_once_one_history_is_left(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, others = history._make_run, []

    def late(model: str, experiment_id: str) -> str:
        if not others:
            others.append("")
            others[0] = begin(model).run_id
        return real(model, experiment_id)

    monkeypatch.setattr(history, "_make_run", late)
    assert begin(name).run_id == others[0]
    runs = MlflowClient().search_runs(["0"], f"tags.`eusml.history_of` = '{name}'")
    assert [run.info.run_id for run in runs] == others


def test_a_registered_model_that_somebody_else_made_is_left_alone(name: str) -> None:
    MlflowClient().create_registered_model(name)
    with pytest.raises(PromotionError, match="was not made by eusml and has no history; rename or delete it"):
        begin(name)


def test_what_is_not_as_it_was_written_is_not_believed(known: History, monkeypatch: pytest.MonkeyPatch) -> None:
    last = moved(moved(known, 1), 2).entries[-1]
    client = MlflowClient()
    forged = replace(last, number=3, after="3")  # which goes on from entry 1
    client.log_param(known.run_id, "champion.0003", forged.text)
    with pytest.raises(TrackingError, match=r"entry 3 .* does not go on from the one before"):
        history.read(known.name, ALIAS)


def test_a_history_that_is_gone_is_said(known: History) -> None:
    client = MlflowClient()
    client.delete_run(known.run_id)
    with pytest.raises(TrackingError, match="was deleted; restore it"):
        history.read(known.name, ALIAS)
    client.restore_run(known.run_id)
    client.set_tag(known.run_id, "eusml.history_of", "other")
    with pytest.raises(TrackingError, match="is not the history of"):
        history.read(known.name, ALIAS)


def test_an_entry_fits_where_it_is_stored(known: History) -> None:
    later = moved(known, 1)
    assert len(later.entries[0].text) < 1000
    assert json.loads(later.entries[0].text)["after"] == "1"
