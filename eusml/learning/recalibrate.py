"""Batch normalisation's statistics, measured anew when the weights are final."""

import torch
from torch import nn

from eusml.learning.batches import LabelledImages, Normalisation, epoch_order, to_grey
from eusml.learning.residence import on_device


@torch.no_grad()
def recalibrate(
    network: nn.Module,
    images: LabelledImages,
    normalisation: Normalisation,
    *,
    device: torch.device,
    batch_size: int,
    resident_mib: int | None,
) -> None:
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
    for batch in on_device(images, device, resident_mib).batches(epoch_order(0, 0, len(images), batch_size)):
        network(normalisation(to_grey(batch)))
    network.eval()
    for layer, momentum in zip(layers, usual, strict=True):
        layer.momentum = momentum
