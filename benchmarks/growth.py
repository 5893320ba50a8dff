"""What blocks that join later save (`train.shallow_frac`), and what they add: ResNets on the CPU.

    uv run python -m benchmarks.growth

Seconds of an epoch with one block a stage and with all of them, images drawn at random. Then ResNet-34 as `quick.yaml`
trains it, on lesions of a seed that is not reported, asked about 800 others: as it is, and with its later blocks left
out again, batch normalisation's statistics measured anew for both.
"""

import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from eusml.config import TrainConfig, load_config
from eusml.data.prepare import prepare
from eusml.data.sources import phantom_cohort
from eusml.data.split import make_split
from eusml.learning.batches import LabelledImages
from eusml.learning.growth import grow
from eusml.learning.predict import batched_scores
from eusml.learning.recalibrate import recalibrate
from eusml.learning.train import fit
from eusml.runtime import choose_compute

SEED = 11
EPOCHS, BATCHES = 8, 6
SIZES = ((64, 16), (224, 32))
"""Side in pixels and images of a batch."""


def epoch_seconds(arch: str, size_px: int, batch: int) -> tuple[float, float]:
    """Medians of shallow epochs and of whole ones, the first of each left out."""
    count, rng = batch * BATCHES, np.random.default_rng(0)
    cases = LabelledImages(rng.integers(0, 256, (count, size_px, size_px), np.uint8), np.arange(count) % 2)
    given = {"arch": arch, "epochs": EPOCHS, "batch_size": batch, "shallow_frac": 0.5, "device": "cpu"}
    settings = TrainConfig.model_validate({**given, "online": {"enabled": True}})
    seconds = [row.seconds for row in fit(cases, None, settings, job="").history]
    half = EPOCHS // 2
    return statistics.median(seconds[1:half]), statistics.median(seconds[half + 1 :])


def what_later_blocks_add() -> None:
    """Print AUROC and right answers of the whole network and of its first blocks."""
    given = {f"data.phantom.{name}_cases": "400" for name in ("selection", "fresh")}
    config = load_config(Path("experiments/quick.yaml"), {**given, "data.phantom.seed": str(SEED)})
    settings = config.arm_configs()["resnet34"].train.model_copy(update={"seed": SEED})
    with tempfile.TemporaryDirectory() as work:
        study, *others = (
            prepare(phantom_cohort(config.data, Path(work), which), config.data)
            for which in ("study", "selection", "fresh")
        )
    rows = make_split(study.manifest, config.split).indices("train")
    train = LabelledImages(np.asarray(study.images)[rows], study.manifest.y_true[rows])
    result = fit(train, None, settings, job="")
    compute, scores = choose_compute("cpu", "auto"), {}
    network = result.network.to(memory_format=torch.channels_last)
    images = torch.from_numpy(np.concatenate([np.asarray(other.images) for other in others]))[:, None]
    y_true = np.concatenate([other.manifest.y_true for other in others])
    for epoch, name in ((settings.epochs, "whole"), (1, "first blocks")):
        grow(network, settings, epoch)
        recalibrate(network, train, result.normalisation, settings, compute)
        scores[name] = batched_scores(network, images, result.normalisation, compute, config.evaluate.views).numpy()
        right = int(((scores[name] >= config.evaluate.threshold) == y_true).sum())
        print(f"{name}: {right}/{len(y_true)} right, AUROC {roc_auc_score(y_true, scores[name]):.4f}")
    print(f"largest difference in probability: {np.abs(scores['whole'] - scores['first blocks']).max():.4f}")


def main() -> None:
    """Print a table of seconds, and what the later blocks add."""
    print("| network | image | batch | shallow epoch, s | whole epoch, s | ratio |\n|---|---|---|---|---|---|")
    for arch in ("resnet34", "resnet50"):
        for size_px, batch in SIZES:
            shallow, whole = epoch_seconds(arch, size_px, batch)
            print(
                f"| {arch} | {size_px} px | {batch} | {shallow:.2f} | {whole:.2f} | {shallow / whole:.2f} |", flush=True
            )
    what_later_blocks_add()


if __name__ == "__main__":
    main()
