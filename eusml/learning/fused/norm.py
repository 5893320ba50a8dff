"""Batch normalisation with what stands around it, forward and backward, on channels-last maps."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from eusml.errors import TrainingError

_TILE_ROWS, _TILE_CHANNELS = 64, 64
_TOTAL_CHANNELS = 16
"""Channels per program where parts are added up: there are few parts, so many programs share the wait for them."""
_PROGRAMS = 264
"""Into so many parts, about, a map is divided for its sums: two per processor of an H100. What is summed together is
the same on every device, and so are the bits."""
_STAGES = 3
_WARPS = 4
_LAST = torch.channels_last


def check_size(values: int) -> None:
    """Refuse what is too large for the kernels.

    Raises:
        TrainingError: it has more values than offsets of 32 bits reach.
    """
    if values >= 2**31:
        raise TrainingError(
            f"a batch makes a map of {values:,} values; the fused kernels reach {2**31 - 1:,}. Give a smaller "
            "train.batch_size, or -P train.kernels=torch"
        )


@dataclass(frozen=True)
class _Map:
    """A map as rows and channels, and how programs divide it."""

    rows: int
    channels: int

    @classmethod
    def of(cls, x: torch.Tensor) -> "_Map":
        batch, channels, height, width = x.shape
        assert x.is_contiguous(memory_format=_LAST)
        assert channels % _TILE_CHANNELS == 0
        check_size(x.numel())
        return cls(batch * height * width, channels)

    @property
    def columns(self) -> int:
        """Tiles beside one another."""
        return self.channels // _TILE_CHANNELS

    @property
    def tiles(self) -> tuple[int]:
        """Programs that take a tile each."""
        return (self.columns * -(-self.rows // _TILE_ROWS),)

    @property
    def chunk(self) -> int:
        """Rows of a part."""
        return -(-self.rows // (_TILE_ROWS * max(_PROGRAMS // self.columns, 1))) * _TILE_ROWS

    @property
    def parts(self) -> int:
        return -(-self.rows // self.chunk)


def _moments(x: torch.Tensor, norm: nn.BatchNorm2d) -> torch.Tensor:
    """Float32 [4, C]: mean, 1 / deviation, scale and shift of a batch; running statistics move on."""
    import triton

    from eusml.learning.fused import kernels

    size = _Map.of(x)
    sums = x.new_empty((2, size.parts, size.channels), dtype=torch.float32)
    moments = x.new_empty((4, size.channels), dtype=torch.float32)
    kernels.moment_sums[size.columns, size.parts](
        x, norm.running_mean, sums[0], sums[1], size.rows, size.channels, size.chunk, _TILE_ROWS, _TILE_CHANNELS,
        _STAGES, num_warps=_WARPS,
    )  # fmt: skip
    kernels.moments_of_sums[(size.channels // _TOTAL_CHANNELS,)](
        sums[0], sums[1], moments, norm.running_mean, norm.running_var, norm.weight, norm.bias, size.rows,
        size.channels, size.parts, norm.eps, norm.momentum, triton.next_power_of_2(size.parts), _TOTAL_CHANNELS,
        num_warps=_WARPS,
    )  # fmt: skip
    return moments


@dataclass(frozen=True)
class _Gradients:
    x: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor
    added: torch.Tensor


def _gradients(
    x: torch.Tensor,
    moments: torch.Tensor,
    dy: torch.Tensor,
    dy_too: torch.Tensor | None,
    y: torch.Tensor | None,
    *,
    relu: bool,
) -> _Gradients:
    """Of everything that went in; `y` is what came out where something was added, None where nothing was."""
    import triton

    from eusml.learning.fused import kernels

    size, add = _Map.of(x), y is not None
    assert dy.is_contiguous(memory_format=_LAST)
    assert dy_too is None or dy_too.is_contiguous(memory_format=_LAST)
    sums = x.new_empty((2, size.parts, size.channels), dtype=torch.float32)
    weight, bias = (x.new_empty(size.channels, dtype=torch.float32) for _ in range(2))
    passed = torch.empty_like(x) if add else dy
    # A pointer that is not read must still be one.
    kernels.gradient_sums[size.columns, size.parts](
        x, dy, dy if dy_too is None else dy_too, x if y is None else y, passed, moments, sums[0], sums[1], size.rows,
        size.channels, size.chunk, add, dy_too is not None, relu, _TILE_ROWS, _TILE_CHANNELS, _STAGES, num_warps=_WARPS,
    )  # fmt: skip
    kernels.gradient_of_weights[(size.channels // _TOTAL_CHANNELS,)](
        sums[0], sums[1], weight, bias, size.channels, size.parts, triton.next_power_of_2(size.parts), _TOTAL_CHANNELS,
        num_warps=_WARPS,
    )  # fmt: skip
    dx = torch.empty_like(x)
    kernels.gradient_of_input[size.tiles](
        x, passed, dx, moments, weight, bias, size.rows, size.channels, relu and not add, _TILE_ROWS, _TILE_CHANNELS,
        num_warps=_WARPS,
    )  # fmt: skip
    return _Gradients(dx, weight, bias, passed)


class _Normalised(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: Any, bias: Any, norm: nn.BatchNorm2d, relu: bool) -> torch.Tensor:
        from eusml.learning.fused import kernels

        size, moments, y = _Map.of(x), _moments(x, norm), torch.empty_like(x)
        kernels.normalised[size.tiles](
            x, x, y, moments, size.rows, size.channels, False, relu, _TILE_ROWS, _TILE_CHANNELS, num_warps=_WARPS
        )
        ctx.relu = relu
        ctx.save_for_backward(x, moments)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, moments = ctx.saved_tensors
        found = _gradients(x, moments, gradients[0].contiguous(memory_format=_LAST), None, None, relu=ctx.relu)
        return found.x, found.weight, found.bias, None, None


class _NormalisedAndAdded(torch.autograd.Function):
    """Two outputs, the same map: its two readers' gradients need no pass of their own to be added up."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: Any, bias: Any, norm: nn.BatchNorm2d, added: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        from eusml.learning.fused import kernels

        size, moments, y = _Map.of(x), _moments(x, norm), torch.empty_like(x)
        assert added.is_contiguous(memory_format=_LAST)
        kernels.normalised[size.tiles](
            x, added, y, moments, size.rows, size.channels, True, True, _TILE_ROWS, _TILE_CHANNELS, num_warps=_WARPS
        )
        ctx.save_for_backward(x, moments, y)
        return y, y.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, moments, y = ctx.saved_tensors
        one, other = (gradient.contiguous(memory_format=_LAST) for gradient in gradients)
        found = _gradients(x, moments, one, other, y, relu=True)
        return found.x, found.weight, found.bias, None, found.added


class _NormalisedAndPooled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: Any, bias: Any, norm: nn.BatchNorm2d
    ) -> tuple[torch.Tensor, torch.Tensor]:
        from eusml.learning.fused import kernels

        (batch, channels, height, width), moments = x.shape, _moments(x, norm)
        shape = batch, channels, (height + 1) // 2, (width + 1) // 2
        pooled = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=_LAST)
        taken = torch.empty(shape, dtype=torch.int8, device=x.device, memory_format=_LAST)
        size = _Map.of(pooled)
        kernels.normalised_and_pooled[size.tiles](
            x, pooled, taken, moments, size.rows, channels, height, width, *shape[2:], _TILE_ROWS, _TILE_CHANNELS,
            num_warps=_WARPS,
        )  # fmt: skip
        ctx.save_for_backward(x, moments, taken)
        return pooled, pooled.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        from eusml.learning.fused import kernels

        x, moments, taken = ctx.saved_tensors
        one, other = (gradient.contiguous(memory_format=_LAST) for gradient in gradients)
        dy, size = torch.empty_like(x), _Map.of(x)
        kernels.gradient_of_pooling[size.tiles](
            one, other, taken, dy, size.rows, size.channels, *x.shape[2:], *taken.shape[2:], _TILE_ROWS, _TILE_CHANNELS,
            num_warps=_WARPS,
        )  # fmt: skip
        found = _gradients(x, moments, dy, None, None, relu=True)
        return found.x, found.weight, found.bias, None


def normalised(x: torch.Tensor, norm: nn.BatchNorm2d, *, relu: bool) -> torch.Tensor:
    """Training's batch normalisation of [B, C, H, W], channels-last, rectified where asked.

    `norm`'s running statistics move on, but not its count of batches.
    """
    result: torch.Tensor = _Normalised.apply(x, norm.weight, norm.bias, norm, relu)
    return result


def normalised_and_added(
    x: torch.Tensor, norm: nn.BatchNorm2d, added: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same, plus a map of that shape, rectified: once for each of its two readers."""
    one, other = _NormalisedAndAdded.apply(x, norm.weight, norm.bias, norm, added)
    return one, other


def normalised_and_pooled(x: torch.Tensor, norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """The same, rectified, and the largest of 3 x 3 with stride 2 and padding 1: once for each of its two readers."""
    one, other = _NormalisedAndPooled.apply(x, norm.weight, norm.bias, norm)
    return one, other
