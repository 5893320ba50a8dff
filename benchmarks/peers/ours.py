"""Ours: the same files through our decoder, then `fit` with on-line augmentation, as `eusml train` does.

Default is `train.precision=fp32`, best is what `auto` takes, bf16 on a device that has it; all else stands as it is.
"""

from pathlib import Path

import numpy as np

from benchmarks.peers.work import LEARNING_RATE, WEIGHT_DECAY, Record, Work, answer
from eusml.config import DataConfig, OnlineConfig, TrainConfig
from eusml.data.images import Preparation, prepare
from eusml.learning.batches import LabelledImages
from eusml.learning.bundle import WEIGHTS_FILE, ModelSpec, save_bundle
from eusml.learning.epoch import EpochResult
from eusml.learning.train import fit


def settings_of(work: Work) -> TrainConfig:
    """Our defaults, with on-line augmentation instead of copies."""
    return TrainConfig(
        arch=work.arch,
        epochs=work.epochs,
        batch_size=work.batch,
        lr=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        offline=False,
        online=OnlineConfig(enabled=True),
        precision="bf16" if work.bf16 else "fp32",
        device=work.device,
        seed=work.seed,
    )


def main(work: Work, record: Record) -> tuple[int, int]:
    """Decode, train and save."""
    return train_and_save(work, record, settings_of(work))


def train_and_save(work: Work, record: Record, settings: TrainConfig) -> tuple[int, int]:
    """The same with other settings."""
    data, images = DataConfig(), 0
    preparation = Preparation(work.size_px, data.roi_margin_frac)
    files = sorted(Path(work.folder).glob("*/*.png"))
    decoded = [prepare(file.read_bytes(), None, preparation, str(file)) for file in files]
    y_true = np.array([file.parent.name == work.positive_class for file in files], dtype=np.int64)
    (negative_class,) = {file.parent.name for file in files} - {work.positive_class}
    images = len(files)

    def on_epoch(result: EpochResult) -> None:
        record.step(result.train_loss, images)
        record.end_epoch()

    result = fit(LabelledImages(np.stack(decoded), y_true), None, settings, job="", on_epoch=on_epoch)
    folder, (mean, std) = Path(work.weights).parent, (result.normalisation.mean, result.normalisation.std)
    classes = work.positive_class, negative_class
    spec = ModelSpec(work.arch, len(mean), mean, std, preparation, *classes, 0.5, 1, synthetic=True)
    save_bundle(folder, result.network, spec)
    (folder / WEIGHTS_FILE).rename(work.weights)
    return len(mean), 0


if __name__ == "__main__":
    answer(main)
