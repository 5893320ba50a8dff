"""One start of an entry point: its run, and stages that are run once and reused while nothing they depend on changes."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from eusml.commands.terminal import say
from eusml.config import Config, flatten, to_yaml
from eusml.evaluation import report
from eusml.runtime import code_digest
from eusml.tracking import runs

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
    """Name of the entry point; its own stage is recorded in the entry run, the stages it needs in children."""
    run: runs.Run
    records: list[StageRecord] = field(default_factory=list)

    @property
    def work_dir(self) -> Path:
        """Where prepared images and training states are kept between starts."""
        return self.config.work_dir


@contextmanager
def open_job(entry: str, config: Config) -> Iterator[Job]:
    """Connect to the store and open the entry point's run; whatever happens inside decides its final status."""
    runs.connect()
    began = time.perf_counter()
    with runs.entry_run(f"{config.name}: {entry}", {"eusml.entry_point": entry}) as run:
        run.params({f"cfg.{name}": value for name, value in flatten(config).items()})
        run.text(to_yaml(config), "config.yaml")
        job = Job(config, entry, run)
        yield job
        if entry == "main":
            run.note(report.pipeline_note([vars(record) for record in job.records]))
        run.metrics({"seconds": time.perf_counter() - began})


def fingerprint(stage: str, inputs: Mapping[str, Any], layers: tuple[str, ...]) -> str:
    """SHA-256 of all that a stage's result depends on: its inputs and settings, and the code of `layers`."""
    known = {"stage": stage, "inputs": inputs, "code": code_digest(*layers)}
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()


def run_stage(
    job: Job,
    stage: str,
    label: str,
    key: str,
    tags: Mapping[str, str],
    *,
    make: Callable[[runs.Run], T],
    reuse: Callable[[runs.FinishedRun], T | None],
) -> T:
    """The result of a stage: from the finished run with this fingerprint if its files are still there, else made anew.

    Args:
        job: the running job.
        stage: name of the stage, as in `eusml.stage`.
        label: how a person would call it: `train resnet34`.
        key: the stage's fingerprint.
        tags: tags of a new run.
        make: does the work inside the new run.
        reuse: loads the result of a finished run, or gives None when its files are gone.
    """
    began = time.perf_counter()
    finished = runs.find_finished(key, stage)
    if finished is not None:
        result = reuse(finished)
        if result is not None:
            say(f"[{label}] reused: inputs, settings and code are those of run {finished.run_id}")
            if job.entry == stage:
                job.run.tags({**tags, "eusml.reused_run": finished.run_id})
                job.run.note(f"Nothing to do: inputs, settings and code are those of run `{finished.run_id}`.")
            job.records.append(StageRecord(label, finished.run_id, True, time.perf_counter() - began))
            return result
    say(f"[{label}] …")
    if job.entry == stage:
        result = _make(job.run, key, tags, make)
        run_id = job.run.run_id
    else:
        with runs.child_run(job.run, label, {}) as run:
            result = _make(run, key, tags, make)
            run_id = run.run_id
    seconds = time.perf_counter() - began
    say(f"[{label}] done in {seconds:.1f} s")
    job.records.append(StageRecord(label, run_id, False, seconds))
    return result


def _make(run: runs.Run, key: str, tags: Mapping[str, str], make: Callable[[runs.Run], T]) -> T:
    run.tags(tags)
    runs.mark_superseded(key, run.run_id)
    return make(run)
