"""Training one network. Knows neither MLflow nor Optuna: it calls `on_epoch` with what it measured."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from eusml.config import TrainConfig
from eusml.errors import TrainingError
from eusml.learning.batches import LabelledImages, Normalisation
from eusml.learning.checkpoint import TrainingState, load_state, save_state
from eusml.learning.epoch import DeviceCases, EpochPlan, EpochResult, launch
from eusml.learning.growth import make_growing
from eusml.learning.learner import Learner
from eusml.learning.model import IMAGENET_MEAN, IMAGENET_STD, build_network, empty_network
from eusml.learning.optimizer import DenseOptimizer
from eusml.learning.recalibrate import recalibrate
from eusml.learning.together import Task, hand_out, receive
from eusml.ranks import Ranks, current
from eusml.runtime import Compute, choose_compute, kept_memory, make_deterministic


@dataclass(frozen=True)
class FitResult:
    """A trained network: the last epoch's weights."""

    network: nn.Module
    """In evaluation mode, fp32, on the CPU."""
    normalisation: Normalisation
    history: tuple[EpochResult, ...]
    resumed_after: int
    """Epochs taken over from a saved state; 0 for a training from the start."""


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

    Where several processes were started together, this is called by the one that leads, and the others `follow`.

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
        TrainingError: a loss that is not finite, a class that is missing, weights that cannot be had, too little
            memory on the device, or more processes than a step has images.
        CheckpointError: the saved state is damaged or belongs to another job.
    """
    if len(set(train.y_true.tolist())) < 2:
        raise TrainingError(f"the training partition of {len(train)} images holds one class only")
    ranks, originals = current(), originals or train
    _check_ranks(ranks, len(train), settings)
    network, normalisation = _start(settings, originals)
    compute = _on_device(network, settings)
    optimizer = DenseOptimizer(network, settings)
    history = _taken_over(load_state(state_path, job) if state_path else None, network, optimizer)
    for result in history:
        on_epoch(result)
    resumed_after = len(history)
    agreed = settings.model_copy(update={"precision": compute.precision})  # others may have another kind of machine
    hand_out(Task(agreed, train, normalisation, resumed_after, optimizer.state_dict()), ranks)
    first = resumed_after + 1
    # The learner has no name here: once it has grown, what was captured of it before holds no memory.
    epochs = _epochs(Learner.of(network, optimizer, normalisation, settings, compute, ranks, first), train, test, first)
    saved_at = time.monotonic()
    with kept_memory(), closing(epochs):
        for result in epochs:
            history.append(result)
            due = time.monotonic() - saved_at >= settings.checkpoint_every_s or result.epoch == settings.epochs
            if state_path and due:
                _save(state_path, job, history, network, optimizer)
                saved_at = time.monotonic()
            on_epoch(result)
        if settings.recalibrate:
            with _memory_is_enough(settings, train, ranks):
                recalibrate(network, originals, normalisation, settings, compute)
    return FitResult(network.cpu().eval(), normalisation, tuple(history), resumed_after)


def follow(ranks: Ranks) -> None:
    """Take part in every training that rank 0 begins, until it dismisses the others."""
    while (task := receive(ranks)) is not None:
        settings, normalisation = task.settings, task.normalisation
        # Its weights are rank 0's from the first step on.
        network = empty_network(settings.arch, len(normalisation.mean), settings.dropout)
        compute = _on_device(network, settings)
        optimizer = DenseOptimizer(network, settings)
        optimizer.load_state_dict(task.optimizer)
        first = task.epochs_done + 1
        learner = Learner.of(network, optimizer, normalisation, settings, compute, ranks, first)
        # Such as a loss that is not finite, which is everybody's: rank 0 meets the same, and says it.
        with kept_memory(), suppress(TrainingError):
            for _ in _epochs(learner, task.train, None, first):
                pass


def _check_ranks(ranks: Ranks, count: int, settings: TrainConfig) -> None:
    smallest = count // -(-count // settings.batch_size)
    if smallest < ranks.count:
        raise TrainingError(
            f"{ranks.count} processes train together, but a step has only {smallest} images; start fewer with "
            "torchrun's --nproc-per-node, or give a larger train.batch_size"
        )


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
    return network, Normalisation.of_images(originals)


def _on_device(network: nn.Module, settings: TrainConfig) -> Compute:
    """Bring the network to where it is trained, in the layout that convolutions are fastest in."""
    make_deterministic(settings.threads)
    compute = choose_compute(settings.device, settings.precision)
    make_growing(network)
    network.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return compute


def _taken_over(state: TrainingState | None, network: nn.Module, optimizer: DenseOptimizer) -> list[EpochResult]:
    """Go on from a saved state: the epochs that it holds."""
    if state is None:
        return []
    network.load_state_dict(state.network)
    optimizer.load_state_dict(state.optimizer)
    return [EpochResult(**row) for row in state.history]


def _save(path: Path, job: str, history: Sequence[EpochResult], network: nn.Module, optimizer: DenseOptimizer) -> None:
    rows = [asdict(row) for row in history]
    save_state(TrainingState(job, len(rows), network.state_dict(), optimizer.state_dict(), rows), path)


@contextmanager
def _memory_is_enough(settings: TrainConfig, train: LabelledImages, ranks: Ranks) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        # While a step is captured, what the capture says of its end may stand in front.
        is_it = any(isinstance(one, torch.OutOfMemoryError) for one in (error, error.__context__))
        # One process of several must die of it, for the others wait for it: torchrun ends them then.
        if not is_it or ranks.count > 1:
            raise
        side = train.images.shape[1]
        raise TrainingError(
            f"the device has too little memory for {settings.arch} with batches of {settings.batch_size} images of "
            f"{side} x {side} pixels; give a smaller train.batch_size or data.image_size_px ({error})"
        ) from None


def _epochs(learner: Learner, train: LabelledImages, test: LabelledImages | None, first: int) -> Generator[EpochResult]:
    """Train and measure, from epoch `first` on; whoever leads may stop between two of them, and so do the others."""
    settings, compute, ranks = learner.step.settings, learner.step.compute, learner.ranks
    with _memory_is_enough(settings, train, ranks):
        cases = DeviceCases.of(train, compute, settings)
        held_out = None if test is None else DeviceCases.of(test, compute, settings)
        plan = EpochPlan.of(learner, cases, first)
    for epoch in range(first, settings.epochs + 1):
        if not ranks.agree(True):
            return
        learner = learner.grown(epoch)
        with _memory_is_enough(settings, train, ranks):
            launched = launch(learner, cases, held_out, plan)
            if epoch < settings.epochs:
                plan = EpochPlan.of(learner, cases, epoch + 1)  # while the device works
            result = launched.read()
        try:
            yield result
        except GeneratorExit:
            if epoch < settings.epochs:
                ranks.agree(False)
            raise
