"""What torchvision and Lightning users write alike: images, optimiser and schedule in torch's and torchvision's words.

Operations are `transforms.v2` on PIL images, which torchvision's reference training script uses unless told otherwise.
Its documentation advises tensors for speed; these operations took 15 (RGB) and 35 % (grey) longer on tensors of 224 px,
so both settings keep to PIL. AdamW's fused implementation, which the page on torch.optim ranks first, is in the best
setting; with channels-last filters, too, it was the fastest of three.
"""

import math
from typing import Any

import torch
from torch import nn
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.peers.work import (
    FINAL_DIVISOR,
    GAMMA_FRAC,
    LEARNING_RATE,
    RGB_MEAN,
    RGB_STD,
    SCALE_FRAC,
    SHIFT_FRAC,
    START_DIVISOR,
    WARMUP_FRAC,
    WEIGHT_DECAY,
    Work,
)


class RandomGamma(v2.Transform):
    """Gamma, log-uniform; torchvision has the operation and none that draws for it."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw for one image."""
        limit = math.log1p(GAMMA_FRAC)
        return {"gamma": math.exp(float(torch.empty(1).uniform_(-limit, limit)))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Apply what was drawn."""
        return v2.functional.adjust_gamma(inpt, params["gamma"])


def operations(rotation_deg: float) -> list[nn.Module]:
    """Flip; rotation, zoom and shift in one resampling; gamma."""
    return [
        v2.RandomHorizontalFlip(),
        v2.RandomAffine(
            rotation_deg,
            translate=(SHIFT_FRAC, SHIFT_FRAC),
            scale=(1 - SCALE_FRAC, 1 + SCALE_FRAC),
            interpolation=v2.InterpolationMode.BILINEAR,
        ),
        RandomGamma(),
    ]


def image_folder(work: Work) -> ImageFolder:
    """The folder as torchvision reads it, three channels, augmented and normalised."""
    ending = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(RGB_MEAN, RGB_STD)]
    return ImageFolder(work.folder, v2.Compose([*operations(work.rotation_deg), *ending, v2.ToPureTensor()]))


def adamw(network: nn.Module, work: Work) -> torch.optim.Optimizer:
    """AdamW over all parameters."""
    fused = True if work.best else None
    return torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=fused)


def one_cycle(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.OneCycleLR:
    """To be moved on after each of so many steps."""
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        LEARNING_RATE,
        total_steps=steps,
        pct_start=WARMUP_FRAC,
        div_factor=START_DIVISOR,
        final_div_factor=FINAL_DIVISOR,
    )
