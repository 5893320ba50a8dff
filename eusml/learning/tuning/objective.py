"""What a setting is worth: the mean over inner folds of the training partition, none of which a test case is in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eusml.config import Config, Metric
from eusml.data.augment import expand
from eusml.learning.batches import LabelledImages, to_device
from eusml.learning.epoch import EpochResult
from eusml.learning.predict import batched_scores
from eusml.learning.train import fit
from eusml.runtime import choose_compute

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TrainingCases:
    """The training partition, at one image size."""

    images: "NDArray[np.uint8]"
    """uint8 [N, S, S]."""
    y_true: "NDArray[np.int64]"
    """int64 [N]: 1 for the positive class."""
    case_ids: tuple[str, ...]
    """N names, which the off-line copies are drawn by."""


@dataclass(frozen=True)
class InnerFolds:
    """What tuning works on."""

    cases: Callable[[int], TrainingCases]
    """Side of the images, pixels, to the cases; the same cases in the same order at every size."""
    folds: "Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]"
    """Rows to train on and rows to measure on, of every fold."""


def fold_value(
    inner: InnerFolds,
    fold: int,
    config: Config,
    metric: Metric,
    on_epoch: Callable[[EpochResult], None] | None = None,
) -> float:
    """Train on one inner fold as `config.train` says and measure on the rest of the training partition.

    Args:
        inner: the training partition and its folds.
        fold: which of them.
        config: `train`, `augment`, `evaluate` and the image size are used.
        metric: what is measured, on the mean over `evaluate.views`.
        on_epoch: called after every epoch; its `test_…` figures are of this fold's held-out part, which is only
            measured after every epoch if somebody is called. What it raises ends the training.

    Raises:
        TrainingError: the loss became non-finite, or weights cannot be had.
    """
    cases = inner.cases(config.data.image_size_px)
    train_rows, val_rows = inner.folds[fold]
    originals = LabelledImages(cases.images, cases.y_true[train_rows], train_rows)
    val = LabelledImages(cases.images, cases.y_true[val_rows], val_rows)
    train = originals
    if config.train.offline:
        expanded = expand(originals.take(slice(None)), [cases.case_ids[row] for row in train_rows], config.augment)
        train = LabelledImages(expanded.images, originals.y_true[expanded.parent])
    watched = None if on_epoch is None else val
    each = on_epoch or (lambda _: None)
    result = fit(train, watched, config.train, job="inner fold", on_epoch=each, originals=originals)
    compute = choose_compute(config.train.device, config.train.precision)
    network = result.network.to(compute.device)
    images = to_device(val.take(slice(None)), compute.device)
    y_score = batched_scores(network, images, result.normalisation, compute, config.evaluate.views).numpy()
    return measure(metric, val.y_true, y_score, config.evaluate.threshold)


def measure(metric: Metric, y_true: "NDArray[np.int64]", y_score: "NDArray[np.float64]", threshold: float) -> float:
    """One figure for answers to cases of both classes.

    Args:
        metric: which one.
        y_true: [N], 1 or 0.
        y_score: [N], probability of the positive class.
        threshold: positive from here on, for balanced accuracy.
    """
    from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

    match metric:
        case "log_loss":
            return float(log_loss(y_true, y_score, labels=[0, 1]))
        case "auroc":
            return float(roc_auc_score(y_true, y_score))
        case "balanced_accuracy":
            return float(balanced_accuracy_score(y_true, y_score >= threshold))


def shortened(config: Config, share: float) -> Config:
    """The same settings with a share of the epochs, one at least: what a trial is given to show what it can do."""
    epochs = max(round(config.train.epochs * share), 1)
    return config.model_copy(update={"train": config.train.model_copy(update={"epochs": epochs})})
