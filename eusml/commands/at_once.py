"""Networks that do not depend on one another, those of folds, made at once by several processes.

The processes leave finished stages in store and work folder. The job then goes through all networks as if it were
alone, and finds them there; what a process that died left undone, it does itself.
"""

import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from eusml.commands.job import Job
from eusml.commands.processes import run_processes
from eusml.commands.terminal import say
from eusml.config import Config, with_settings
from eusml.errors import ConfigError
from eusml.files import written_whole
from eusml.ranks import current
from eusml.runtime import choose_compute, usual_threads
from eusml.tracking import runs
from eusml.workers import working

_THREADS_EACH = 2
"""Two trainings, a thread each, are hardly faster than one after the other by both: benchmarks/README.md."""
_MEMORY_EACH = 4 << 30
"""Bytes: ResNet-50 at 224 px in batches of 32 takes 3 GB in bf16, small images take 1 GB."""
_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Of a container."""


@dataclass(frozen=True)
class _Errand:
    """What one of the processes needs."""

    number: int
    """From 1."""
    make: Callable[[Job, Any], object]
    pieces: Sequence[Any]
    config: Config
    entry: str
    run: runs.Run


def networks_at_once(config: Config, count: int) -> int:
    """How many of `count` networks to make at once: as asked, or what cores and memory are there for.

    By itself only as many as the networks can be dealt to evenly. The more threads share one training, the less each of
    them adds, so as many as work on all of them at once are no slower; but a last network with a share of the threads,
    while the others wait, may take longer than was gained.

    Raises:
        ConfigError: several are asked for under torchrun.
    """
    asked = config.networks_at_once
    if current().count > 1:
        if asked is not None and asked > 1:
            raise ConfigError(
                "processes started by torchrun train every network together, so networks_at_once must be 1 there"
            )
        return 1
    if asked is not None:
        return min(asked, count)
    if choose_compute(config.train.device, config.train.precision).device.type == "cuda":
        return 1  # several processes on one GPU were never measured
    most = min(usual_threads() // _THREADS_EACH, _memory() // _MEMORY_EACH, count)
    return max((number for number in range(1, most + 1) if count % number == 0), default=1)


def sharing(config: Config, processes: int) -> Config:
    """The same settings with a share of the CPU's threads, unless their number is set, and one worker for a study."""
    if processes == 1:
        return config
    threads = config.train.threads or max(usual_threads() // processes, 1)
    return with_settings(config, {"train.threads": threads, "tune.workers": 1})


def make_at_once(
    job: Job, key: str, make: Callable[[Job, Any], object], pieces: Sequence[Any], processes: int, what: str
) -> None:
    """Have `make(job, piece)` called for every piece, by processes which share the CPU and the work folder.

    Not if that was done before: then all is there already, or the job makes it by itself.

    Args:
        job: the running job.
        key: fingerprint of all that decides the pieces.
        make: runs stages of the job; a function of a module, for it and the pieces are sent to other processes.
        pieces: what it is called with.
        processes: how many; with 1 nothing is done, and all is left to the job itself.
        what: the pieces' name in the plural, for people.
    """
    done = job.work_dir / "at_once" / key[:16]
    if processes == 1 or done.exists():
        return
    say(f"  {len(pieces)} {what} in {processes} processes, which number their lines")
    errands = [
        _Errand(number + 1, make, pieces[number::processes], job.config, job.entry, job.run)
        for number in range(processes)
    ]
    ended_well = run_processes(_work, errands)
    runs.end_abandoned(job.run, job.worker)
    if ended_well:
        done.parent.mkdir(exist_ok=True)
        with written_whole(done):
            pass


def _work(errand: _Errand) -> None:
    work_dir = errand.config.work_dir
    # No terminal, so no bars, which would be drawn over each other.
    with (
        _Numbered(sys.stdout, errand.number) as out,
        _Numbered(sys.stderr, errand.number) as err,
        redirect_stdout(out),
        redirect_stderr(err),
        working(work_dir / "workers") as worker,
    ):
        run = runs.Run(errand.run.run_id, errand.run.experiment_id, worker.name)
        job = Job(errand.config, errand.entry, run, worker, turns=work_dir / ".pieces.lock")
        for piece in errand.pieces:
            errand.make(job, piece)


class _Numbered(io.TextIOBase):
    """A stream whose lines begin with a process's number."""

    def __init__(self, stream: TextIO, number: int) -> None:
        self._stream, self._number, self._begun = stream, number, ""

    def write(self, text: str) -> int:
        """Whole lines at once: other processes write, too."""
        *lines, self._begun = (self._begun + text).split("\n")
        self._stream.write("".join(f"{self._number}| {line}\n" for line in lines))
        return len(text)

    def flush(self) -> None:
        """What was written of whole lines."""
        self._stream.flush()

    def close(self) -> None:
        """End the last line."""
        if self._begun:
            self.write("\n")
        super().close()


def _memory() -> int:
    if not hasattr(os, "sysconf"):
        return _MEMORY_EACH
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _MEMORY_LIMIT.read_text().strip() if _MEMORY_LIMIT.exists() else ""
    return min(whole, int(limit)) if limit.isdecimal() else whole
