"""What every contestant is given, what it notes while it trains, and the line that it answers with.

Nothing heavy is imported here, nor anything of ours: a contestant's start is part of its measurement.
"""

import functools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal, get_args

Setting = Literal["default", "best"]
SETTINGS: tuple[Setting, ...] = get_args(Setting)

LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.02
WARMUP_FRAC = 0.25
START_DIVISOR, FINAL_DIVISOR = 25.0, 1e4
"""Of the learning rate, at the first and the last step of the one cycle."""
ROTATION_DEG = 180.0
SCALE_FRAC = 0.15
SHIFT_FRAC = 0.10
GAMMA_FRAC = 0.25
"""Strengths of the augmentation; a test holds them and the above equal to our own defaults."""
RGB_MEAN, RGB_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY_MEAN, GREY_STD = (0.449,), (0.226,)
"""ImageNet's, which all peers' examples normalise by, and their means for one channel."""


@dataclass(frozen=True)
class Work:
    """One training."""

    folder: str
    """Images, one sub-folder per class, all of the size that the network is to see."""
    weights: str
    """Where to save the result."""
    arch: str
    """`resnet34` or `resnet50`."""
    size_px: int
    batch: int
    epochs: int
    setting: Setting
    workers: int | None
    """Loader processes in the best setting; None takes as many as the peer recommends."""
    started_s: float
    """When the process was started, by the system's monotonic clock."""
    seed: int = 0
    """Of weights, order and augmentation."""
    rotation_deg: float = ROTATION_DEG
    """Images are turned by up to so much."""
    positive_class: str = "GIST"
    """Name of one of the classes' folders."""
    recipe: str = ""
    """The experiment whose settings ours takes beyond these, if it takes any."""

    @property
    def best(self) -> bool:
        """Whether this is the documented best setting, rather than the default one."""
        return self.setting == "best"

    @property
    def bf16(self) -> bool:
        """Whether to train in bf16: in the best setting, by a processor that has it."""
        return self.best and cpu_has_bf16()

    def loader_workers(self, default: int, recommended: int | None = None) -> int:
        """How many loader processes to use: never more than there are cores, for torch warns of that.

        Args:
            default: what the peer does unasked.
            recommended: what it advises; None for the same.
        """
        if self.best and self.workers is not None:
            return self.workers
        return min(default if recommended is None or not self.best else recommended, cores())


@functools.cache
def cpu_has_bf16() -> bool:
    """Whether this processor multiplies in bf16, as `eusml/runtime.py` asks torch."""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


class Record:
    """What a contestant notes while it trains."""

    def __init__(self) -> None:
        self.ends_s: list[float] = []
        self.losses: list[float] = []
        self._total = 0.0
        self._seen = 0
        self._images = 0

    def step(self, loss: float, images: int) -> None:
        """A step's mean loss over so many images."""
        self._total += loss * images
        self._seen += images

    def end_epoch(self) -> None:
        """All steps of an epoch are noted."""
        self.ends_s.append(time.monotonic())
        self.losses.append(self._total / self._seen)
        self._images, self._total, self._seen = self._seen, 0.0, 0

    def images_per_second(self) -> float:
        """Median over the epochs but the first, each from the end of the one before."""
        seconds = [end - begin for begin, end in zip(self.ends_s, self.ends_s[1:], strict=False)]
        return self._images / statistics.median(seconds)


@dataclass(frozen=True)
class Answer:
    """What was measured of one training."""

    setting: str
    """In words: precision and loader processes."""
    channels: int
    seconds: float
    """From the start of the process until the weights lay on disk."""
    images_per_second: float
    losses: list[float]
    """Mean training loss of every epoch."""
    peak_mb: float
    """Highest resident memory of the process, its loader processes not counted."""
    threads: int
    torch: str


def answer(main: Callable[[Work, Record], tuple[int, int]]) -> None:
    """Do the work that the command line holds as JSON, and print the answer as one line of JSON.

    Args:
        main: trains, saves, and returns the number of channels and of loader processes.
    """
    work, record = Work(**json.loads(sys.argv[1])), Record()
    channels, workers = main(work, record)
    seconds = time.monotonic() - work.started_s
    if not Path(work.weights).stat().st_size or len(record.losses) != work.epochs:
        raise RuntimeError(f"{len(record.losses)} of {work.epochs} epochs were noted, weights at {work.weights}")
    import torch

    words = "bf16" if work.bf16 else "fp32"
    words += {0: "", 1: ", 1 worker"}.get(workers, f", {workers} workers")
    rate, threads = record.images_per_second(), torch.get_num_threads()
    found = Answer(words, channels, seconds, rate, record.losses, _peak_mb(), threads, version("torch"))
    print(f"\n{json.dumps(asdict(found))}", flush=True)


def _peak_mb() -> float:
    # Not `getrusage`, which begins with what the parent held.
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 1024
