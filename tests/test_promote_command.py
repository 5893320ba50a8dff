"""What `promote` makes of a history, and whose name it writes there."""

import getpass
import platform
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from eusml.commands import history as history_command
from eusml.commands import rollback
from eusml.commands.candidate import prepared_as
from eusml.commands.champion import champion_of
from eusml.commands.promote import whoami
from eusml.config import Config, DataConfig
from eusml.data.images import Preparation
from eusml.data.ingest import preparation_of
from eusml.errors import PromotionError
from eusml.tracking import history
from eusml.tracking.history import Entry, History, Move
from eusml.tracking.integrity import FILES


def story(*moves: tuple[str, str | None, str]) -> History:
    entries = [
        Entry(
            number, kind, f"2026-01-0{number}T10:11:12.345+00:00", "me@here", before, after, "f", "d" * 64, "r" * 32, ""
        )
        for number, (kind, before, after) in enumerate(moves, start=1)
    ]
    return History("eusml-resnet34", "champion", "h" * 32, entries)


UP = [("promotion", None, "1"), ("promotion", "1", "2"), ("rollback", "2", "1")]


def test_what_was_rolled_back_stays_so_until_it_is_brought_back() -> None:
    assert story(*UP[:2]).rolled_back("2") is None
    assert story(*UP).rolled_back("2") == "2026-01-03T10:11:12.345+00:00"
    assert story(*UP).rolled_back("3") is None
    again = story(*UP, ("rollback", "1", "2"), ("promotion", "2", "3"))
    assert again.rolled_back("2") is None


def test_a_history_is_a_table() -> None:
    head, names, *rows = history_command.lines(story(*UP))
    assert head == f"champion of eusml-resnet34, the entries of run {'h' * 32}:"
    assert names.split() == ["when", "(UTC)", "who", "what", "from", "to", "decision", "in", "run"]
    assert rows[0].split() == ["1", "2026-01-01", "10:11:12", "me@here", "promotion", "-", "1", "d" * 12, "r" * 32]
    assert rows[2].split()[4:7] == ["rollback", "2", "1"]
    assert history_command.lines(story()) == ["eusml-resnet34: nobody has been champion yet"]


def test_there_is_no_champion_before_the_first_entry() -> None:
    for known in (None, story()):
        found = champion_of(known)
        assert (found.entry, found.version, found.label) == (None, None, "no version")


def test_who_did_it_is_known_or_said_to_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "here")
    monkeypatch.setattr(getpass, "getuser", lambda: "me")
    assert whoami() == "me@here"

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert whoami() == "unknown@here"


def test_cases_are_prepared_as_another_model_wants_them() -> None:
    settings = DataConfig(image_size_px=48)
    assert prepared_as(settings, preparation_of(settings)) is settings
    other = Preparation(64, 0.3, (0, 4095), 3, inpaint_overlays=True)
    assert preparation_of(prepared_as(settings, other)) == other


def test_a_rollback_that_somebody_overtook_is_not_tried_again(
    store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, client = "eusml-phantom-resnet34", MlflowClient()
    known = history.begin(name, "champion", "0", {}, "text")
    for version in ("1", "2", "3"):
        client.create_model_version(name, f"/nowhere/{version}", tags={FILES: f"f{version}", "eusml.synthetic": "true"})
    for version in ("1", "2"):
        history.append(known, Move("promotion", version, f"f{version}", "d", "r", "me"))
        known = history.begin(name, "champion", "0", {}, "text")
    real = history.append

    def late(seen: History, move: Move) -> Entry | None:
        real(seen, Move("promotion", "3", "f3", "d", "r", "somebody else"))
        return real(seen, move)

    monkeypatch.setattr(rollback, "_soundness", lambda _: (None, 1))
    monkeypatch.setattr(history, "append", late)
    with pytest.raises(PromotionError, match="changed by somebody else meanwhile, and not rolled back"):
        rollback.run(Config(work_dir=tmp_path / "work"))
    assert history.holder(name, "champion") == "3"
    monkeypatch.setattr(history, "append", real)
    rollback.run(Config(work_dir=tmp_path / "work"))
    assert history.holder(name, "champion") == "2"
    assert client.get_model_version(name, "2").tags["eusml.decision"] == "reinstated"
    assert client.get_model_version(name, "3").tags["eusml.decision"] == "rolled back"
    rollback.run(Config(work_dir=tmp_path / "work"))
    assert history.holder(name, "champion") == "1"
    with pytest.raises(PromotionError, match="none to go back to"):
        rollback.run(Config(work_dir=tmp_path / "work"))
