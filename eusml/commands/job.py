"""One start of an entry point: its run, and stages that are run once and reused while nothing they rest on changes."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from eusml.commands.terminal import say
from eusml.config import Config, flatten, to_yaml, without_passwords
from eusml.errors import EusmlError
from eusml.tracking import runs, store
from eusml.tracking.lookup import FinishedRun, find_finished
from eusml.tracking.provenance import environment
from eusml.tracking.selection import ENVIRONMENT_FILE
from eusml.workers import Worker, working

T = TypeVar("T")


@dataclass(frozen=True)
class StageRecord:
    """One line of the job's summary."""

    label: str
    run_id: str
    reused: bool
    seconds: float


@dataclass
class Job:
    """What every stage of one start shares."""

    config: Config
    entry: str
    """Name of the entry point; the stage that it `has_as_own` is recorded in the entry run, others in children."""
    run: runs.Run
    worker: Worker
    """This process."""
    records: list[StageRecord] = field(default_factory=list)
    synthetic: bool = False
    """Whether the images are made up; known once the data are read."""
    turns: Path | None = None
    """The lock that whoever writes prepared images must hold, where others may do so in the same `work_dir`."""

    @property
    def is_pipeline(self) -> bool:
        """Whether the entry run stands above all stages: what a tuned network is trained by is not what was given."""
        return self.entry in ("main", "tune") or (self.entry == "train" and self.config.tune.enabled)

    def has_as_own(self, stage: str) -> bool:
        """Whether a stage is recorded in the entry run itself, and not in one below it."""
        return self.entry == stage and not self.is_pipeline

    @property
    def work_dir(self) -> Path:
        """Where prepared images and training states are kept between starts."""
        return self.config.work_dir


@contextmanager
def open_job(entry: str, config: Config, *, shared: bool = False) -> Iterator[Job]:
    """Connect to the store and open the entry point's run; whatever happens inside decides its final status.

    Args:
        entry: name of the entry point.
        config: its settings.
        shared: others may work in the same `work_dir` meanwhile; the job calls `alone` where they must not.

    Raises:
        EusmlError: another process works in the same `work_dir`; two would write the same training state.
    """
    store.connect()
    began = time.perf_counter()
    tags = {"eusml.entry_point": entry, runs.STAGE: entry}
    _make_folder(config.work_dir)
    with (
        nullcontext() if shared else _alone(config.work_dir),
        working(config.work_dir / "workers") as worker,
        runs.entry_run(f"{config.name}: {entry}", tags, worker.name) as run,
    ):
        runs.end_abandoned(run, worker)
        shown = without_passwords(config)
        run.params({f"cfg.{name}": value for name, value in flatten(shown).items()})
        run.text(to_yaml(shown), "config.yaml")
        run.json(environment(), ENVIRONMENT_FILE)
        job = Job(config, entry, run, worker, turns=_lock_file(config.work_dir) if shared else None)
        yield job
        if job.is_pipeline:
            from eusml.evaluation import report  # late: scipy stands behind it

            run.note(report.pipeline_note([vars(record) for record in job.records], synthetic=job.synthetic))
        run.metrics({"seconds": time.perf_counter() - began})


@contextmanager
def alone(job: Job) -> Iterator[None]:
    """Of all that work in the folder, be the one that may write there; wait for it. A job by itself always may."""
    if job.turns is None:
        yield
        return
    lock = FileLock(job.turns)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"  waiting for another process that works in {job.work_dir}")
        lock.acquire(timeout=-1)
    try:
        yield
    finally:
        lock.release()


def run_stage(
    job: Job,
    stage: str,
    label: str,
    key: str,
    tags: Mapping[str, str],
    *,
    make: Callable[[runs.Run], T],
    reuse: Callable[[FinishedRun], T | None],
) -> T:
    """The result of a stage: from the finished run with this fingerprint if it can still be read, else made anew.

    Args:
        job: the running job.
        stage: name of the stage, as in `eusml.stage`.
        label: how a person would call it: `train resnet34`.
        key: the stage's fingerprint, over its inputs, settings and code.
        tags: tags of a new run.
        make: does the work inside the new run.
        reuse: loads the result of a finished run, or gives None when its files are gone.
    """
    began = time.perf_counter()
    finished = find_finished(job.run.experiment_id, key)
    if finished is not None:
        result = reuse(finished)
        if result is not None:
            if was_met(job, label, finished.run_id):
                return result
            say(f"[{label}] reused: inputs, settings and code are those of run {finished.run_id}")
            if job.has_as_own(stage):
                # Without the fingerprint: the next start is to find the run that did the work, not this one.
                marks = {name: value for name, value in tags.items() if name != runs.FINGERPRINT}
                job.run.tags({**marks, "eusml.reused_run": finished.run_id})
                job.run.note(f"Nothing to do: inputs, settings and code are those of run `{finished.run_id}`.")
            job.records.append(StageRecord(label, finished.run_id, True, time.perf_counter() - began))
            return result
    say(f"[{label}] …")
    if job.has_as_own(stage):
        job.run.tags(tags)
        result = make(job.run)
        run_id = job.run.run_id
    else:
        with runs.child_run(job.run, label, tags) as run:
            result = make(run)
            run_id = run.run_id
    seconds = time.perf_counter() - began
    say(f"[{label}] done in {seconds:.1f} s")
    job.records.append(StageRecord(label, run_id, False, seconds))
    return result


def was_met(job: Job, label: str, run_id: str) -> bool:
    """Whether a stage is on this job's record: asked for by another one, or made by a process that helps."""
    return any((record.label, record.run_id) == (label, run_id) for record in job.records)


@contextmanager
def _alone(work_dir: Path) -> Iterator[None]:
    """Hold the work folder's lock; the system gives it back when the process dies, however it dies."""
    lock = FileLock(_lock_file(work_dir))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise EusmlError(
            f"another eusml job works in {work_dir} now; wait for it, or give this one a folder of its own with "
            "-P work_dir=…"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _make_folder(work_dir: Path) -> None:
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        with _lock_file(work_dir).open("ab"):
            pass
    except OSError as error:
        raise EusmlError(
            f"work_dir {work_dir} cannot be used ({error.strerror}); name a folder that may be written to"
        ) from None


def _lock_file(work_dir: Path) -> Path:
    return work_dir / ".lock"
