"""What the last stage's own convolution gains on the CPU: `python -m benchmarks.small_maps`.

Whole training steps (forward, backward, AdamW) of both networks, plain torchvision against `small_maps`, in turns on
the same machine, so that a noisy neighbour meets both.
"""

import statistics
import time

import torch
from torch import nn
from torchvision import models

from eusml.config import ARCHS
from eusml.learning.model import build_network

ROUNDS = 3
STEPS = 2


def steps(network: nn.Module, images: torch.Tensor) -> float:
    """Images per second over a few training steps."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    targets = torch.arange(len(images)) % 2
    for step in range(STEPS + 1):
        if step == 1:  # the first one only warms up
            began = time.perf_counter()
        loss = nn.functional.cross_entropy(network(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return STEPS * len(images) / (time.perf_counter() - began)


def main() -> None:
    """Print one row per network, image size and batch size."""
    print("| network | image | batch | torchvision, images/s | eusml, images/s | ratio |\n|---|---|---|---|---|---|")
    for arch in ARCHS:
        for size in (48, 64, 96):
            for batch in (16, 32):
                ours = build_network(arch, "none", zero_init_residual=True, seed=0)
                plain = getattr(models, arch)(num_classes=2, zero_init_residual=True)
                plain.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
                images = torch.randn(batch, 1, size, size).contiguous(memory_format=torch.channels_last)
                pairs = [plain.to(memory_format=torch.channels_last), ours.to(memory_format=torch.channels_last)]
                rates = [[steps(network, images) for network in pairs] for _ in range(ROUNDS)]
                before, after = (statistics.median(column) for column in zip(*rates, strict=True))
                ratio = statistics.median(mine / other for other, mine in rates)
                print(f"| {arch} | {size} px | {batch} | {before:.1f} | {after:.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
