"""Training on one CUDA device: how long, how near to what the device can do, and what each measure against waste gains.

    uv run python -m benchmarks.cuda_training [epochs]

678 images of 224 px in batches of 32, bf16, 29 cases measured after every epoch, as in the study; the images are noise,
which takes the same time. Whole trainings by `fit`; rates are medians over epochs, from the third on. Peaks are
measured: a product of 8192 x 8192 matrices in bf16, and a copy of 2 GiB, whose bytes count twice.
"""

import contextlib
import statistics
import sys
import time
from collections.abc import Iterator
from unittest import mock

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from eusml.config import Arch, TrainConfig
from eusml.learning import learner as module
from eusml.learning.batches import LabelledImages
from eusml.learning.model import build_network
from eusml.learning.train import fit

IMAGES, HELD_OUT, SIDE_PX, BATCH, EPOCHS = 678, 29, 224, 32, 200
SHORT = 6
"""Epochs of what is only there to be compared with."""


def noise(count: int, seed: int) -> LabelledImages:
    """Images of which nothing can be learnt."""
    rng = np.random.default_rng(seed)
    return LabelledImages(rng.integers(0, 256, (count, SIDE_PX, SIDE_PX), np.uint8), np.arange(count) % 2)


def peaks() -> tuple[float, float]:
    """Operations a second in bf16 and bytes a second."""
    device = torch.device("cuda")
    one, other = (torch.randn(8192, 8192, device=device, dtype=torch.bfloat16) for _ in range(2))
    source = torch.randn(2**29, device=device)
    target = torch.empty_like(source)
    product = _seconds(lambda: one @ other)
    copied = _seconds(lambda: target.copy_(source))
    return 2 * 8192**3 / product, 2 * source.nbytes / copied


def _seconds(work: object, times: int = 20) -> float:
    assert callable(work)
    work()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(times):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / times


def operations(arch: Arch) -> float:
    """Of a training step, per image: forward, and twice that backward; the images need no gradient."""
    network = build_network(arch, "none", zero_init_residual=True, seed=0).train()
    with FlopCounterMode(display=False) as counter:
        network(torch.rand(2, 1, SIDE_PX, SIDE_PX)).sum().backward()
    return counter.get_total_flops() / 2


@contextlib.contextmanager
def uncaptured() -> Iterator[None]:
    """Steps as Python makes them."""
    with mock.patch.object(module, "Captured", lambda function, _: function):
        yield


def trained(arch: Arch, epochs: int, **changes: object) -> tuple[float, float, float]:
    """Seconds of the whole `fit`, images a second, and the device's memory in MB."""
    settings = TrainConfig(
        arch=arch, epochs=epochs, batch_size=BATCH, device="cuda", **{"precision": "bf16", **changes}
    )
    torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    result = fit(noise(IMAGES, 0), noise(HELD_OUT, 1), settings, job="benchmark")
    seconds = time.perf_counter() - began
    rate = IMAGES / statistics.median(row.seconds for row in result.history[2:])
    return seconds, rate, torch.cuda.max_memory_allocated() / 1e6


def main() -> None:
    """Print one row per network and way."""
    epochs = int(sys.argv[1]) if sys.argv[1:] else EPOCHS
    arithmetic, memory = peaks()
    name = torch.cuda.get_device_name()
    print(f"{name}, torch {torch.__version__}; {arithmetic / 1e12:.0f} TFLOP/s in bf16, {memory / 1e9:.0f} GB/s\n")
    print("| network | steps | epochs | whole training, s | images/s | of the bf16 peak | memory, MB |")
    print("|---|---|---|---|---|---|---|")
    archs: tuple[Arch, ...] = ("resnet34", "resnet50")
    for arch in archs:
        needed = operations(arch)
        ways: tuple[tuple[str, int, dict[str, object], contextlib.AbstractContextManager[None]], ...] = (
            ("fp32, torch's kernels, one by one", SHORT, {"kernels": "torch", "precision": "fp32"}, uncaptured()),
            ("torch's kernels, one by one", SHORT, {"kernels": "torch"}, uncaptured()),
            ("torch's kernels, captured", SHORT, {"kernels": "torch"}, contextlib.nullcontext()),
            ("fused kernels, captured", epochs, {}, contextlib.nullcontext()),
        )
        for way, count, changes, context in ways:
            with context:
                seconds, rate, mb = trained(arch, count, **changes)
            share = rate * needed / arithmetic
            print(f"| {arch} | {way} | {count} | {seconds:.1f} | {rate:,.0f} | {share:.1%} | {mb:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
