"""Processes that an entry point starts to help it: waited for, told to end, and never left behind."""

import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.context import SpawnProcess
from typing import TypeVar

from eusml.commands.terminal import say
from eusml.config import Config, with_settings
from eusml.data.parallel import cores, end_with_parent
from eusml.errors import EusmlError
from eusml.tracking import store

Errand = TypeVar("Errand")

_FAREWELL_S = 10.0
_SAID = 3
"""Exit status of a process that has said itself why it ended."""


def sharing_threads(config: Config, processes: int) -> Config:
    """The settings with a share of the CPU's threads for each of some processes, unless their number is set."""
    return with_settings(config, {"train.threads": config.train.threads or max(cores() // processes, 1)})


def run_processes(work: Callable[[Errand], None], errands: Sequence[Errand]) -> None:
    """A process for each errand, connected to the store; returns when all have ended, well or not.

    Whatever they leave undone is for whoever started them. Interrupted, it gives them some seconds to say goodbye.

    Args:
        work: what a process does; it and the errands are sent there, so it must be a function of a module.
        errands: what it is called with.
    """
    # Spawned and not forked: this process may hold threads of torch, whose locks a fork would copy shut. No daemons,
    # which may start no processes of their own to decode images.
    context = get_context("spawn")
    processes = [context.Process(target=_run, args=(work, errand)) for errand in errands]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    finally:
        _end([process for process in processes if process.pid is not None])
    for number, process in enumerate(processes, start=1):
        code = process.exitcode
        if code not in (0, _SAID):
            assert code is not None
            how = f"was ended by signal {-code}, as the system does for want of memory" if code < 0 else "crashed"
            say(f"  process {number} {how}; what it left undone is done now")


def _end(processes: Sequence[SpawnProcess]) -> None:
    """Whoever was interrupted gives its work back first; a terminal interrupts all of them, others only this one."""
    deadline = time.monotonic() + _FAREWELL_S
    try:
        for process in processes:
            process.join(max(deadline - time.monotonic(), 0))
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.join()


def _run(work: Callable[[Errand], None], errand: Errand) -> None:
    end_with_parent()
    try:
        store.connect()
        work(errand)
    except EusmlError as error:
        say(f"  a process ended: {error}")  # and so will the one that started it, when it comes there
        sys.exit(_SAID)
    except KeyboardInterrupt:
        pass  # the process that started it says so
