"""Convolutions of a step: filters cast all at once, their gradients beside the chain, the first one a product."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from eusml.learning.fused.norm import check_size

_STEM_SIDE = 8
"""The first filters, 7 x 7, widened by zeros to what is aligned in memory."""
_STEM_ROWS = 64
"""Positions of which a program gathers what the filters look at."""


class Filters:
    """Filters in another type that stand in for fp32 ones, and the gradients that these get.

    A gradient of filters is asked for by nobody before the step's end, so it is computed on a stream of its own, where
    it fills what the chain of the other gradients leaves idle. It does not pass through autograd, which would copy it
    before it is there.
    """

    def __init__(self, masters: Sequence[nn.Parameter], dtype: torch.dtype) -> None:
        self._masters = list(masters)
        self.cast = [master.detach().to(dtype, copy=True) for master in masters]
        """In that type, channels-last, one for each of the masters."""
        cuda = bool(masters) and masters[0].is_cuda
        self._beside = torch.cuda.Stream(masters[0].device) if cuda else None  # type: ignore[no-untyped-call]
        self._gradients: dict[int, torch.Tensor] = {}
        self._in_use: list[torch.Tensor] = []

    @torch.no_grad()
    def refresh(self) -> None:
        """Cast anew: before a step."""
        torch._foreach_copy_(self.cast, list[torch.Tensor](self._masters))

    def differentiate(self, number: int, dy: torch.Tensor, x: torch.Tensor, layer: nn.Conv2d) -> None:
        """Begin with the gradient of filters `number`."""
        if self._beside is None:
            self._gradients[number] = _backward(dy, x, self.cast[number], layer, of_input=False)
            return
        self._beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._beside):
            self._gradients[number] = _backward(dy, x, self.cast[number], layer, of_input=False)
        # The allocator would hand them to the main stream while they are read beside it.
        self._in_use += [dy, x]

    @torch.no_grad()
    def hand_back(self) -> None:
        """Give the masters their gradients, fp32: when the backward pass is done."""
        if self._beside is not None:
            torch.cuda.current_stream().wait_stream(self._beside)
        gradients = [torch.empty_like(master) for master in self._masters]
        torch._foreach_copy_(gradients, [self._gradients[number] for number in range(len(self._masters))])
        for master, gradient in zip(self._masters, gradients, strict=True):
            master.grad = gradient
        self._gradients.clear()
        self._in_use.clear()


def _backward(
    dy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, layer: nn.Conv2d, *, of_input: bool
) -> torch.Tensor:
    geometry = None, layer.stride, layer.padding, layer.dilation, False, [0, 0], 1
    wanted = [of_input, not of_input, False]
    of_x, of_weight, _ = torch.ops.aten.convolution_backward(dy, x, weight, *geometry, wanted)
    result: torch.Tensor = of_x if of_input else of_weight
    return result


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, filters: Filters, number: int, layer: nn.Conv2d) -> torch.Tensor:
        ctx.filters, ctx.number, ctx.layer = filters, number, layer
        ctx.save_for_backward(x)
        return functional.conv2d(x, filters.cast[number], None, layer.stride, layer.padding)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (x,), dy = ctx.saved_tensors, gradients[0]
        ctx.filters.differentiate(ctx.number, dy, x, ctx.layer)
        return _backward(dy, x, ctx.filters.cast[ctx.number], ctx.layer, of_input=True), None, None, None


def convolved(x: torch.Tensor, filters: Filters, number: int, layer: nn.Conv2d) -> torch.Tensor:
    """`layer`'s convolution of [B, C, H, W] by filters `number`, which stand in for its own."""
    result: torch.Tensor = _Convolved.apply(x, filters, number, layer)
    return result


class _StemProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        from eusml.learning.fused import kernels

        batch, channels, height, width = x.shape
        out_height, out_width = (height + 1) // 2, (width + 1) // 2
        rows, taps = batch * out_height * out_width, channels * _STEM_SIDE**2
        check_size(rows * taps)
        patches = torch.empty((rows, taps), dtype=dtype, device=x.device)
        kernels.patches[(-(-rows // _STEM_ROWS),)](
            x, patches, rows, height, width, out_height, out_width, *x.stride(), channels, _STEM_ROWS, num_warps=4
        )
        wide = functional.pad(weight, (0, 1, 0, 1)).reshape(len(weight), -1).to(dtype)
        ctx.save_for_backward(patches)
        ctx.batch, ctx.shape = batch, weight.shape
        return (patches @ wide.T).view(batch, out_height, out_width, -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (patches,) = ctx.saved_tensors
        filters, channels = ctx.shape[:2]
        # A product per image, for the sum over all positions of all images would be the work of few processors.
        dy = gradients[0].permute(0, 2, 3, 1).reshape(ctx.batch, -1, filters)
        seen = patches.view(ctx.batch, -1, patches.shape[1])
        if dy.is_cuda:
            products = torch.bmm(dy.transpose(1, 2), seen, out_dtype=torch.float32)
        else:
            products = torch.bmm(dy.transpose(1, 2), seen)  # that type is for CUDA only
        total = products.sum(0)
        wide = total.view(filters, channels, _STEM_SIDE, _STEM_SIDE)
        return None, wide[:, :, :-1, :-1].contiguous(memory_format=torch.channels_last), None


def stem_product(x: torch.Tensor, layer: nn.Conv2d, dtype: torch.dtype) -> torch.Tensor:
    """A ResNet's first convolution (7 x 7, stride 2, padding 3) of float [B, C, H, W] as one product, in `dtype`.

    cuDNN has no fast kernels for one or three channels: it converts what goes in and comes out to other layouts.
    """
    assert layer.kernel_size == (7, 7)
    assert layer.stride == (2, 2)
    assert layer.padding == (3, 3)
    result: torch.Tensor = _StemProduct.apply(x, layer.weight, dtype)
    return result
