"""One training by two processes beside the same by one: `python -m benchmarks.together`.

ResNet-34, 256 images of 64 px, batch 32, on-line augmentation; one process with all torch threads against two with one
each that share gradients and batch statistics over gloo. Images a second are of all epochs but the first; losses are
those of the last epoch. On one machine this only costs: it says how much.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from eusml.config import OnlineConfig, TrainConfig
from eusml.learning.batches import LabelledImages
from eusml.learning.together import dismiss
from eusml.learning.train import fit, follow
from eusml.ranks import together

COUNT, SIDE_PX, BATCH, EPOCHS, ROUNDS = 256, 64, 32, 4, 3


def train(threads: int, precision: str) -> dict[str, float]:
    """Images a second and last loss."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 200, (COUNT, SIDE_PX, SIDE_PX)).astype(np.uint8)
    images[1::2, : SIDE_PX // 2] += 50
    settings = TrainConfig(
        offline=False,
        online=OnlineConfig(enabled=True),
        epochs=EPOCHS,
        batch_size=BATCH,
        threads=threads,
        precision="bf16" if precision == "bf16" else "fp32",
    )
    history = fit(LabelledImages(images, np.arange(COUNT) % 2), None, settings, job="").history
    rate = statistics.median(COUNT / row.seconds for row in history[1:])
    return {"rate": rate, "loss": history[-1].train_loss}


def by_two(precision: str) -> dict[str, float]:
    """The same by two processes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        words = [*launcher, "-m", "benchmarks.together", "--rank", str(path), precision]
        subprocess.run(words, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True)
        return dict(json.loads(path.read_text(encoding="utf-8")))


def main() -> None:
    """Print one row per precision."""
    if sys.argv[1:2] == ["--rank"]:
        with together() as ranks:
            if ranks.leads:
                Path(sys.argv[2]).write_text(json.dumps(train(1, sys.argv[3])), encoding="utf-8")
                dismiss(ranks)
            else:
                follow(ranks)
        return
    print("| precision | one process, images/s | two processes, images/s | ratio | last loss, one | last loss, two |")
    print("|---|---|---|---|---|---|")
    for precision in ("fp32", "bf16"):
        rounds = [(train(2, precision), by_two(precision)) for _ in range(ROUNDS)]
        one, two = (statistics.median(pair[side]["rate"] for pair in rounds) for side in (0, 1))
        ratio = statistics.median(pair[1]["rate"] / pair[0]["rate"] for pair in rounds)
        losses = f"{rounds[0][0]['loss']:.4f} | {rounds[0][1]['loss']:.4f}"
        print(f"| {precision} | {one:.1f} | {two:.1f} | {ratio:.2f} | {losses} |", flush=True)


if __name__ == "__main__":
    main()
