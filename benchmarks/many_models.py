"""Several small trainings on one CPU, how best: `python -m benchmarks.many_models [COUNT]`.

COUNT trainings of ResNet-34 (113 images of 64 px, batch 16, on-line augmentation, `EPOCHS` epochs), as folds, seeds and
trials are, done four ways in turns:

- one after another, all threads each, as a study's worker and the folds do it;
- two threads of one process, one torch thread each;
- two processes, one torch thread each, their start included;
- stacked: all weights in one tensor per layer (`torch.func`), the forward pass under `vmap`, fp32, for vmap's batch
  normalisation needs running statistics off; a step of it alone, without augmentation, measured beside a plain step.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torchvision import models

from eusml.config import OnlineConfig, TrainConfig
from eusml.learning.batches import LabelledImages
from eusml.learning.train import fit

ROUNDS = 3
EPOCHS = 6
BATCH = 16
_CHILD = "from benchmarks.many_models import train; import sys; [train(int(seed), 1) for seed in sys.argv[1:]]"


def train(seed: int, threads: int) -> None:
    """One small training."""
    rng = np.random.default_rng(seed)
    images = LabelledImages(rng.integers(0, 256, (113, 64, 64), dtype=np.uint8), np.arange(113) % 2)
    settings = TrainConfig(
        offline=False, online=OnlineConfig(enabled=True), epochs=EPOCHS, batch_size=BATCH, threads=threads, seed=seed
    )
    fit(images, None, settings, job="")


def in_a_row(count: int) -> None:
    """One after another."""
    for seed in range(count):
        train(seed, 2)


def in_threads(count: int) -> None:
    """In two threads of this process; torch counts its own threads for each."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda seed: train(seed, 1), range(count)))
    torch.set_num_threads(2)


def in_processes(count: int) -> None:
    """In two new processes."""
    halves = [list(map(str, range(first, count, 2))) for first in (0, 1)]
    started = [subprocess.Popen([sys.executable, "-c", _CHILD, *half]) for half in halves]
    assert all(process.wait() == 0 for process in started)


def stacked_step(count: int) -> tuple[float, float]:
    """Seconds of a step of `count` stacked networks, and of `count` plain steps; forward and backward, fp32."""

    def network() -> nn.Module:
        made = models.resnet34(num_classes=2, norm_layer=lambda width: nn.BatchNorm2d(width, track_running_stats=False))
        made.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        return made.train()

    networks = [network() for _ in range(count)]
    weights, buffers = stack_module_state(networks)
    skeleton = network().to("meta")
    images, targets = torch.randn(count, BATCH, 1, 64, 64), torch.arange(BATCH) % 2

    def loss(own: dict[str, torch.Tensor], own_buffers: dict[str, torch.Tensor], batch: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(functional_call(skeleton, (own, own_buffers), (batch,)), targets)

    stacked = vmap(grad(loss), randomness="different")

    def plain() -> None:
        for one, batch in zip(networks, images, strict=True):
            nn.functional.cross_entropy(one(batch), targets).backward()

    return _seconds(lambda: stacked(weights, buffers, images)), _seconds(plain)


def _seconds(work: Callable[[], object]) -> float:
    """Of the second call, the first being for warming up."""
    work()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Print one row per way."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    ways = {"one after another": in_a_row, "two threads": in_threads, "two processes": in_processes}
    train(0, 2)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = time.perf_counter()
            way(count)
            seconds[name].append(time.perf_counter() - began)
    print(f"| {count} trainings | seconds | trainings a minute | against one after another |\n|---|---|---|---|")
    first = seconds["one after another"]
    for name, measured in seconds.items():
        middle = statistics.median(measured)
        ratio = statistics.median(base / own for base, own in zip(first, measured, strict=True))
        spread = f"{min(measured):.1f}-{max(measured):.1f}"
        print(f"| {name} | {middle:.1f} ({spread}) | {60 * count / middle:.2f} | {ratio:.2f} x |")
    torch.set_num_threads(2)
    stacked, plain = stacked_step(count)
    print(f"\nstacked: {stacked:.2f} s a step of all {count}, plain {plain:.2f} s: {plain / stacked:.2f} x")


if __name__ == "__main__":
    main()
