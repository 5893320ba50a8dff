"""Entry point `ui`: MLflow's own UI, opened where the runs are."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from eusml.commands.terminal import say
from eusml.config import Config
from eusml.tracking import ui

_ENDS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def run(config: Config) -> None:
    """Show the experiment's runs on 127.0.0.1 until Ctrl-C; where a tracking server holds them, say where it does.

    Raises:
        TrackingError: nothing is recorded yet, the port is taken, or the UI does not start.
    """
    shown = ui.look(f"{config.name}: ui")
    base = ui.server_of_store()
    if base is not None:
        _say_addresses(shown, base)
        return
    with _until_told_to_end(), ui.serving(config.ui.port) as server:
        _say_addresses(shown, server.base)
        say("Ctrl-C ends it")
        server.wait()


def _say_addresses(shown: ui.Shown, base: str) -> None:
    places = {
        f"runs of experiment '{shown.experiment}'": shown.runs_at(base),
        "networks side by side": shown.networks_at(base),
        "newest run of main": shown.pipeline_at(base),
    }
    for what, address in places.items():
        if address is not None:
            say(f"{what}   {address}")


@contextmanager
def _until_told_to_end() -> Iterator[None]:
    """Leave the block when the process is told to end, and go on after it: here that is how one stops."""

    def end(number: int, frame: FrameType | None) -> None:
        # Whoever asks twice (`mlflow run` does, after Ctrl-C) must not keep the block from ending what it started.
        for one in _ENDS:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt

    # What is ignored from the start stays so: `nohup` means it.
    before = {one: signal.signal(one, end) for one in _ENDS if signal.getsignal(one) is not signal.SIG_IGN}
    try:
        yield
    except KeyboardInterrupt:
        say("ended")
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
