"""Networks of folds, which do not depend on one another, made at once by several processes (`networks_at_once`).

The processes leave finished stages in store and work folder. The job then goes through all folds as if it were alone,
and finds them there; what a process that died left undone, it does itself.
"""

import io
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import TextIO

from eusml.commands.job import Job, StageRecord
from eusml.commands.processes import run_processes, sharing_threads
from eusml.commands.terminal import say
from eusml.config import Config, with_settings
from eusml.errors import ConfigError
from eusml.ranks import current
from eusml.tracking import runs
from eusml.tracking.lookup import finished_below
from eusml.workers import working


@dataclass(frozen=True)
class Fold:
    """One network to be made."""

    arm: str
    config: Config
    number: int
    """From 0."""


Make = Callable[[Job, Sequence[Fold]], None]
"""Runs all stages of the folds that one process is dealt; a function of a module, for it is sent there."""


@dataclass(frozen=True)
class _Errand:
    """What one of the processes needs."""

    number: int
    """From 1."""
    make: Make
    folds: Sequence[Fold]
    job_config: Config
    entry: str
    run: runs.Run


def make_folds_at_once(job: Job, make: Make, arms: Mapping[str, Config], folds: int) -> Mapping[str, Config]:
    """Have the folds of all arms made by as many processes as `networks_at_once` says; by one, nothing is done here.

    Args:
        job: the running job.
        make: what each process does.
        arms: names to settings.
        folds: of every arm.

    Returns:
        The settings that the folds' networks have: with a share of the CPU's threads, and one worker for a study.

    Raises:
        ConfigError: several are asked for under torchrun.
    """
    processes = min(job.config.networks_at_once, len(arms) * folds)
    if processes == 1:
        return arms
    if current().count > 1:
        raise ConfigError(
            "processes started by torchrun train every network together, so networks_at_once must be 1 there"
        )
    # Workers of a study would share the share once more.
    shared = {arm: with_settings(sharing_threads(has, processes), {"tune.workers": 1}) for arm, has in arms.items()}
    dealt = [Fold(arm, config, number) for arm, config in shared.items() for number in range(folds)]
    say(f"  {len(dealt)} networks of folds in {processes} processes, which number their lines")
    began = time.perf_counter()
    run_processes(
        _work,
        [
            _Errand(number + 1, make, dealt[number::processes], job.config, job.entry, job.run)
            for number in range(processes)
        ],
    )
    runs.end_abandoned(job.run, job.worker)
    _put_on_record(job, time.perf_counter() - began)
    return shared


def _put_on_record(job: Job, elapsed_s: float) -> None:
    """What the processes finished, as stages of this job."""
    known = {record.run_id for record in job.records}
    for done in finished_below(job.run):
        if done.run_id not in known:
            # A study that was continued began with an earlier start.
            job.records.append(StageRecord(done.name, done.run_id, False, min(done.seconds, elapsed_s)))


def _work(errand: _Errand) -> None:
    work_dir = errand.job_config.work_dir
    # No terminal, so no bars, which would be drawn over each other.
    with (
        _Numbered(sys.stdout, errand.number) as out,
        _Numbered(sys.stderr, errand.number) as err,
        redirect_stdout(out),
        redirect_stderr(err),
        working(work_dir / "workers") as worker,
    ):
        run = runs.Run(errand.run.run_id, errand.run.experiment_id, worker.name)
        # The job holds the folder's own lock.
        job = Job(errand.job_config, errand.entry, run, worker, turns=work_dir / ".folds.lock")
        errand.make(job, errand.folds)


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
