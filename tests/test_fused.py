"""The fused kernels beside torch's layers, by Triton's interpreter: their arithmetic, on any machine."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from eusml.config import TrainConfig
from eusml.errors import TrainingError
from eusml.learning.fused import norm as fused
from eusml.learning.fused import twin
from eusml.learning.fused.twin import FusedTwin
from eusml.learning.growth import grow, make_growing
from eusml.learning.learner import fuses
from eusml.learning.model import build_network
from eusml.runtime import Compute

pytest.importorskip("triton", reason="torch brings it on Linux only")
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="test_cuda.py has the kernels themselves, there")


def maps(*shape: int, seed: int = 0) -> torch.Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2 + 1
    return drawn.contiguous(memory_format=torch.channels_last).requires_grad_()


def a_norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    generator = torch.Generator().manual_seed(1)
    nn.init.uniform_(norm.weight, 0.5, 2.0, generator=generator)
    nn.init.normal_(norm.bias, generator=generator)
    assert norm.running_mean is not None
    nn.init.normal_(norm.running_mean, generator=generator)  # sums are made about it
    return norm


def agree(got: list[torch.Tensor], wanted: list[torch.Tensor]) -> None:
    for one, other in zip(got, wanted, strict=True):
        assert one.shape == other.shape
        assert (one - other).norm() <= 1e-4 * other.norm() + 1e-6


# Divided among four programs, 189 rows make a part of two tiles and one that is not full.
@pytest.mark.parametrize(("shape", "programs"), [((3, 128, 7, 9), 264), ((3, 128, 7, 9), 4), ((5, 64, 1, 1), 264)])
@pytest.mark.parametrize("relu", [True, False])
def test_normalised_is_batch_normalisation(
    shape: tuple[int, ...], programs: int, relu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "_PROGRAMS", programs)
    x, theirs = maps(*shape), a_norm(shape[1])
    ours = copy.deepcopy(theirs)
    dy = maps(*shape, seed=2).detach()
    y = functional.relu(theirs(x)) if relu else theirs(x)
    wanted = torch.autograd.grad(y, [x, theirs.weight, theirs.bias], dy)
    z = fused.normalised(x, ours, relu=relu)
    got = torch.autograd.grad(z, [x, ours.weight, ours.bias], dy)
    agree([z, *got, ours.running_mean, ours.running_var], [y, *wanted, theirs.running_mean, theirs.running_var])


def test_what_is_added_gets_the_gradients_of_both_readers() -> None:
    shape = (3, 64, 7, 9)
    x, identity, theirs = maps(*shape), maps(*shape, seed=3), a_norm(64)
    ours = copy.deepcopy(theirs)
    weights = maps(*shape, seed=4).detach(), maps(*shape, seed=5).detach()
    y = functional.relu(theirs(x) + identity)
    wanted = torch.autograd.grad((y * weights[0] + y * weights[1]).sum(), [x, theirs.weight, theirs.bias, identity])
    one, other = fused.normalised_and_added(x, ours, identity)
    loss = (one * weights[0] + other * weights[1]).sum()
    got = torch.autograd.grad(loss, [x, ours.weight, ours.bias, identity])
    agree([one, other, *got], [y, y, *wanted])


def test_a_map_that_offsets_do_not_reach_is_refused() -> None:
    huge = torch.empty(1, device="meta").expand(2, 64, 2**12, 2**12).to(memory_format=torch.channels_last)
    with pytest.raises(TrainingError, match=r"2,147,483,648 values.*train\.batch_size"):
        fused.normalised(huge, a_norm(64), relu=True)


@pytest.mark.parametrize("side", [8, 9])
def test_pooling_takes_the_largest_of_nine(side: int) -> None:
    x, theirs = maps(2, 64, side, side), a_norm(64)
    ours = copy.deepcopy(theirs)
    y = functional.max_pool2d(functional.relu(theirs(x)), 3, 2, 1)
    weights = maps(*y.shape, seed=4).detach(), maps(*y.shape, seed=5).detach()
    wanted = torch.autograd.grad((y * weights[0] + y * weights[1]).sum(), [x, theirs.weight, theirs.bias])
    one, other = fused.normalised_and_pooled(x, ours)
    got = torch.autograd.grad((one * weights[0] + other * weights[1]).sum(), [x, ours.weight, ours.bias])
    agree([one, other, *got], [y, y, *wanted])


@pytest.mark.slow
def test_a_step_of_the_twin_is_one_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shallow, small and by few programs, for the interpreter takes its time; the other blocks are like these."""
    monkeypatch.setattr(fused, "_TOTAL_CHANNELS", 64)
    settings = TrainConfig(shallow_frac=0.5, epochs=2)
    theirs = build_network("resnet34", "none", zero_init_residual=False, seed=0)
    theirs.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
    theirs.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    make_growing(theirs)
    grow(theirs, settings, epoch=1)
    ours = copy.deepcopy(theirs)
    images, target = maps(3, 3, 33, 33).detach(), torch.tensor([0, 1, 1])
    logits = theirs(images)
    functional.cross_entropy(logits, target).backward()
    fast = FusedTwin(ours, torch.float32)
    answered = fast(images)
    functional.cross_entropy(answered, target).backward()
    fast.hand_back()
    torch.testing.assert_close(answered, logits, rtol=1e-4, atol=1e-5)
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None) == (not other.requires_grad), name
        if one.grad is not None and other.grad is not None:
            assert (one.grad - other.grad).norm() < 0.01 * other.grad.norm() + 1e-6, name
    for (name, one), other in zip(ours.named_buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize(("batch", "channels", "side"), [(335, 64, 112), (16, 64, 512), (2000, 2048, 7)])
def test_no_map_has_more_programs_than_a_device_can_count(batch: int, channels: int, side: int) -> None:
    size = fused._Map.of(torch.empty(batch, channels, side, side, device="meta", memory_format=torch.channels_last))
    for grid in (size.tiles, (size.columns, size.parts)):
        assert grid[0] < 2**31
        assert all(programs < 2**16 for programs in grid[1:])


@pytest.mark.parametrize(
    ("kernels", "bf16", "capability", "compiler", "named", "taken"),
    [
        ("auto", True, (9, 0), "gcc", None, True),
        ("torch", True, (9, 0), "gcc", None, False),
        ("auto", False, (9, 0), "gcc", None, False),
        ("auto", True, (7, 5), "gcc", None, False),
        ("auto", True, (9, 0), "", None, False),
        ("auto", True, (9, 0), "cc", None, False),
        ("auto", True, (9, 0), "icx", "icx", True),
        ("auto", True, (9, 0), "gcc", "icx", False),
    ],
)
def test_they_are_taken_where_they_can_be_built_and_run(
    kernels: str,
    bf16: bool,
    capability: tuple[int, int],
    compiler: str,
    named: str | None,
    taken: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(twin.sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setattr(twin.shutil, "which", lambda name: name if name == compiler else None)
    monkeypatch.delenv("CC", raising=False)
    if named is not None:
        monkeypatch.setenv("CC", named)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    settings = TrainConfig.model_validate({"kernels": kernels})
    assert fuses(settings, Compute(torch.device("cuda"), bf16)) == taken
    assert not fuses(settings, Compute(torch.device("cpu"), bf16))
    (tmp_path / "Python.h").unlink()
    assert not fuses(settings, Compute(torch.device("cuda"), bf16))
