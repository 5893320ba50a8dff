"""A ResNet as a training step calls it: other modules around the network's own weights and statistics."""

import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from eusml.learning.fused.convolution import Filters, convolved, stem_product
from eusml.learning.fused.norm import normalised, normalised_and_added, normalised_and_pooled
from eusml.learning.growth import STAGES, GrowingStage


def available() -> bool:
    """Whether Triton is installed, and what it builds its launchers with: a C compiler and Python's headers."""
    named = os.environ.get("CC")  # which Triton takes before those that it knows
    has_compiler = any(map(shutil.which, ["gcc", "clang"] if named is None else [named]))
    has_headers = Path(sysconfig.get_path("include"), "Python.h").is_file()
    return has_compiler and has_headers and importlib.util.find_spec("triton") is not None


def triton_version() -> str:
    """As Triton says it: what it is called as a package differs from build to build."""
    import triton

    return str(triton.__version__)


class _Layer(NamedTuple):
    """A convolution and the normalisation behind it."""

    filters: int
    """Number of its filters in `Filters`."""
    convolution: nn.Conv2d
    norm: nn.BatchNorm2d


class _Block(NamedTuple):
    """A residual block."""

    layers: list[_Layer]
    shortcut: _Layer | None


class FusedTwin(nn.Module):
    """A torchvision ResNet in training: same weights, statistics and answers, but for the order of sums.

    It changes the network's tensors and has none of its own but casts, which each step makes anew. It knows the blocks
    that were there when it was made.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype = torch.bfloat16) -> None:
        super().__init__()
        self.fc = network.get_submodule("fc")  # a module: dropout is told here that an epoch begins
        self._dtype = dtype
        self._stem: tuple[nn.Conv2d, nn.BatchNorm2d] = (network.conv1, network.bn1)  # type: ignore[assignment]
        masters: list[nn.Parameter] = []
        self._blocks = [_block(block, masters) for block in _active_blocks(network)]
        self._filters = Filters(masters, dtype)
        norms = [self._stem[1], *(layer.norm for block in self._blocks for layer in _layers(block))]
        self._batches = [norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised images, float32 [B, C, S, S], to logits [B, 2]."""
        self._filters.refresh()
        torch._foreach_add_(self._batches, 1)
        convolution, norm = self._stem
        maps = normalised_and_pooled(stem_product(x, convolution, self._dtype), norm)
        for block in self._blocks:
            maps = self._through(block, *maps)
        logits: torch.Tensor = self.fc(maps[0].mean((2, 3)))
        return logits

    def _through(self, block: _Block, x: torch.Tensor, identity: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if block.shortcut is not None:
            identity = normalised(self._convolved(identity, block.shortcut), block.shortcut.norm, relu=False)
        *inner, last = block.layers
        for layer in inner:
            x = normalised(self._convolved(x, layer), layer.norm, relu=True)
        return normalised_and_added(self._convolved(x, last), last.norm, identity)

    def _convolved(self, x: torch.Tensor, layer: _Layer) -> torch.Tensor:
        return convolved(x, self._filters, layer.filters, layer.convolution)

    def hand_back(self) -> None:
        """Give the network's weights the gradients that did not come by autograd: after every backward pass."""
        self._filters.hand_back()


def _active_blocks(network: nn.Module) -> Iterator[nn.Module]:
    for name in STAGES:
        stage = network.get_submodule(name)
        assert isinstance(stage, GrowingStage)
        yield from islice(stage, stage.active)


def _block(block: nn.Module, masters: list[nn.Parameter]) -> _Block:
    """`masters` get the block's filters."""

    def layer(convolution: nn.Module, norm: nn.Module) -> _Layer:
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        assert isinstance(convolution.weight, nn.Parameter)
        masters.append(convolution.weight)
        return _Layer(len(masters) - 1, convolution, norm)

    count = sum(name.startswith("conv") for name, _ in block.named_children())
    pairs = [(f"conv{number}", f"bn{number}") for number in range(1, count + 1)]
    layers = [layer(block.get_submodule(conv), block.get_submodule(norm)) for conv, norm in pairs]
    downsample = block.downsample
    return _Block(layers, layer(*downsample) if isinstance(downsample, nn.Sequential) else None)


def _layers(block: _Block) -> list[_Layer]:
    return block.layers if block.shortcut is None else [*block.layers, block.shortcut]
