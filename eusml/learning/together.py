"""What the process that leads tells the others of a training, and how they take part in it."""

import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from eusml.config import TrainConfig
from eusml.learning.batches import LabelledImages, Normalisation
from eusml.ranks import Ranks

_NO_MORE = b""


@dataclass(frozen=True)
class Task:
    """A training to take part in."""

    settings: TrainConfig
    train: LabelledImages
    normalisation: Normalisation
    epochs_done: int
    optimizer: dict[str, Any]
    """Moments and counters after those epochs; what a new optimiser has, if there were none."""


def hand_out(task: Task, ranks: Ranks) -> None:
    """Tell the others, who wait in `receive`; without others, nothing is sent."""
    if ranks.count == 1:
        return
    images = np.ascontiguousarray(task.train.take(slice(None)))
    header = {
        "settings": task.settings.model_dump(mode="json"),
        "shape": images.shape,
        "mean": task.normalisation.mean,
        "std": task.normalisation.std,
        "epochs_done": task.epochs_done,
    }
    moments = io.BytesIO()
    torch.save(task.optimizer, moments)
    ranks.broadcast_bytes(json.dumps(header).encode())
    ranks.broadcast_bytes(moments.getvalue())
    ranks.broadcast(images, images.size)
    ranks.broadcast(task.train.y_true.view(np.uint8), task.train.y_true.nbytes)


def receive(ranks: Ranks) -> Task | None:
    """The next training that rank 0 hands out; None when there will be no more."""
    message = ranks.broadcast_bytes(None)
    if message == _NO_MORE:
        return None
    header = json.loads(message)
    moments = torch.load(io.BytesIO(ranks.broadcast_bytes(None)), map_location="cpu", weights_only=True)
    shape = tuple(header["shape"])
    images = ranks.broadcast(None, int(np.prod(shape))).reshape(shape)
    y_true = ranks.broadcast(None, 8 * shape[0]).view(np.int64)
    return Task(
        settings=TrainConfig.model_validate_json(json.dumps(header["settings"])),
        train=LabelledImages(images, y_true),
        normalisation=Normalisation(tuple(header["mean"]), tuple(header["std"])),
        epochs_done=header["epochs_done"],
        optimizer=moments,
    )


def dismiss(ranks: Ranks) -> None:
    """Tell the others that there will be no more."""
    if ranks.count > 1:
        ranks.broadcast_bytes(_NO_MORE)


def with_shared_gradients(network: nn.Module, ranks: Ranks) -> nn.Module:
    """The network, to be called so that gradients are averaged over all processes; its weights become rank 0's."""
    if ranks.count == 1:
        return network
    return nn.parallel.DistributedDataParallel(network, forward_sync_buffers=False)
