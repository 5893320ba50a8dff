"""fastai's Learner with its data block, its batch transforms and `fit_one_cycle`, around torchvision's ResNet.

`Learner` and not `vision_learner`, whose own head (two linear layers, two dropouts) would make it another network. One
channel, as `PILImageBW` makes it. Shift and gamma are no transforms of fastai's, and are written here as its own are.

Default: fp32, fastai's AdamW, loader processes as it starts them unasked (one per core, 16 at most). Best:
channels-last by its callback, which docs.fast.ai/callback.channelslast recommends for newer CPUs, too, together with
mixed precision; bf16 autocast; torch's fused AdamW in its `OptimWrapper`. Its own `to_bf16` asks for CUDA's autocast
and does nothing on a CPU (fastai 2.8.12, `callback/fp16.py`), so the same callback stands here with the CPU's. Its
loader starts its processes anew in every epoch in either setting, whatever `persistent_workers` says (`data/load.py`).

On a GPU batch transforms run there, as they do unasked, and its own `Recorder` reads the loss after every step. Best:
its `to_channelslast` with bf16, which adds both callbacks; `setup_cuda`, by which cuDNN looks for its fastest kernels;
pinned memory.
"""

import functools
import math
from pathlib import Path
from typing import Any

import torch
from fastai.vision.all import (
    Adam,
    AffineCoordTfm,
    Callback,
    CategoryBlock,
    CrossEntropyLossFlat,
    DataBlock,
    DataLoaders,
    Flip,
    ImageBlock,
    IndexSplitter,
    Learner,
    Normalize,
    OptimWrapper,
    PILImageBW,
    RandTransform,
    Rotate,
    TensorImage,
    Zoom,
    affine_mat,
    defaults,
    get_image_files,
    parent_label,
    set_seed,
    setup_aug_tfms,
    setup_cuda,
    to_float,
)
from torch import nn
from torchvision import models

from benchmarks.peers.work import (
    FINAL_DIVISOR,
    GAMMA_FRAC,
    GREY_MEAN,
    GREY_STD,
    LEARNING_RATE,
    SCALE_FRAC,
    SHIFT_FRAC,
    START_DIVISOR,
    WARMUP_FRAC,
    WEIGHT_DECAY,
    Record,
    Work,
    answer,
)


def shift_matrix(x: torch.Tensor) -> torch.Tensor:
    """Affine matrices of random shifts, for `AffineCoordTfm`; coordinates run from -1 to 1."""
    one, none = x.new_ones(len(x)), x.new_zeros(len(x))
    along, down = (x.new_empty(len(x)).uniform_(-2 * SHIFT_FRAC, 2 * SHIFT_FRAC) for _ in range(2))
    return affine_mat(one, none, along, none, one, down)


class Gamma(RandTransform):
    """Gamma, log-uniform for each image of a batch."""

    order = 40
    """After the resampling (30), before normalisation (99)."""

    def encodes(self, x: TensorImage) -> Any:
        """Apply it to a batch of training images."""
        limit = math.log1p(GAMMA_FRAC)
        return x.clamp(0, 1).pow(x.new_empty(len(x), 1, 1, 1).uniform_(-limit, limit).exp())


class Bf16OnCpu(Callback):
    """fastai's `MixedPrecision` with the CPU's autocast; bf16 needs no scaling of the loss."""

    order = 10

    def before_batch(self) -> None:
        """Begin."""
        self.autocast = torch.autocast("cpu", torch.bfloat16)
        self.autocast.__enter__()

    def after_pred(self) -> None:
        """The loss is computed of fp32."""
        self.learn.pred = to_float(self.pred)

    def after_loss(self) -> None:
        """End."""
        self.autocast.__exit__(None, None, None)


class Notes(Callback):
    """Losses and the ends of epochs."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def after_batch(self) -> None:
        """Of training only."""
        if self.training:
            self.record.step(self.loss.detach(), len(self.yb[0]))

    def after_epoch(self) -> None:
        """Note the time."""
        self.record.end_epoch()


def data_loaders(work: Work, workers: int) -> DataLoaders:
    """All images for training; fastai wants a validation set, which is empty."""
    affine = [
        Rotate(work.rotation_deg, p=1.0),
        Flip(),
        Zoom(1 - SCALE_FRAC, 1 + SCALE_FRAC, p=1.0),
        AffineCoordTfm(aff_fs=shift_matrix),
    ]
    block = DataBlock(
        blocks=(ImageBlock(PILImageBW), CategoryBlock),
        get_items=get_image_files,
        splitter=IndexSplitter([]),
        get_y=parent_label,
        batch_tfms=[*setup_aug_tfms(affine), Gamma(p=1.0), Normalize.from_stats(GREY_MEAN, GREY_STD)],
    )
    return block.dataloaders(
        Path(work.folder),
        bs=work.batch,
        num_workers=workers,
        device=torch.device(work.device),
        pin_memory=work.cuda and work.best,
    )


def main(work: Work, record: Record) -> tuple[int, int]:
    """Train and save."""
    set_seed(work.seed)
    if work.cuda and work.best:
        setup_cuda()
    workers = work.loader_workers(min(16, defaults.cpus))
    network = getattr(models, work.arch)(num_classes=2)
    network.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    fused = functools.partial(OptimWrapper, opt=torch.optim.AdamW, fused=True)
    learner = Learner(
        data_loaders(work, workers),
        network,
        loss_func=CrossEntropyLossFlat(),
        opt_func=fused if work.best else Adam,
        cbs=Notes(record),
    )
    if work.best:
        # Its bf16 is the GPU's.
        learner.to_channelslast(use_amp=work.cuda and work.bf16, amp_mode="bf16")
    if work.bf16 and not work.cuda:
        learner.add_cb(Bf16OnCpu())
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(
            work.epochs,
            LEARNING_RATE,
            div=START_DIVISOR,
            div_final=FINAL_DIVISOR,
            pct_start=WARMUP_FRAC,
            wd=WEIGHT_DECAY,
        )
    torch.save(learner.model.state_dict(), work.weights)
    return 1, workers


if __name__ == "__main__":
    answer(main)
