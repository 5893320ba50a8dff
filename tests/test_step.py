"""Training steps beside plain torchvision and torch: the same images, weights and draws, and none of our shortcuts.

The plain steps are in float64. Augmentation is the same function in both.
"""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision import models

from eusml.config import Arch, OnlineConfig, TrainConfig
from eusml.data.augment import online_parameters
from eusml.learning.batches import Normalisation, augment_online
from eusml.learning.growth import make_growing
from eusml.learning.model import build_network
from eusml.learning.optimizer import DenseOptimizer
from eusml.learning.step import TrainingStep
from eusml.runtime import Compute
from tests.conftest import two_classes

# Not AdamW, to which gradients of another size are the same; that ours is torch's is test_optimizer.py's.
SETTINGS = TrainConfig(optimizer="sgd", weight_decay=0.0, momentum=0.9, online=OnlineConfig(enabled=True))
RATES = (0.01, 0.02)
BATCH, SIDE_PX = 16, 48
BRANCH = 0.1
MEAN, STD = 0.4, 0.2

Taken = tuple[np.ndarray, dict[str, np.ndarray]]
"""Loss of every step, and what all of them changed each parameter by."""


def batches() -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    images, y_true = two_classes(BATCH * len(RATES), SIDE_PX, seed=1)
    order = np.random.default_rng(0).permutation(len(images))
    drawn = online_parameters(0, 1, len(images), SETTINGS.online)
    return [
        (torch.from_numpy(images[rows]).unsqueeze(1), torch.from_numpy(y_true[rows]), torch.from_numpy(drawn[rows]))
        for rows in np.array_split(order, len(RATES))
    ]


def start(arch: Arch) -> nn.Module:
    """Branches that weigh little: from random weights, without that, rounding decides what is learnt first."""
    network = build_network(arch, "none", zero_init_residual=True, seed=3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
            nn.init.constant_(module.weight, BRANCH)
    return network


def by_ours(arch: Arch, *, bf16: bool) -> Taken:
    network = start(arch)
    make_growing(network)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = DenseOptimizer(network, SETTINGS)
    compute = Compute(torch.device("cpu"), bf16)
    step = TrainingStep(network.train(), optimizer, SETTINGS, Normalisation((MEAN,), (STD,)), compute)
    losses = []
    for rate, batch in zip(RATES, batches(), strict=True):
        optimizer.set_rate(rate)
        losses.append(float(step(*batch)[0]))
    return taken(network, arch, losses)


@cache
def by_torch(arch: Arch) -> Taken:
    """In float64, every convolution torch's own."""
    network: Any = getattr(models, arch)(num_classes=2)
    network.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    network.load_state_dict(start(arch).state_dict())
    network.train().double()
    optimizer = torch.optim.SGD(network.parameters(), momentum=SETTINGS.momentum, foreach=False)
    losses = []
    for rate, (images, target, drawn) in zip(RATES, batches(), strict=True):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss = functional.cross_entropy(network((augment_online(images / 255.0, drawn).double() - MEAN) / STD), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return taken(network, arch, losses)


def taken(network: nn.Module, arch: Arch, losses: list[float]) -> Taken:
    before = dict(start(arch).named_parameters())
    changes = {name: (now.double() - before[name]).detach().numpy() for name, now in network.named_parameters()}
    return np.array(losses), changes


def errors(found: Taken, truth: Taken, part: str) -> tuple[float, float]:
    """Of the losses, absolute; of the changes of some weights, relative to all of these together."""
    (losses, changes), (true_losses, true_changes) = found, truth
    names = [name for name in true_changes if name.startswith(part)]
    wrong = math.hypot(*(np.linalg.norm(changes[name] - true_changes[name]) for name in names))
    return float(np.abs(losses - true_losses).max()), wrong / math.hypot(
        *(np.linalg.norm(true_changes[name]) for name in names)
    )


@pytest.mark.parametrize(
    ("arch", "bf16", "of_loss", "of_change"),
    [("resnet34", False, 1e-4, 0.01), ("resnet50", False, 1e-4, 0.05), ("resnet34", True, 0.02, 0.4)],
)
def test_our_steps_are_those_of_plain_torchvision(arch: Arch, bf16: bool, of_loss: float, of_change: float) -> None:
    """Torch's own steps in fp32 and bf16 are about as far from float64: 0.00003, 0.012 and 0.16 of all changes."""
    truth, ours = by_torch(arch), by_ours(arch, bf16=bf16)
    for part in ("", "layer1.", "layer4."):  # the last stage's convolutions are ours
        loss, change = errors(ours, truth, part)
        assert loss < of_loss
        assert change < of_change, part
        assert (change > 0.05) is bf16, part
