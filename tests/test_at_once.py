"""How many networks of folds are made at once, and what their processes say; test_nested_cv.py makes some."""

import io
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from eusml.commands import at_once
from eusml.commands.at_once import networks_at_once, sharing
from eusml.config import Config, load_config
from eusml.errors import ConfigError
from eusml.ranks import Ranks

GIB = 1 << 30


def config(**changed: str) -> Config:
    return load_config(None, {name.replace("__", "."): value for name, value in changed.items()})


@pytest.mark.parametrize(
    ("cores", "gib", "folds", "expected"),
    [
        (2, 24, 4, 1),  # as measured: two of one core each gain nothing worth a process
        (4, 24, 4, 2),
        (16, 64, 5, 5),  # no more than there are
        (16, 64, 10, 5),  # evenly
        (8, 64, 5, 1),
        (16, 8, 4, 2),  # no more than memory is there for
        (1, 1, 5, 1),
    ],
)
def test_cores_and_memory_decide(
    cores: int, gib: int, folds: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at_once, "usual_threads", lambda: cores)
    monkeypatch.setattr(at_once, "_memory", lambda: gib * GIB)
    assert networks_at_once(config(train__device="cpu"), folds) == expected
    assert networks_at_once(config(networks_at_once="3"), folds) == 3


def test_on_a_gpu_they_are_made_one_after_another_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_once, "usual_threads", lambda: 16)
    monkeypatch.setattr(at_once, "choose_compute", lambda *_: SimpleNamespace(device=torch.device("cuda")))
    assert networks_at_once(config(), 5) == 1
    assert networks_at_once(config(networks_at_once="2"), 5) == 2


def test_processes_of_torchrun_make_each_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_once, "current", lambda: Ranks(0, 2))
    monkeypatch.setattr(at_once, "usual_threads", lambda: 16)
    assert networks_at_once(config(), 5) == 1
    with pytest.raises(ConfigError, match=r"started by torchrun .* networks_at_once must be 1 there"):
        networks_at_once(config(networks_at_once="2"), 5)


def test_they_share_the_threads_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_once, "usual_threads", lambda: 7)
    assert sharing(config(), 1).train.threads is None
    assert sharing(config(), 3).train.threads == 2
    assert sharing(config(), 9).train.threads == 1
    assert sharing(config(train__threads="4"), 3).train.threads == 4
    # Each of these would start workers of its own.
    assert sharing(config(tune__workers="4"), 3).tune.workers == 1
    assert sharing(config(tune__workers="4"), 1).tune.workers == 4


@pytest.mark.parametrize(("limit", "expected"), [("max\n", None), (f"{8 * GIB}\n", 8 * GIB), (None, None)])
def test_the_memory_of_a_container_counts(
    limit: str | None, expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "memory.max"
    if limit is not None:
        file.write_text(limit)
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr(at_once, "_MEMORY_LIMIT", file)
    assert at_once._memory() == min(whole, expected or whole)


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
