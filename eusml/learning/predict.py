"""A network's answers to prepared images in batches, on the device and in the precision of its training.

For what is looked at or chosen by. What is reported and what is served is `Bundle.scores`, which is slower and does not
depend on which images are asked about together.
"""

import torch
from torch import nn

from eusml.learning.batches import Normalisation, to_grey
from eusml.runtime import Compute

_BATCH = 64


@torch.inference_mode()
def batched_logits(
    network: nn.Module, images: torch.Tensor, normalisation: Normalisation, compute: Compute
) -> torch.Tensor:
    """Logits float32 [N, 2] for uint8 [N, 1, S, S] on the device; leaves the network in evaluation mode."""
    network.eval()
    logits = []
    for chunk in torch.split(images, _BATCH):
        with torch.autocast(compute.device.type, torch.bfloat16, enabled=compute.bf16):
            logits.append(network(normalisation(to_grey(chunk))).float())
    return torch.cat(logits)


@torch.inference_mode()
def batched_scores(
    network: nn.Module, images: torch.Tensor, normalisation: Normalisation, compute: Compute, views: int
) -> torch.Tensor:
    """Probability of the positive class, float64 [N] on the CPU: mean over the orientations that `turned` makes."""
    parts = [
        torch.softmax(batched_logits(network, view, normalisation, compute).double(), 1)[:, 1]
        for view in turned(images, views)
    ]
    return torch.stack(parts).mean(0).cpu()


def turned(images: torch.Tensor, count: int) -> list[torch.Tensor]:
    """[N, 1, S, S] in `count` orientations: as it is (1) and mirrored (2), its quarter turns (4) and theirs (8)."""
    turns = [images.rot90(quarter, (2, 3)) for quarter in range(4 if count >= 4 else 1)]
    return turns + [turn.flip(3) for turn in turns] if count in (2, 8) else turns
