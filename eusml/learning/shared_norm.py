"""Batch normalisation over a batch that several processes share, so that they train as one process would.

torch has it for accelerators only; on the CPU it is made here from sums that all processes add up.
"""

from typing import Any

import torch
from torch import nn

from eusml.ranks import Ranks


class _Added(torch.autograd.Function):
    """The sum over all processes; the gradient of a sum that all of them use is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, ranks: Ranks) -> torch.Tensor:
        ctx.ranks = ranks
        return ranks.add(values.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.ranks.add(gradients[0].contiguous().clone()), None


class SharedBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d`, under the same names, whose means and variances are those of all processes' images."""

    ranks: Ranks

    @classmethod
    def like(cls, layer: nn.BatchNorm2d, ranks: Ranks) -> "SharedBatchNorm2d":
        """The same layer around the very same tensors."""
        twin = cls(layer.num_features, layer.eps, layer.momentum, device="meta")
        twin.weight, twin.bias = layer.weight, layer.bias
        twin._buffers = layer._buffers
        twin.ranks = ranks
        return twin

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] to the same shape and type."""
        if not self.training:
            return super().forward(input)
        values = input.double()  # a variance from sums of squares would lose its digits in single precision
        number = values.new_full((1,), values.numel() // values.shape[1])
        sums = torch.cat([values.sum((0, 2, 3)), values.square().sum((0, 2, 3)), number])
        total, squares, count = _Added.apply(sums, self.ranks).tensor_split([values.shape[1], -1])
        mean = total / count
        variance = (squares / count - mean.square()).clamp_min(0.0)
        self._remember(mean, variance * count / (count - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        result: torch.Tensor = values * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)
        return result.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)
        self.num_batches_tracked += 1


def share_statistics(network: nn.Module, ranks: Ranks, device: torch.device) -> nn.Module:
    """The network with layers whose statistics all processes share; weights and their names stay."""
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return converted
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            network.set_submodule(name, SharedBatchNorm2d.like(module, ranks))
    return network
