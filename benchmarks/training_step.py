"""What our training step gains on the CPU: `python -m benchmarks.training_step [bf16|fp32]`.

Whole steps (forward, backward, AdamW) of both networks, plain torchvision and torch against ours, both channels-last,
with torch's fused AdamW and in the same precision, in turns on the same machine, so that a noisy neighbour meets both.
Ours differs by `small_maps` and `optimizer`.
"""

import functools
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import nn
from torchvision import models

from eusml.config import ARCHS, TrainConfig
from eusml.learning.model import build_network
from eusml.learning.optimizer import DenseOptimizer
from eusml.runtime import choose_compute, make_deterministic

ROUNDS = 3
STEPS = 4


def images_per_second(network: nn.Module, change: Callable[[], None], images: torch.Tensor, bf16: bool) -> float:
    """Over a few training steps; `change` makes one of the gradients that are there, and forgets these."""
    targets = torch.arange(len(images)) % 2
    network.train()
    for step in range(STEPS + 1):
        if step == 1:  # the first one only warms up
            began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = network(images)
        nn.functional.cross_entropy(logits.float(), targets).backward()
        change()
    return STEPS * len(images) / (time.perf_counter() - began)


def plain_change(network: nn.Module) -> Callable[[], None]:
    """As one would write it."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)

    def change() -> None:
        optimizer.step()
        optimizer.zero_grad()

    return change


def main() -> None:
    """Print one row per network, image size and batch size."""
    settings = TrainConfig()
    make_deterministic(None)
    compute = choose_compute("cpu", "bf16" if "bf16" in sys.argv else "fp32" if "fp32" in sys.argv else "auto")
    print(f"{torch.get_num_threads()} threads, {'bf16' if compute.bf16 else 'fp32'}\n")
    print("| network | image | batch | torchvision, images/s | eusml, images/s | ratio |\n|---|---|---|---|---|---|")
    for arch in ARCHS:
        for size in (48, 64, 96):
            for batch in (16, 32):
                images = torch.randn(batch, 1, size, size).contiguous(memory_format=torch.channels_last)
                plain = getattr(models, arch)(num_classes=2, zero_init_residual=True)
                plain.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
                ours = build_network(arch, "none", zero_init_residual=True, seed=0)
                for network in (plain, ours):
                    network.to(memory_format=torch.channels_last)
                change = functools.partial(DenseOptimizer(ours, settings).step, 1e-3)
                pairs = [(plain, plain_change(plain)), (ours, change)]
                rates = [[images_per_second(*pair, images, compute.bf16) for pair in pairs] for _ in range(ROUNDS)]
                before, after = (statistics.median(column) for column in zip(*rates, strict=True))
                ratio = statistics.median(mine / other for other, mine in rates)
                print(f"| {arch} | {size} px | {batch} | {before:.1f} | {after:.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
