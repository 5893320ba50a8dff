"""Batch normalisation's statistics, measured anew when the weights are final."""

import torch
from torch import nn

from eusml.config import TrainConfig
from eusml.learning.batches import LabelledImages, Normalisation, epoch_order, to_grey
from eusml.learning.residence import on_device
from eusml.runtime import Compute


@torch.no_grad()
def recalibrate(
    network: nn.Module, images: LabelledImages, normalisation: Normalisation, settings: TrainConfig, compute: Compute
) -> None:
    """Batch normalisation's statistics as plain means over the training images; no weight changes.

    In the training's precision: fp32 takes three times as long as bf16, and moves no probability by 0.001.

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
    order = epoch_order(0, 0, len(images), settings.batch_size)
    for batch in on_device(images, compute.device, settings.resident_mib).batches(order):
        with torch.autocast(compute.device.type, torch.bfloat16, enabled=compute.bf16):
            network(normalisation(to_grey(batch)))
    network.eval()
    for layer, momentum in zip(layers, usual, strict=True):
        layer.momentum = momentum
