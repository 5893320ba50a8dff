"""timm by its own parts, put together as its train.py does; the script itself is in its repository, not in the package.

Default: fp32, train.py's 4 loader processes cut to the number of cores, its prefetcher, which normalises whole batches;
it reads the loss after every step. Best: `--amp --amp-dtype bfloat16 --channels-last` of the same script, and torch's
fused AdamW by `--opt-kwargs fused=True`. Compiled: `--torchcompile`, too. One channel, as `--in-chans 1` makes it.
timm's own augmentation is another one (crops, colour, RandAugment), so the operations are torchvision's, which timm's
own transforms are made of.

On a GPU the script lets cuDNN look for its fastest kernels, and the prefetcher copies bytes and normalises them there,
beside the step before. Best has `--pin-mem` and the 8 loader processes of most commands in timm's documentation, too.
"""

import contextlib
import functools

import torch
from timm.data import create_dataset, create_loader
from timm.data.transforms import MaybePILToTensor
from timm.models import create_model
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import AverageMeter, get_state_dict, random_seed
from torch import nn
from torchvision.transforms import Compose

from benchmarks.peers.torch_parts import operations
from benchmarks.peers.work import (
    FINAL_DIVISOR,
    GREY_MEAN,
    GREY_STD,
    LEARNING_RATE,
    START_DIVISOR,
    WARMUP_FRAC,
    WEIGHT_DECAY,
    Record,
    Work,
    answer,
)

SCRIPT_WORKERS = 4
DOCUMENTED_GPU_WORKERS = 8


def main(work: Work, record: Record) -> tuple[int, int]:
    """Train and save."""
    random_seed(work.seed)
    if work.cuda:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.benchmark = True
    workers = work.loader_workers(SCRIPT_WORKERS, DOCUMENTED_GPU_WORKERS if work.cuda else None)
    network = create_model(work.arch, pretrained=False, in_chans=1, num_classes=2).to(work.device)
    if work.best:
        network.to(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(
        network, "adamw", lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, **({"fused": True} if work.best else {})
    )
    autocast = functools.partial(torch.autocast, work.device, torch.bfloat16)
    amp_autocast = autocast if work.bf16 else contextlib.nullcontext
    model = torch.compile(network, backend="inductor") if work.compiled else network
    loader = create_loader(
        create_dataset("", root=work.folder, split="train", is_training=True, input_img_mode="L"),
        input_size=(1, work.size_px, work.size_px),
        batch_size=work.batch,
        is_training=True,
        mean=GREY_MEAN,
        std=GREY_STD,
        num_workers=workers,
        pin_memory=work.cuda and work.best,
        device=torch.device(work.device),
    )
    loader.dataset.transform = Compose([*operations(work.rotation_deg), MaybePILToTensor()])
    schedule, epochs = create_scheduler_v2(
        optimizer,
        "cosine",
        num_epochs=work.epochs,
        warmup_epochs=WARMUP_FRAC * work.epochs,
        warmup_lr=LEARNING_RATE / START_DIVISOR,
        min_lr=LEARNING_RATE / FINAL_DIVISOR,
        step_on_epochs=False,
        updates_per_epoch=len(loader),
    )
    criterion = nn.CrossEntropyLoss()
    for epoch in range(epochs):
        model.train()
        losses = AverageMeter()
        for update, (images, targets) in enumerate(loader, start=epoch * len(loader) + 1):
            if work.best:
                images = images.contiguous(memory_format=torch.channels_last)
            with amp_autocast():
                loss = criterion(model(images), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.update(loss.item(), len(images))
            schedule.step_update(update)
        record.step(losses.avg, losses.count)
        record.end_epoch()
    torch.save(get_state_dict(network), work.weights)
    return 1, workers


if __name__ == "__main__":
    answer(main)
