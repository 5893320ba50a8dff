"""How training and answering grow with the cohort: `python -m benchmarks.scaling [IMAGES …]`.

For each size a file of prepared images (224 px, noise: neither asks what is on them) and a process of its own:

- what starting costs: normalisation over all training images, and bringing them to where steps find them;
- feeding: batches of 32 in an epoch's random order, without a network, resident and streamed, from a file that the
  system has in memory and, where we may drop it from there, from the disk;
- `STEPS` training steps of ResNet-34 in the middle of the first epoch, streamed;
- memory of the process after those steps without pages of files, which the system can drop, and the most with them.

What ingestion and audit cost is `benchmarks.ingestion`'s; an answer costs the same whatever the number (`Bundle.scores`
asks one image at a time).
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from eusml.config import OnlineConfig, TrainConfig
from eusml.learning.batches import LabelledImages, Normalisation, drawn_parameters, epoch_order
from eusml.learning.epoch import DeviceCases
from eusml.learning.model import build_network
from eusml.learning.optimizer import DenseOptimizer
from eusml.learning.residence import Resident, Streamed
from eusml.learning.step import TrainingStep
from eusml.runtime import choose_compute

SIZES = (142, 1_000, 10_000, 100_000)
SIDE_PX, BATCH, STEPS, FED = 224, 32, 6, 100
CPU = torch.device("cpu")


def write_images(path: Path, count: int) -> None:
    """A file as `prepare.save` writes it."""
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (count, SIDE_PX, SIDE_PX))
    rng = np.random.default_rng(0)
    for start in range(0, count, 500):
        images[start : start + 500] = rng.integers(0, 256, (min(500, count - start), SIDE_PX, SIDE_PX), np.uint8)
    images.flush()


def forget(path: Path) -> None:
    """Ask the system to drop the file from its memory."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def fed_per_second(cases: Resident | Streamed, order: list[np.ndarray]) -> float:
    """Images a second, no network."""
    began = time.perf_counter()
    images = sum(len(batch) for batch in cases.batches(order))
    return images / (time.perf_counter() - began)


def measure(path: Path) -> dict[str, float]:
    """All figures of one cohort, four fifths of it to train on."""
    forget(path)
    images = np.load(path, mmap_mode="c")
    rows = np.sort(np.random.default_rng(1).permutation(len(images))[: len(images) * 4 // 5])
    train = LabelledImages(images, rows % 2, rows)
    order = epoch_order(0, 1, len(train), BATCH)[:FED]
    found = {"images": float(len(images)), "disk": fed_per_second(Streamed(train, CPU), order)}
    began = time.perf_counter()
    normalisation = Normalisation.of_images(train)
    found["start"] = time.perf_counter() - began
    found["streamed"] = fed_per_second(Streamed(train, CPU), order)
    settings = TrainConfig(offline=False, online=OnlineConfig(enabled=True), batch_size=BATCH, resident_mib=0)
    compute = choose_compute("cpu", "auto")
    network = build_network("resnet34", "none", zero_init_residual=True, seed=0)
    network.to(memory_format=torch.channels_last)
    train_step = TrainingStep(network, DenseOptimizer(network, settings), settings, normalisation, compute)
    cases = DeviceCases.of(train, compute, settings)
    began, trained = 0.0, 0
    whole = epoch_order(0, 1, len(train), BATCH)
    drawn = drawn_parameters(0, 1, len(train), whole, settings.online, CPU)
    for step, batch in enumerate(islice(cases.images.batches(whole), STEPS + 1)):
        if step == 1:  # the first one only warms up
            began, trained = time.perf_counter(), 0
        train_step(batch, torch.arange(len(batch)) % 2, drawn[step])
        trained += len(batch)
    found["trained"] = trained / (time.perf_counter() - began)
    found["own_mb"] = _own_mb()
    found["with_pages_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found["resident"] = fed_per_second(Resident(train, CPU), order)
    return found


def _own_mb() -> float:
    """Memory that no file stands behind, now, MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024


def main() -> None:
    """Print one row per size."""
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(Path(sys.argv[2]))))
        return
    print(
        "| images, 224 px | file, GB | mean and deviation, s | fed from disk, images/s | fed streamed, images/s | "
        "fed resident, images/s | trained streamed, images/s | own memory, MB | with pages of the file, MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for count in [int(word) for word in sys.argv[1:]] or SIZES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "images.npy"
            write_images(path, count)
            words = [sys.executable, "-m", "benchmarks.scaling", "--one", str(path)]
            row = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
            size = path.stat().st_size / 1e9
        rates = " | ".join(f"{row[name]:,.0f}" for name in ("disk", "streamed", "resident"))
        print(
            f"| {count:,} | {size:.2f} | {row['start']:.1f} | {rates} | {row['trained']:.1f} | {row['own_mb']:.0f} | "
            f"{row['with_pages_mb']:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
