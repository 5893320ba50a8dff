"""The loop of torchvision's reference script for classification (pytorch/vision, references/classification/train.py).

Default: fp32, its 16 loader processes cut to the number of cores (torch warns of more), started anew in every epoch; it
reads the loss after every step. Best: bf16 autocast as in torch.amp's example for CPUs, channels-last as in torch's
performance tuning guide, AdamW fused, loader processes that stay. Compiled: the same, and torch.compile as it comes.

On a GPU the script pins memory, lets cuDNN look for its fastest kernels, and waits for each copy to the GPU; that it
need not, as the guide says, is in the best setting.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import models

from benchmarks.peers.torch_parts import adamw, image_folder, one_cycle
from benchmarks.peers.work import Record, Work, answer

REFERENCE_WORKERS = 16


def main(work: Work, record: Record) -> tuple[int, int]:
    """Train and save."""
    torch.manual_seed(work.seed)
    torch.backends.cudnn.benchmark = True
    dataset = image_folder(work)
    workers = work.loader_workers(REFERENCE_WORKERS)
    loader = DataLoader(
        dataset,
        work.batch,
        shuffle=True,
        num_workers=workers,
        pin_memory=work.cuda,
        persistent_workers=work.best and workers > 0,
    )
    network = getattr(models, work.arch)(num_classes=len(dataset.classes)).to(work.device)
    if work.best:
        network.to(memory_format=torch.channels_last)
    model = torch.compile(network) if work.compiled else network
    criterion, optimizer = nn.CrossEntropyLoss(), adamw(network, work)
    schedule = one_cycle(optimizer, work.epochs * len(loader))
    for _ in range(work.epochs):
        network.train()
        for batch in loader:
            images, targets = (part.to(work.device, non_blocking=work.best) for part in batch)
            if work.best:
                images = images.to(memory_format=torch.channels_last)
            with torch.autocast(work.device, torch.bfloat16, enabled=work.bf16):
                loss = criterion(model(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            record.step(loss.item(), len(targets))
        record.end_epoch()
    torch.save(network.state_dict(), work.weights)
    return 3, workers


if __name__ == "__main__":
    answer(main)
