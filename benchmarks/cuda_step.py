r"""One training step on a CUDA device: the bytes that it moves, and several networks' steps at once.

    ncu --clock-control none --profile-from-start off --metrics dram__bytes_read.sum,dram__bytes_write.sum \
        --csv python -m benchmarks.cuda_step bytes resnet34      # add up what is listed
    uv run python -m benchmarks.cuda_step together 64

32 images a step in bf16 by the fused kernels. `together` replays captured steps of 1, 2, 4 and 8 networks of their own,
each on a stream, at that image side.
"""

import sys
import time

import torch

from eusml.config import Arch, TrainConfig
from eusml.learning.batches import Normalisation
from eusml.learning.captured import Captured
from eusml.learning.fused.twin import FusedTwin
from eusml.learning.growth import make_growing
from eusml.learning.model import build_network
from eusml.learning.optimizer import DenseOptimizer
from eusml.learning.step import TrainingStep
from eusml.runtime import choose_compute, make_deterministic

BATCH, REPLAYS = 32, 40


def a_step(arch: Arch) -> TrainingStep:
    """Of a network of its own."""
    settings = TrainConfig(arch=arch, device="cuda", precision="bf16", batch_size=BATCH)
    network = build_network(arch, "none", zero_init_residual=True, seed=0)
    make_growing(network)
    network.cuda().to(memory_format=torch.channels_last).train()
    optimizer = DenseOptimizer(network, settings)
    return TrainingStep(
        FusedTwin(network), optimizer, settings, Normalisation((0.3,), (0.2,)), choose_compute("cuda", "bf16")
    )


def a_batch(side_px: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise."""
    images = torch.randint(0, 256, (BATCH, 1, side_px, side_px), dtype=torch.uint8, device="cuda")
    return images, torch.randint(0, 2, (BATCH,), device="cuda")


def profiled(arch: Arch) -> None:
    """A step between the marks that a profiler waits for, the second one: the first makes what is made once."""
    step, batch = a_step(arch), a_batch(224)
    step(*batch)
    torch.cuda.synchronize()
    torch.cuda.cudart().cudaProfilerStart()
    step(*batch)
    torch.cuda.synchronize()
    torch.cuda.cudart().cudaProfilerStop()


def together(side_px: int) -> None:
    """Print what several networks at once gain."""
    batch = a_batch(side_px)
    steps = [a_step("resnet34") for _ in range(8)]
    captured = [Captured(step, step.stepped) for step in steps]
    streams = [torch.cuda.Stream() for _ in steps]
    print(f"{torch.cuda.get_device_name()}, resnet34, {side_px} px\n")
    print("| networks | images/s | against one |\n|---|---|---|")
    alone = 0.0
    for count in (1, 2, 4, 8):
        began = 0.0
        for replay in range(REPLAYS + 3):
            if replay == 3:  # made as it stands, captured, and once for good measure
                torch.cuda.synchronize()
                began = time.perf_counter()
            for take_step, stream in zip(captured[:count], streams, strict=False):
                with torch.cuda.stream(stream):
                    take_step(*batch)
        torch.cuda.synchronize()
        rate = BATCH * REPLAYS * count / (time.perf_counter() - began)
        alone = alone or rate
        print(f"| {count} | {rate:,.0f} | {rate / alone:.2f} |", flush=True)


def main() -> None:
    """As the command line says."""
    make_deterministic(None)
    what, argument = sys.argv[1:]
    if what == "bytes":
        profiled("resnet50" if argument == "resnet50" else "resnet34")
    else:
        together(int(argument))


if __name__ == "__main__":
    main()
