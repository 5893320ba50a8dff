"""Bars, as a person at a terminal sees them."""

import sys
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
            ended(epoch, f"loss {epoch}")
    shown = screen.getvalue()
    assert "train resnet34:   0%" in shown
    assert "epoch 4/4, loss 4" in shown
    assert "100%" in shown


def test_nothing_is_drawn_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with epoch_bar([1.0], "train resnet34") as ended:
        ended(1, "loss 1")
    assert capsys.readouterr().err == ""
