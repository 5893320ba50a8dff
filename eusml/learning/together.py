"""What the process that leads tells the others of a training, and how they take part in it."""

import copy
import inspect
import io
import json
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import nn

from eusml.config import TrainConfig
from eusml.learning.batches import LabelledImages, Normalisation
from eusml.learning.shared_norm import share_statistics
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


def shared_twin(network: nn.Module, ranks: Ranks, device: torch.device) -> nn.Module:
    """Modules of their own around the network's very tensors, to be called where all processes call theirs.

    Gradients are averaged over the processes, batch statistics are those of all their images, and the weights become
    rank 0's. The network itself can be asked by one process alone.
    """
    tensors = {id(tensor): tensor for tensor in chain(network.parameters(), network.buffers())}
    twin = share_statistics(copy.deepcopy(network, tensors), ranks, device)
    wrapper = nn.parallel.DistributedDataParallel
    # Statistics are alike in all processes. Before torch 2.13 they are sent in every step all the same: there was but
    # one word for that and for whether rank 0's are everybody's at first.
    known = "forward_sync_buffers" in inspect.signature(wrapper).parameters
    said: dict[str, Any] = {"forward_sync_buffers": False} if known else {}
    return wrapper(twin, **said)
