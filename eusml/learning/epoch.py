"""One epoch: steps whose figures stay on the device until its end, and what they come to."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from eusml.config import TrainConfig
from eusml.errors import TrainingError
from eusml.learning.batches import LabelledImages, Normalisation, augment_online, drawn_parameters, epoch_order, to_grey
from eusml.learning.growth import grow
from eusml.learning.model import DropoutLinear
from eusml.learning.optimizer import DenseOptimizer
from eusml.learning.predict import batched_logits
from eusml.learning.residence import DeviceImages, on_device
from eusml.learning.schedule import learning_rate
from eusml.learning.together import shared_twin
from eusml.ranks import Ranks
from eusml.runtime import Compute

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MEASURED_AT_ONCE = 64


@dataclass(frozen=True)
class EpochResult:
    """What one epoch measured. The test figures are for the eye: nothing may read them to choose or to stop."""

    epoch: int
    """From 1."""
    lr: float
    """Learning rate of the last step."""
    train_loss: float
    """Mean over the epoch's samples while the weights moved, augmented as trained."""
    train_accuracy: float
    test_loss: float
    """nan where nothing is held out, and so the accuracy."""
    test_accuracy: float
    seconds: float
    """Wall time of the epoch, its curve included."""


@dataclass(frozen=True)
class DeviceCases:
    """Images and their classes where a device can have them."""

    images: DeviceImages
    y_true: torch.Tensor
    """int64 [N] on the device."""

    @classmethod
    def of(cls, cases: LabelledImages, compute: Compute, settings: TrainConfig) -> "DeviceCases":
        """Resident on the device if they fit, else streamed to it."""
        images = on_device(cases, compute.device, settings.resident_mib)
        return cls(images, torch.from_numpy(cases.y_true).to(compute.device))


@dataclass(frozen=True)
class Learner:
    """A network in training and what its steps need."""

    network: nn.Module
    """To be measured and saved."""
    stepped: nn.Module
    """What steps call: the network itself; where several processes train together, its twin around the same weights,
    whose gradients and batch statistics are those of all of them."""
    optimizer: DenseOptimizer
    settings: TrainConfig
    normalisation: Normalisation
    compute: Compute
    ranks: Ranks

    @classmethod
    def of(
        cls,
        network: nn.Module,
        optimizer: DenseOptimizer,
        normalisation: Normalisation,
        settings: TrainConfig,
        compute: Compute,
        ranks: Ranks,
        epoch: int,
    ) -> "Learner":
        """A network on its device, as deep as in that epoch; all processes must ask, and get rank 0's weights."""
        grow(network, settings, epoch)
        stepped = _stepped(network, compute, ranks)
        return cls(network, stepped, optimizer, settings, normalisation, compute, ranks)

    def grown(self, epoch: int) -> "Learner":
        """The learner of an epoch, counted from 1: itself unless the network's depth changes with it."""
        if not grow(self.network, self.settings, epoch):
            return self
        # A twin is told when it is made which weights the processes share.
        return replace(self, stepped=_stepped(self.network, self.compute, self.ranks))


def _stepped(network: nn.Module, compute: Compute, ranks: Ranks) -> nn.Module:
    return network if ranks.count == 1 else shared_twin(network, ranks, compute.device)


def train_epoch(learner: Learner, train: DeviceCases, held_out: DeviceCases | None, epoch: int) -> EpochResult:
    """Train for one epoch, counted from 1, then measure the held-out cases.

    Raises:
        TrainingError: the loss of a step is not finite.
    """
    began = time.perf_counter()
    settings, count = learner.settings, len(train.y_true)
    whole = epoch_order(settings.seed, epoch, count, settings.batch_size)
    first, total = (epoch - 1) * len(whole), settings.epochs * len(whole)
    rates = [learning_rate(settings, first + step, total) for step in range(len(whole))]
    _begin_epoch(learner.stepped, settings.seed, epoch, learner.ranks.rank)
    learner.stepped.train()
    trained = _steps(learner, train, epoch, whole, rates)
    measured = trained.new_full((2,), math.nan) if held_out is None else _measure(learner, held_out)
    # The epoch's only wait for the device.
    values: list[float] = torch.cat([trained, measured]).tolist()
    *losses, hits, test_loss, test_accuracy = values
    for step, value in enumerate(losses):
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss became {value} at step {first + step + 1} (epoch {epoch}, learning rate "
                f"{rates[step]:.3g}); nothing of this epoch is kept. Try a lower train.lr or -P train.precision=fp32"
            )
    train_loss = math.fsum(value * len(batch) for value, batch in zip(losses, whole, strict=True)) / count
    seconds = time.perf_counter() - began
    return EpochResult(epoch, rates[-1], train_loss, hits / count, test_loss, test_accuracy, seconds)


def _steps(
    learner: Learner, train: DeviceCases, epoch: int, whole: "Sequence[NDArray[np.int64]]", rates: Sequence[float]
) -> torch.Tensor:
    """Mean loss of every step, and the number of hits: float64 [steps + 1], of all processes, on the device.

    They stay there: reading each of them would make the device wait.
    """
    settings, ranks, device = learner.settings, learner.ranks, learner.compute.device
    order = [ranks.part(batch) for batch in whole]
    drawn = drawn_parameters(settings.seed, epoch, len(train.y_true), order, settings.online, device)
    rows = torch.from_numpy(np.concatenate(order)).to(device)
    targets = torch.split(train.y_true[rows], [len(part) for part in order])
    losses, hits = [], []
    for step, images in enumerate(train.images.batches(order)):
        grey, parameters = to_grey(images), drawn[step]
        if parameters is not None:
            grey = augment_online(grey, parameters)
        share = len(order[step]) / len(whole[step])
        loss, correct = _train_step(learner, learner.normalisation(grey), targets[step], rates[step], share)
        losses.append(loss)
        hits.append(correct)
    return ranks.add(torch.cat([torch.stack(losses).double(), torch.stack(hits).sum()[None].double()]))


def _begin_epoch(network: nn.Module, seed: int, epoch: int, rank: int) -> None:
    for module in network.modules():
        if isinstance(module, DropoutLinear):
            module.begin_epoch(seed, epoch, rank)


def _train_step(
    learner: Learner, batch: torch.Tensor, target: torch.Tensor, lr: float, share: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step; returns loss and number of hits as tensors on the device.

    Args:
        learner: whose weights move.
        batch: normalised images, float32 [B, C, S, S].
        target: their classes, int64 [B].
        lr: learning rate.
        share: which part of the step's images these are, the rest being other processes'; the losses that all of them
            return add up to the mean over the step's images.
    """
    settings, compute = learner.settings, learner.compute
    with torch.autocast(compute.device.type, torch.bfloat16, enabled=compute.bf16):
        logits = learner.stepped(batch)
    loss = share * functional.cross_entropy(logits.float(), target, label_smoothing=settings.label_smoothing)
    # Gradients are averaged over the processes, and are to be added up.
    (loss * learner.ranks.count).backward()  # type: ignore[no-untyped-call]
    learner.optimizer.step(lr)
    return loss.detach(), (logits.detach().argmax(1) == target).sum()


def _measure(learner: Learner, held_out: DeviceCases) -> torch.Tensor:
    """Loss and accuracy, float64 [2], in evaluation mode and the training's precision; not the reported evaluation."""
    count = len(held_out.y_true)
    chunks = np.split(np.arange(count), range(_MEASURED_AT_ONCE, count, _MEASURED_AT_ONCE))
    logits = torch.cat(
        [
            batched_logits(learner.network, images, learner.normalisation, learner.compute)
            for images in held_out.images.batches(chunks)
        ]
    )
    loss = functional.cross_entropy(logits, held_out.y_true)
    accuracy = (logits.argmax(1) == held_out.y_true).float().mean()
    return torch.stack([loss, accuracy]).double()
