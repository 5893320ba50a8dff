"""One epoch: steps whose figures stay on the device until its end, and what they come to."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from eusml.config import TrainConfig
from eusml.errors import TrainingError
from eusml.learning.batches import LabelledImages, drawn_parameters, epoch_order
from eusml.learning.learner import Learner
from eusml.learning.model import DropoutLinear
from eusml.learning.residence import DeviceImages, on_device
from eusml.learning.schedule import learning_rate
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
class EpochPlan:
    """What an epoch does, made while the device still works on the one before."""

    epoch: int
    """From 1."""
    whole: "Sequence[NDArray[np.int64]]"
    """Samples of every step, of all processes."""
    own: "Sequence[NDArray[np.int64]]"
    """Those of this process."""
    rates: Sequence[float]
    """Learning rate of every step."""
    drawn: Sequence[torch.Tensor | None]
    """Of every step's augmentation, as `drawn_parameters` gives it."""
    targets: Sequence[torch.Tensor]
    """Of every step, int64 [B] on the device."""

    @classmethod
    def of(cls, learner: Learner, train: DeviceCases, epoch: int) -> "EpochPlan":
        """A pure function of settings and epoch."""
        settings, device, count = learner.step.settings, learner.step.compute.device, len(train.y_true)
        whole = epoch_order(settings.seed, epoch, count, settings.batch_size)
        own = [learner.ranks.part(batch) for batch in whole]
        first, total = (epoch - 1) * len(whole), settings.epochs * len(whole)
        rates = [learning_rate(settings, first + step, total) for step in range(len(whole))]
        drawn = drawn_parameters(settings.seed, epoch, count, own, settings.online, device)
        rows = torch.from_numpy(np.concatenate(own)).to(device, non_blocking=True)
        targets = torch.split(train.y_true[rows], [len(part) for part in own])
        return cls(epoch, whole, own, rates, drawn, targets)


@dataclass(frozen=True)
class LaunchedEpoch:
    """An epoch that the device may still be at."""

    plan: EpochPlan
    figures: torch.Tensor
    """Mean loss of every step, the number of hits, and the held-out cases' loss and accuracy: float64 [steps + 3]."""
    began: float
    """By the performance counter."""

    def read(self) -> EpochResult:
        """Wait for the device, the only time in an epoch.

        Raises:
            TrainingError: the loss of a step is not finite.
        """
        plan = self.plan
        *losses, hits, test_loss, test_accuracy = self.figures.tolist()
        for step, value in enumerate(losses):
            if not math.isfinite(value):
                raise TrainingError(
                    f"the loss became {value} at step {(plan.epoch - 1) * len(losses) + step + 1} (epoch {plan.epoch}, "
                    f"learning rate {plan.rates[step]:.3g}); nothing of this epoch is kept. Try a lower train.lr or "
                    "-P train.precision=fp32"
                )
        count = sum(len(batch) for batch in plan.whole)
        train_loss = math.fsum(value * len(batch) for value, batch in zip(losses, plan.whole, strict=True)) / count
        seconds = time.perf_counter() - self.began
        return EpochResult(plan.epoch, plan.rates[-1], train_loss, hits / count, test_loss, test_accuracy, seconds)


def launch(learner: Learner, train: DeviceCases, held_out: DeviceCases | None, plan: EpochPlan) -> LaunchedEpoch:
    """Begin an epoch's steps, and the measurement of the held-out cases behind them."""
    began = time.perf_counter()
    stepped = learner.step.stepped
    _begin_epoch(stepped, learner.step.settings.seed, plan.epoch, learner.ranks.rank)
    stepped.train()
    trained = _steps(learner, train, plan)
    measured = trained.new_full((2,), math.nan) if held_out is None else _measure(learner, held_out)
    return LaunchedEpoch(plan, torch.cat([trained, measured]), began)


def _steps(learner: Learner, train: DeviceCases, plan: EpochPlan) -> torch.Tensor:
    """Mean loss of every step, and the number of hits: float64 [steps + 1], of all processes, on the device.

    They stay there: reading each of them would make the device wait.
    """
    figures = []
    for number, images in enumerate(train.images.batches(plan.own)):
        learner.step.optimizer.set_rate(plan.rates[number])
        drawn = plan.drawn[number]
        inputs = [images, plan.targets[number], *([] if drawn is None else [drawn])]
        if learner.ranks.count == 1:
            figures.append(learner.take_step(*inputs))
        else:
            figures.append(learner.step(*inputs, share=len(plan.own[number]) / len(plan.whole[number])))
    losses, hits = torch.stack(figures).double().unbind(1)
    return learner.ranks.add(torch.cat([losses, hits.sum()[None]]))


def _begin_epoch(network: nn.Module, seed: int, epoch: int, rank: int) -> None:
    for module in network.modules():
        if isinstance(module, DropoutLinear):
            module.begin_epoch(seed, epoch, rank)


def _measure(learner: Learner, held_out: DeviceCases) -> torch.Tensor:
    """Loss and accuracy, float64 [2], in evaluation mode and the training's precision; not the reported evaluation."""
    count = len(held_out.y_true)
    chunks = np.split(np.arange(count), range(_MEASURED_AT_ONCE, count, _MEASURED_AT_ONCE))
    logits = torch.cat([learner.answer(images) for images in held_out.images.batches(chunks)])
    loss = functional.cross_entropy(logits, held_out.y_true)
    accuracy = (logits.argmax(1) == held_out.y_true).float().mean()
    return torch.stack([loss, accuracy]).double()
