import pytest
import torch
from torch import nn

from eusml.config import Arch
from eusml.learning.model import build_network
from eusml.learning.small_maps import MAX_PIXELS, SmallMapConv2d


def answers(conv: nn.Conv2d, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Output, gradient of the input and gradient of the filters."""
    images = images.clone().requires_grad_()
    output = conv(images)
    conv.zero_grad()
    output.backward(torch.linspace(-1, 1, output.numel(), dtype=output.dtype).reshape(output.shape))
    assert images.grad is not None
    assert conv.weight.grad is not None
    return output.detach(), images.grad, conv.weight.grad.clone()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 6), (7, 7)])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (1, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_agrees_with_torch(
    height: int, width: int, kernel: int, stride: int, padding: int, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 10, kernel, stride, padding, bias=False, dtype=torch.float64).to(memory_format=layout)
    images = torch.randn(5, 6, height, width, dtype=torch.float64).contiguous(memory_format=layout)
    for ours, expected in zip(answers(SmallMapConv2d.like(plain), images), answers(plain, images), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def test_a_large_map_goes_to_torch_untouched() -> None:
    plain = nn.Conv2d(4, 4, 3, padding=1, bias=False)
    side = int(MAX_PIXELS**0.5) + 1
    images = torch.randn(2, 4, side, side)
    assert torch.equal(SmallMapConv2d.like(plain)(images), plain(images))


def test_keeps_the_very_weights() -> None:
    plain = nn.Conv2d(4, 4, 3, bias=False)
    assert SmallMapConv2d.like(plain).weight is plain.weight


@pytest.mark.parametrize(("arch", "count"), [("resnet34", 7), ("resnet50", 10)])
def test_networks_use_it_in_their_last_stage_alone(arch: Arch, count: int) -> None:
    net = build_network(arch, "none", zero_init_residual=True, seed=0)
    names = [name for name, module in net.named_modules() if isinstance(module, SmallMapConv2d)]
    assert len(names) == count
    assert all(name.startswith("layer4.") for name in names)
