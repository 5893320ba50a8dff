"""The optimiser that works on weights as they lie: the same bits as torch's own, and a state that can be kept."""

import copy

import pytest
import torch
from torch import nn

from eusml.config import TrainConfig
from eusml.learning.optimizer import DenseOptimizer


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1), nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(8, 2)
        )
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def backward(net: nn.Module, step: int) -> None:
    images = torch.rand(5, 1, 6, 6, generator=torch.Generator().manual_seed(step))
    net(images.contiguous(memory_format=torch.channels_last)).square().sum().backward()


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_it_does_what_torchs_own_does_to_the_bit(name: str) -> None:
    settings = TrainConfig(optimizer=name, weight_decay=0.1)
    ours, theirs = network(), network()
    optimizer = DenseOptimizer(ours, settings)
    groups = [
        {"params": [p for p in theirs.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in theirs.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    plain: torch.optim.Optimizer = (
        torch.optim.AdamW(groups, fused=True) if name == "adamw" else torch.optim.SGD(groups, momentum=0.9, fused=True)
    )
    for step, lr in enumerate((1e-2, 3e-3, 1e-3)):
        backward(ours, step)
        backward(theirs, step)
        optimizer.step(lr)
        for group in plain.param_groups:
            group["lr"] = lr
        plain.step()
        plain.zero_grad()
    before = network()
    for ours_now, theirs_now, first in zip(ours.parameters(), theirs.parameters(), before.parameters(), strict=True):
        assert torch.equal(ours_now, theirs_now)
        assert not torch.equal(ours_now, first)


def test_torch_is_given_dense_memory_and_nothing_is_copied() -> None:
    net = network()
    optimizer = DenseOptimizer(net, TrainConfig())
    given = [weights.dense for weights in optimizer._all]
    assert all(p.is_contiguous() for p in given)
    assert {p.data_ptr() for p in given} == {p.data_ptr() for p in net.parameters()}


def test_a_state_goes_on_where_it_was() -> None:
    whole, parts = network(), network()
    one, first = DenseOptimizer(whole, TrainConfig()), DenseOptimizer(parts, TrainConfig())
    for step in range(2):
        backward(whole, step)
        one.step(1e-2)
    backward(parts, 0)
    first.step(1e-2)
    second = DenseOptimizer(parts, TrainConfig())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    backward(parts, 1)
    second.step(1e-2)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_weights_that_join_later_begin_as_all_others_do(name: str) -> None:
    """Oracle: an optimiser of their own, made when they join."""
    settings = TrainConfig(optimizer=name)
    net, alone = network(), network()
    optimizer = DenseOptimizer(net, settings)
    joins, other = net[2], alone[2]
    joins.requires_grad_(False)
    before = joins.weight.clone()
    backward(net, 0)
    optimizer.step(1e-2)
    assert torch.equal(joins.weight, before)
    held = zip(net.named_parameters(), optimizer.state_dict()["moments"], strict=True)
    assert [which for (which, _), moments in held if not moments] == ["2.weight", "2.bias"]  # a saved state is small
    joins.requires_grad_(True)
    backward(net, 1)
    assert joins.weight.grad is not None
    other.weight.grad, other.bias.grad = joins.weight.grad.clone(), joins.bias.grad.clone()
    optimizer.step(1e-2)
    DenseOptimizer(other, settings).step(1e-2)
    assert torch.equal(joins.weight, other.weight)
    assert torch.equal(joins.bias, other.bias)
