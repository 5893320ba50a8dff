"""Bars, as a person at a terminal sees them."""

import re
import sys
import time
from io import StringIO

import pytest

from eusml.commands.terminal import epoch_bar


class Terminal(StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


def test_a_trainings_bar_counts_time_and_names_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with epoch_bar([0.25, 0.25, 0.5, 1.0], "train resnet34") as ended:
        for epoch in range(1, 5):
            time.sleep(0.11)  # a bar is drawn ten times a second at most
            ended(epoch, f"loss {epoch}")
    shown = screen.getvalue()
    for percent, epoch in ((12, 1), (25, 2), (50, 3), (100, 4)):
        assert re.search(rf"train resnet34: +{percent}%.*epoch {epoch}/4, loss {epoch}", shown)


def test_nothing_is_drawn_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with epoch_bar([1.0], "train resnet34") as ended:
        ended(1, "loss 1")
    assert capsys.readouterr().err == ""
