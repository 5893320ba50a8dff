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
from typing import Literal, SupportsFloat, get_args

Setting = Literal["default", "best", "compiled"]
SETTINGS: tuple[Setting, ...] = get_args(Setting)
Device = Literal["cpu", "cuda"]
DEVICES: tuple[Device, ...] = get_args(Device)

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
    device: Device = "cpu"

    @property
    def cuda(self) -> bool:
        """Whether a GPU trains."""
        return self.device == "cuda"

    @property
    def best(self) -> bool:
        """Whether this is the documented best setting, compiled or not, rather than the default one."""
        return self.setting != "default"

    @property
    def compiled(self) -> bool:
        """Whether torch is to compile the network as well."""
        return self.setting == "compiled"

    @property
    def bf16(self) -> bool:
        """Whether to train in bf16: in the best setting, on a device that has it."""
        return self.best and has_bf16(self.device)

    def loader_workers(self, default: int, recommended: int | None = None) -> int:
        """How many loader processes to use: never more than there are cores, for torch warns of that.

        Args:
            default: what the peer does unasked.
            recommended: what it advises; None for the same.
        """
        if self.best and self.workers is not None:
            return self.workers
        return min(default if recommended is None or not self.best else recommended, cores())


def has_bf16(device: Device) -> bool:
    """Whether this machine's processor or GPU multiplies in bf16."""
    if device == "cpu":
        return cpu_has_bf16()
    import torch

    return torch.cuda.is_bf16_supported(including_emulation=False)


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
        self._steps: list[tuple[SupportsFloat, int]] = []
        self._images = 0

    def step(self, loss: SupportsFloat, images: int) -> None:
        """A step's mean loss over so many images.

        A tensor is not read before the epoch ends: to read it waits for the GPU, and who does so after every step is
        who would do so without us.
        """
        self._steps.append((loss, images))

    def end_epoch(self) -> None:
        """All steps of an epoch are noted, and when its losses can be read, the last step is done."""
        total = sum(float(loss) * images for loss, images in self._steps)
        self.ends_s.append(time.monotonic())
        self._images = sum(images for _, images in self._steps)
        self.losses.append(total / self._images)
        self._steps = []

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
    """Highest resident memory of the process, its loader processes not counted; most memory of its tensors on a GPU."""
    threads: int
    torch: str
    gpu: str = ""
    """Its name, where one trained."""


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
    peak_mb = torch.cuda.max_memory_allocated() / 2**20 if work.cuda else _peak_mb()
    gpu = torch.cuda.get_device_name() if work.cuda else ""
    found = Answer(words, channels, seconds, rate, record.losses, peak_mb, threads, version("torch"), gpu)
    print(f"\n{json.dumps(asdict(found))}", flush=True)


def _peak_mb() -> float:
    # Not `getrusage`, which begins with what the parent held.
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 1024
