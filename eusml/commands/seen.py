"""What a network saw of some training images in its first epochs, for the store's slider."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from eusml.config import TrainConfig
from eusml.data.manifest import Manifest
from eusml.evaluation.captions import captioned, rows_of_images
from eusml.learning.batches import LabelledImages, augment_online, drawn_parameters, to_device, to_grey
from eusml.tracking import runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

EPOCHS = 4
EACH_CLASS = 3


def log_seen(run: runs.Run, images: LabelledImages, manifest: Manifest, settings: TrainConfig) -> None:
    """Log the first training images of each class as on-line augmentation turns them out, one picture per epoch.

    Step 0, where the slider begins, shows them as they were prepared.

    Args:
        run: the training's.
        images: all that it trains on, in their order; both classes are there.
        manifest: names of the classes.
        settings: how it trains.
    """
    of_class = [np.flatnonzero(images.y_true == label)[:EACH_CLASS] for label in (1, 0)]
    shown = min(len(rows) for rows in of_class)
    for epoch in range(min(settings.epochs, EPOCHS) + 1):
        lines = [
            images.take(rows[:shown]) if epoch == 0 else seen(images, rows[:shown], settings, epoch)
            for rows in of_class
        ]
        what = "As prepared, before any training." if epoch == 0 else f"As the network saw them in epoch {epoch}."
        caption = f"{what} Above {manifest.positive_class}, below {manifest.negative_class}."
        run.image(captioned(rows_of_images(*lines), caption, synthetic=manifest.synthetic), "augmentation", epoch)


def seen(images: LabelledImages, rows: "NDArray[np.int64]", settings: TrainConfig, epoch: int) -> "NDArray[np.uint8]":
    """Some training images as an epoch, counted from 1, shows them to the network, rounded: uint8 [B, S, S]."""
    cpu = torch.device("cpu")
    (parameters,) = drawn_parameters(settings.seed, epoch, len(images), [rows], settings.online, cpu)
    grey = to_grey(to_device(images.take(rows), cpu))
    if parameters is not None:
        grey = augment_online(grey, parameters)
    return np.asarray(grey.squeeze(1).mul(255).round().to(torch.uint8).numpy())
