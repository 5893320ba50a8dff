"""Training one network. Knows neither MLflow nor Optuna: it calls `on_epoch` with what it measured."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from eusml.config import TrainConfig
from eusml.errors import TrainingError
from eusml.learning.batches import LabelledImages, Normalisation, epoch_order, to_device, to_grey, training_batches
from eusml.learning.checkpoint import TrainingState, load_state, save_state
from eusml.learning.model import IMAGENET_MEAN, IMAGENET_STD, DropoutLinear, build_network
from eusml.learning.optimizer import DenseOptimizer
from eusml.learning.predict import batched_logits
from eusml.runtime import Compute, choose_compute, make_deterministic

_ONECYCLE_START_DIVISOR = 25.0
_FINAL_DIVISOR = 1e4


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
class FitResult:
    """A trained network: the last epoch's weights."""

    network: nn.Module
    """In evaluation mode, fp32, on the CPU."""
    normalisation: Normalisation
    history: tuple[EpochResult, ...]
    resumed_after: int
    """Epochs taken over from a saved state; 0 for a training from the start."""


def learning_rate(settings: TrainConfig, step: int, total: int) -> float:
    """Learning rate of step `step` of `total`, both counted from 0: a pure function, so there is no scheduler to save.

    `onecycle` is Smith and Topin 2019 (doi:10.1117/12.2520589) with cosine flanks; `cosine` is Loshchilov and
    Hutter 2017 (arXiv:1608.03983) without restarts.
    """
    warmup = round(settings.warmup_frac * total) if settings.schedule == "onecycle" else 0
    if step < warmup:
        low = settings.lr / _ONECYCLE_START_DIVISOR
        return low + (settings.lr - low) * _cosine_rise(step / warmup)
    low = settings.lr / _FINAL_DIVISOR
    return settings.lr - (settings.lr - low) * _cosine_rise((step - warmup) / max(total - 1 - warmup, 1))


def fit(
    train: LabelledImages,
    test: LabelledImages | None,
    settings: TrainConfig,
    *,
    job: str,
    state_path: Path | None = None,
    on_epoch: Callable[[EpochResult], None] = lambda _: None,
    originals: LabelledImages | None = None,
) -> FitResult:
    """Train for `settings.epochs` epochs, continuing from the state at `state_path` when there is one.

    Args:
        train: training images, augmented copies included.
        test: held-out images, only ever measured, after each epoch; None where nothing is held out.
        settings: how to train.
        job: fingerprint that the saved state must carry.
        state_path: where the training state is kept; None keeps none.
        on_epoch: called after every epoch, and first for every epoch that the saved state already holds.
        originals: the training images without augmented copies, by default `train`: they are what cases to be judged
            look like, so the input's mean and deviation and the final batch statistics are theirs.

    Raises:
        TrainingError: a loss that is not finite, a class that is missing, or weights that cannot be had.
        CheckpointError: the saved state is damaged or belongs to another job.
    """
    if len(set(train.y_true.tolist())) < 2:
        raise TrainingError(f"the training partition of {len(train.y_true)} images holds one class only")
    make_deterministic(settings.threads)
    compute = choose_compute(settings.device, settings.precision)
    network, normalisation = _start(settings, originals or train)
    network.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = DenseOptimizer(network, settings)
    state = load_state(state_path, job) if state_path else None
    history: list[EpochResult] = []
    if state is not None:
        network.load_state_dict(state.network)
        optimizer.load_state_dict(state.optimizer)
        history = [EpochResult(**row) for row in state.history]
        for result in history:
            on_epoch(result)
    resumed_after = len(history)
    saved_at = time.monotonic()
    for result in _epochs(network, optimizer, train, test, settings, normalisation, compute, start=resumed_after):
        history.append(result)
        due = time.monotonic() - saved_at >= settings.checkpoint_every_s or result.epoch == settings.epochs
        if state_path and due:
            rows = [asdict(row) for row in history]
            save_state(TrainingState(job, result.epoch, network.state_dict(), optimizer.state_dict(), rows), state_path)
            saved_at = time.monotonic()
        on_epoch(result)
    if settings.recalibrate:
        _recalibrate(
            network, to_device((originals or train).images, compute.device), settings.batch_size, normalisation
        )
    return FitResult(network.cpu().eval(), normalisation, tuple(history), resumed_after)


def _start(settings: TrainConfig, originals: LabelledImages) -> tuple[nn.Module, Normalisation]:
    network = build_network(
        settings.arch,
        settings.weights,
        zero_init_residual=settings.zero_init_residual,
        dropout=settings.dropout,
        seed=settings.seed,
    )
    if settings.weights == "imagenet":
        return network, Normalisation(IMAGENET_MEAN, IMAGENET_STD)
    return network, Normalisation.of_images(originals.images)


def _epochs(
    network: nn.Module,
    optimizer: DenseOptimizer,
    train: LabelledImages,
    test: LabelledImages | None,
    settings: TrainConfig,
    normalisation: Normalisation,
    compute: Compute,
    start: int,
) -> Iterator[EpochResult]:
    images, targets = to_device(train.images, compute.device), torch.from_numpy(train.y_true).to(compute.device)
    held_out = None
    if test is not None:
        held_out = to_device(test.images, compute.device), torch.from_numpy(test.y_true).to(compute.device)
    steps = -(-len(images) // settings.batch_size)
    for epoch in range(start + 1, settings.epochs + 1):
        began = time.perf_counter()
        network.train()
        _begin_epoch(network, settings.seed, epoch)
        # Losses stay on the device until the epoch ends: reading each one would make the device wait.
        losses, hits, sizes = [], [], []
        batches = training_batches(
            images, targets, seed=settings.seed, epoch=epoch, batch_size=settings.batch_size, online=settings.online
        )
        for step, (grey, target) in enumerate(batches, start=(epoch - 1) * steps):
            lr = learning_rate(settings, step, steps * settings.epochs)
            loss, correct = _train_step(network, optimizer, normalisation(grey), target, lr, settings, compute)
            losses.append(loss)
            hits.append(correct)
            sizes.append(len(target))
        train_loss = _mean_loss(torch.stack(losses), sizes, (epoch - 1) * steps, epoch, lr)
        train_accuracy = int(torch.stack(hits).sum()) / len(images)
        test_loss, test_accuracy = math.nan, math.nan
        if held_out is not None:
            test_loss, test_accuracy = _measure(network, *held_out, normalisation, compute)
        seconds = time.perf_counter() - began
        yield EpochResult(epoch, lr, train_loss, train_accuracy, test_loss, test_accuracy, seconds)


def _begin_epoch(network: nn.Module, seed: int, epoch: int) -> None:
    for module in network.modules():
        if isinstance(module, DropoutLinear):
            module.begin_epoch(seed, epoch)


def _train_step(
    network: nn.Module,
    optimizer: DenseOptimizer,
    batch: torch.Tensor,
    target: torch.Tensor,
    lr: float,
    settings: TrainConfig,
    compute: Compute,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step; returns mean loss and number of hits as tensors on the device."""
    with torch.autocast(compute.device.type, torch.bfloat16, enabled=compute.bf16):
        logits = network(batch)
    loss = functional.cross_entropy(logits.float(), target, label_smoothing=settings.label_smoothing)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step(lr)
    return loss.detach(), (logits.detach().argmax(1) == target).sum()


def _mean_loss(losses: torch.Tensor, sizes: list[int], first_step: int, epoch: int, lr: float) -> float:
    values: list[float] = losses.tolist()
    for offset, value in enumerate(values):
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss became {value} at step {first_step + offset + 1} (epoch {epoch}, learning rate about "
                f"{lr:.3g}); nothing of this epoch is kept. Try a lower train.lr or -P train.precision=fp32"
            )
    total = math.fsum(value * size for value, size in zip(values, sizes, strict=True))
    return total / sum(sizes)


def _measure(
    network: nn.Module, images: torch.Tensor, targets: torch.Tensor, normalisation: Normalisation, compute: Compute
) -> tuple[float, float]:
    """Loss and accuracy in evaluation mode, in the training's precision; not the reported evaluation."""
    logits = batched_logits(network, images, normalisation, compute)
    accuracy = (logits.argmax(1) == targets).float().mean()
    return float(functional.cross_entropy(logits, targets)), float(accuracy)


@torch.no_grad()
def _recalibrate(network: nn.Module, images: torch.Tensor, batch_size: int, normalisation: Normalisation) -> None:
    """Batch normalisation's statistics as plain means over the training images; no weight changes.

    Source: Wu and Johnson 2021, arXiv:2105.07576 ("precise BatchNorm").
    """
    layers = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    usual = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's word for a cumulative mean
    network.eval()
    for layer in layers:
        layer.train()
    # In the order of epoch 0, which no training has: classes and copies are mixed as in any other batch.
    for rows in epoch_order(0, 0, len(images), batch_size):
        network(normalisation(to_grey(images[torch.from_numpy(rows).to(images.device)])))
    network.eval()
    for layer, momentum in zip(layers, usual, strict=True):
        layer.momentum = momentum


def _cosine_rise(share: float) -> float:
    """0 at 0, 1 at 1, flat at both ends."""
    return (1.0 - math.cos(math.pi * min(share, 1.0))) / 2.0
