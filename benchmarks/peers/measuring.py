"""Contestants, and their measurements: each one a process of its own, all of them in turns."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from benchmarks.peers.work import SETTINGS, Answer, Setting, Work

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
"""Of the project; modules are run from there."""
OURS = "eusml"
WEIGHTS = "weights.bin"
PLAIN = "torchvision"
"""Whose default setting everybody is compared with."""


@dataclass(frozen=True)
class Contestant:
    """Somebody who trains."""

    name: str
    module: str
    """In this package; its `main` does the work."""
    package: str
    """What must be installed for it."""
    settings: tuple[Setting, ...] = ("default", "best")
    """What it is measured in; `compiled` where what it recommends, or its own script, has a word for that."""

    @property
    def installed(self) -> bool:
        """Whether it can take part here."""
        return importlib.util.find_spec(self.package) is not None


CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant(PLAIN, "torchvision_loop", "torchvision", SETTINGS),
        Contestant("timm", "timm_loop", "timm", SETTINGS),
        Contestant("lightning", "lightning_trainer", "lightning"),
        Contestant("fastai", "fastai_learner", "fastai"),
        Contestant(OURS, "ours", OURS),
    )
}


@dataclass(frozen=True)
class Entry:
    """What becomes a row: a contestant in one setting with one network."""

    arch: str
    contestant: Contestant
    setting: Setting


@dataclass(frozen=True)
class Failure:
    """A training that gave no answer."""

    message: str


Outcome = Answer | Failure


def train_once(entry: Entry, work: Work) -> Outcome:
    """The entry's training in a process of its own; `work` may be another entry's, and only its task is kept."""
    with tempfile.TemporaryDirectory() as folder:
        return train_into(Path(folder), entry, work)


def train_into(folder: Path, entry: Entry, work: Work) -> Outcome:
    """The same, and the weights stay in the folder, as `weights.bin`."""
    weights = str(folder / WEIGHTS)
    work = replace(work, arch=entry.arch, setting=entry.setting, weights=weights, started_s=time.monotonic())
    words = [sys.executable, "-m", f"benchmarks.peers.{entry.contestant.module}", json.dumps(asdict(work))]
    done = subprocess.run(words, cwd=ROOT, env=_environment(work), capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return Failure(f"exit status {done.returncode}: {done.stderr.strip()[-2000:]}")
    return Answer(**json.loads(lines[-1]))


def _environment(work: Work) -> dict[str, str]:
    """No GPU for anybody but who is to train on it.

    Bytecode is kept, lest packages without it compile themselves in every start. What torch compiles is not: every job
    is to pay for that.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    hidden = {} if work.cuda else {"CUDA_VISIBLE_DEVICES": ""}
    compiled = str(Path(work.weights).parent / "compiled")
    return {**kept, **hidden, "NO_ALBUMENTATIONS_UPDATE": "1", "TORCHINDUCTOR_CACHE_DIR": compiled}


def in_turns(
    entries: Sequence[Entry], work: Work, rounds: int, say: Callable[[str], None]
) -> dict[Entry, list[Outcome]]:
    """Every entry once per round; whoever began one round comes last in the next.

    Args:
        entries: whom to measure.
        work: what to do; network and setting are each entry's.
        rounds: how often.
        say: told of every measurement.
    """
    outcomes: dict[Entry, list[Outcome]] = {entry: [] for entry in entries}
    for number in range(rounds):
        for entry in rotated(entries, number):
            outcome = train_once(entry, work)
            outcomes[entry].append(outcome)
            who = f"round {number + 1}, {entry.arch}, {entry.contestant.name}, {entry.setting}"
            say(f"{who}: {outcome.message if isinstance(outcome, Failure) else json.dumps(asdict(outcome))}")
    return outcomes


def rotated(contestants: Sequence[T], by: int) -> Iterator[T]:
    """All of them, so many places further on."""
    start = by % max(len(contestants), 1)
    yield from contestants[start:]
    yield from contestants[:start]
