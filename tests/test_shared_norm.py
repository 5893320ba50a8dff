import pytest
import torch
from torch import nn

from eusml.learning.shared_norm import SharedBatchNorm2d, share_statistics
from eusml.ranks import Ranks


@pytest.fixture
def layers() -> tuple[nn.BatchNorm2d, SharedBatchNorm2d]:
    """A layer of torch's and its twin; values far from zero show lost digits."""
    made = []
    for _ in range(2):
        torch.manual_seed(0)
        layer = nn.BatchNorm2d(5)
        nn.init.uniform_(layer.weight)
        nn.init.uniform_(layer.bias)
        made.append(layer)
    return made[0], SharedBatchNorm2d.like(made[1], Ranks())


def test_alone_it_is_torchs(layers: tuple[nn.BatchNorm2d, SharedBatchNorm2d]) -> None:
    """Oracle: `nn.BatchNorm2d`; answers, gradients and running figures, in training and out of it."""
    values = 100 + torch.randn(4, 5, 3, 3, generator=torch.Generator().manual_seed(1))
    answers, gradients = [], []
    for layer in layers:
        inputs = values.clone().requires_grad_()
        answer = layer(inputs)
        answer.square().sum().backward()
        assert layer.weight.grad is not None
        gradients.append((inputs.grad, layer.weight.grad, layer.bias.grad))
        answers.append((answer, layer.eval()(values)))
    for plain, shared in zip(answers[0] + gradients[0], answers[1] + gradients[1], strict=True):
        torch.testing.assert_close(shared, plain, rtol=1e-4, atol=2e-4)
    for name, figure in layers[0].state_dict().items():
        torch.testing.assert_close(layers[1].state_dict()[name], figure, rtol=1e-5, atol=1e-5)


def test_a_network_keeps_its_names_and_tensors() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    before = {name: tensor.data_ptr() for name, tensor in network.state_dict().items()}
    shared = share_statistics(network, Ranks(), torch.device("cpu"))
    assert isinstance(shared[1], SharedBatchNorm2d)
    assert {name: tensor.data_ptr() for name, tensor in shared.state_dict().items()} == before


def test_half_precision_stays_half_precision(layers: tuple[nn.BatchNorm2d, SharedBatchNorm2d]) -> None:
    values = torch.randn(4, 5, 3, 3, generator=torch.Generator().manual_seed(1)).bfloat16()
    plain, shared = (layer(values) for layer in layers)
    assert shared.dtype == torch.bfloat16
    torch.testing.assert_close(shared, plain, rtol=0.01, atol=0.02)
