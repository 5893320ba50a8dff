"""Convolutions whose maps have shrunk to a few pixels, made fast on the CPU.

A 48 or 64 px image reaches the last stage of a ResNet as 2 × 2 pixels under filters of 9 MB. oneDNN works through the
batch image by image there and carries all filters through memory for each; one matrix product for the whole batch
(im2col, Chellapilla et al. 2006, hal-inria-00112631) does it once. `benchmarks/training_step.py` measures both.
"""

import torch
from torch import nn
from torch.nn import functional

MAX_PIXELS = 9
"""Largest output map, in pixels, that is computed as one product; from there on oneDNN is as fast or faster."""


class SmallMapConv2d(nn.Conv2d):
    """`nn.Conv2d` without bias, groups and dilation, with the same weights; only the arithmetic's order may differ."""

    @classmethod
    def like(cls, conv: nn.Conv2d) -> "SmallMapConv2d":
        """The same convolution around the very same weight tensor."""
        assert conv.bias is None
        assert conv.groups == 1
        assert conv.dilation == (1, 1)
        assert conv.padding_mode == "zeros"
        fields = conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding
        twin = cls(*fields, bias=False, device="meta")  # type: ignore[arg-type]
        twin.weight = conv.weight
        return twin

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] to [B, O, H', W'], channels-last."""
        (height, width), (down, right) = self.kernel_size, self.stride
        top, left = int(self.padding[0]), int(self.padding[1])
        rows = (input.shape[2] + 2 * top - height) // down + 1
        columns = (input.shape[3] + 2 * left - width) // right + 1
        if input.device.type != "cpu" or rows * columns > MAX_PIXELS:
            return super().forward(input)
        padded = functional.pad(input.permute(0, 2, 3, 1), (0, 0, left, left, top, top))
        patches = padded.unfold(1, height, down).unfold(2, width, right)  # [B, H', W', C, h, w]
        patches = patches.permute(0, 1, 2, 4, 5, 3).reshape(-1, height * width * self.in_channels)
        filters = self.weight.permute(0, 2, 3, 1).reshape(self.out_channels, -1)
        return functional.linear(patches, filters).view(-1, rows, columns, self.out_channels).permute(0, 3, 1, 2)


def ease_last_stage(network: nn.Module) -> None:
    """Exchange the convolutions of a torchvision ResNet's last stage; weights and their names stay."""
    for name, module in list(network.named_modules()):
        if name.startswith("layer4.") and isinstance(module, nn.Conv2d):
            network.set_submodule(name, SmallMapConv2d.like(module))
