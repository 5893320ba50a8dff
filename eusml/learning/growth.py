"""Training a ResNet shallow at first: the first block of every stage, and the other blocks from a later epoch on.

A residual block whose last normalisation starts at zero passes its input on as it is. To leave it out until it joins
changes no answer, then, and saves its time: of a ResNet-34's 16 blocks four are there from the start.

Source: Chang et al. 2018, arXiv:1710.10348, and Wen et al. 2020, doi:10.1145/3394486.3403126, who double blocks and add
them one by one; here all join at once.
"""

from itertools import islice
from typing import Any

import torch
from torch import nn

from eusml.config import TrainConfig

STAGES = ("layer1", "layer2", "layer3", "layer4")
_SHALLOW_TIME = 0.3
"""About what `benchmarks/growth.py` finds for ResNet-34 on a CPU."""


class GrowingStage(nn.Sequential):
    """A stage of a torchvision ResNet, under the same names, of which the first `active` blocks are there."""

    def __init__(self, *blocks: Any) -> None:
        super().__init__(*blocks)
        self.active = len(self)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] to [B, O, H', W']."""
        for block in islice(self, self.active):
            input = block(input)
        return input

    def show(self, active: int) -> bool:
        """Let so many blocks be there, and only them be trained; False if so many were."""
        if active == self.active:
            return False
        self.active = active
        for number, block in enumerate(self):
            block.requires_grad_(number < active)
        return True


def make_growing(network: nn.Module) -> None:
    """Exchange the stages of a torchvision ResNet; blocks, weights and their names stay."""
    for name in STAGES:
        stage = network.get_submodule(name)
        assert isinstance(stage, nn.Sequential)
        network.set_submodule(name, GrowingStage(*stage))


def grow(network: nn.Module, settings: TrainConfig, epoch: int) -> bool:
    """Give a network the depth of an epoch, counted from 1; False if it had that.

    A pure function of settings and epoch, so that nothing of it needs to be saved.
    """
    shallow = _is_shallow(settings, epoch)
    stages = [module for module in network.modules() if isinstance(module, GrowingStage)]
    return any([stage.show(1 if shallow else len(stage)) for stage in stages])


def epoch_times(settings: TrainConfig) -> list[float]:
    """About what every epoch takes, one of the whole network being 1: for telling the time left."""
    return [_SHALLOW_TIME if _is_shallow(settings, epoch) else 1.0 for epoch in range(1, settings.epochs + 1)]


def _is_shallow(settings: TrainConfig, epoch: int) -> bool:
    return epoch <= settings.shallow_frac * settings.epochs
