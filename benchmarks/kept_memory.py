"""What it gains to keep freed memory between training steps (`eusml.runtime.kept_memory`): on Linux with glibc.

    uv run python -m benchmarks.kept_memory

Trainings with and without it, each in a process of its own, in turns. Losses must be the same to the bit.
"""

import json
import resource
import statistics
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import asdict, astuple, dataclass
from unittest import mock

import numpy as np

from eusml.config import Arch, OnlineConfig, TrainConfig
from eusml.learning.batches import LabelledImages
from eusml.learning.train import fit

ROUNDS, EPOCHS = 3, 4
"""The first epoch is not counted: memory is new in it either way."""
WORK: tuple[tuple[Arch, int, int, int], ...] = (
    ("resnet34", 64, 16, 113),
    ("resnet50", 64, 16, 113),
    ("resnet34", 224, 32, 64),
    ("resnet50", 224, 32, 64),
)
"""Network, side of the images in pixels, batch, images."""


@dataclass(frozen=True)
class Trained:
    """One training's figures."""

    images_per_s: float
    faults_per_step: float
    peak_mb: float
    loss: float


def measure(arch: Arch, side_px: int, batch: int, count: int, *, keep: bool) -> Trained:
    """Train in this process."""
    rng = np.random.default_rng(0)
    images = LabelledImages(rng.integers(0, 256, (count, side_px, side_px), dtype=np.uint8), np.arange(count) % 2)
    settings = TrainConfig(
        arch=arch, offline=False, online=OnlineConfig(enabled=True), epochs=EPOCHS, batch_size=batch, recalibrate=False
    )
    faults: list[int] = []
    with nullcontext() if keep else mock.patch("eusml.learning.train.kept_memory", nullcontext):
        result = fit(images, None, settings, job="", on_epoch=lambda _: faults.append(_usage().ru_minflt))
    steps = (EPOCHS - 1) * -(-count // batch)
    return Trained(
        count / statistics.median(epoch.seconds for epoch in result.history[1:]),
        (faults[-1] - faults[0]) / steps,
        _usage().ru_maxrss / 1024,
        result.history[-1].train_loss,
    )


def in_a_process(place: int, *, keep: bool) -> Trained:
    """Train in a new one."""
    words = [sys.executable, "-m", "benchmarks.kept_memory", str(place), str(int(keep))]
    return Trained(**json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout))


def main() -> None:
    """Print one row for every kind of training."""
    print("| network | images | batch | images/s, given back | kept | ratio | page faults a step | peak, MB |")
    print("|---|---|---|---|---|---|---|---|")
    for place, (arch, side_px, batch, _) in enumerate(WORK):
        pairs = [[in_a_process(place, keep=keep) for keep in (False, True)] for _ in range(ROUNDS)]
        assert len({one.loss for pair in pairs for one in pair}) == 1
        before, after = (
            [statistics.median(column) for column in zip(*map(astuple, way), strict=True)]
            for way in zip(*pairs, strict=True)
        )
        ratio = statistics.median(kept.images_per_s / given.images_per_s for given, kept in pairs)
        speeds = f"{before[0]:.1f} | {after[0]:.1f} | {ratio:.2f}"
        memory = f"{before[1]:,.0f} → {after[1]:,.0f} | {before[2]:,.0f} → {after[2]:,.0f}"
        print(f"| {arch} | {side_px} px | {batch} | {speeds} | {memory} |")


def _usage() -> resource.struct_rusage:
    return resource.getrusage(resource.RUSAGE_SELF)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        network, side, size, images = WORK[int(sys.argv[1])]
        print(json.dumps(asdict(measure(network, side, size, images, keep=sys.argv[2] == "1"))))
    else:
        main()
