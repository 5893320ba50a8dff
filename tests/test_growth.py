"""Networks that begin with one block a stage: what is left out is an identity, stays as it was, and joins whole."""

import weakref
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from eusml.config import Arch, TrainConfig
from eusml.learning.batches import LabelledImages
from eusml.learning.epoch import EpochResult
from eusml.learning.growth import GrowingStage, epoch_times, grow, make_growing
from eusml.learning.learner import Learner
from eusml.learning.model import build_network
from eusml.learning.train import fit
from tests.conftest import two_classes

TRAIN = LabelledImages(*two_classes(24, 32, seed=1))
SHALLOW = TrainConfig(shallow_frac=0.5, epochs=4)
LATER = ("layer1.1.", "layer1.2.", "layer2.1.", "layer4.2.")
FROM_THE_START = ("conv1.", "bn1.", "layer1.0.", "layer4.0.", "fc.")


def growing(arch: Arch = "resnet34") -> nn.Module:
    network = build_network(arch, "none", zero_init_residual=True, seed=0)
    make_growing(network)
    return network


class Enough(Exception):
    """Stops a training."""


def state_after(epochs: int, settings: TrainConfig) -> dict[str, torch.Tensor]:
    """Weights after the first epochs of a training that is stopped there."""
    network = build_network("resnet34", "none", zero_init_residual=True, seed=settings.seed)

    def stop(result: EpochResult) -> None:
        if result.epoch == epochs:
            raise Enough

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eusml.learning.train.build_network", lambda *args, **kwargs: network)
        with pytest.raises(Enough):
            fit(TRAIN, None, settings, job="j", on_epoch=stop)
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("arch", ["resnet34", "resnet50"])
def test_leaving_blocks_out_changes_no_bit_of_an_answer(arch: Arch) -> None:
    network, images = growing(arch).eval(), torch.rand(3, 1, 64, 64)
    with torch.inference_mode():
        whole = network(images)
        assert grow(network, SHALLOW, 1)
        assert torch.equal(network(images), whole)
        blocks = [block for stage in network.modules() if isinstance(stage, GrowingStage) for block in stage]
        for weights in blocks[1].parameters():
            nn.init.normal_(weights)
        assert torch.equal(network(images), whole)
        assert grow(network, SHALLOW, 3)
        assert not torch.equal(network(images), whole)


def test_names_and_weights_are_torchvisions() -> None:
    plain = models.resnet34(num_classes=2)
    network = growing()
    assert list(network.state_dict()) == list(plain.state_dict())
    assert sum(1 for _ in network.parameters()) == sum(1 for _ in plain.parameters())


def test_it_is_shallow_for_its_share_of_the_epochs_and_the_last_is_always_whole() -> None:
    def depths(epochs: int, share: float) -> list[int]:
        network = growing()
        settings = TrainConfig(epochs=epochs, shallow_frac=share)
        found = []
        for epoch in range(1, epochs + 1):
            grow(network, settings, epoch)
            found.append(sum(stage.active for stage in network.modules() if isinstance(stage, GrowingStage)))
        return found

    assert depths(4, 0.5) == [4, 4, 16, 16]
    assert depths(4, 0.0) == [16, 16, 16, 16]
    assert depths(5, 0.5) == [4, 4, 16, 16, 16]
    assert depths(3, 0.99) == [4, 4, 16]
    assert depths(1, 0.99) == [16]


def test_it_says_when_the_depth_changes() -> None:
    network = growing()
    assert [grow(network, SHALLOW, epoch) for epoch in (1, 2, 3, 4, 1)] == [True, False, True, False, True]
    assert not grow(growing(), TrainConfig(), 1)


def test_later_blocks_are_left_as_they_were_and_then_learn(tiny_settings: TrainConfig) -> None:
    settings = tiny_settings.model_copy(update={"epochs": 4, "shallow_frac": 0.5})
    start = build_network("resnet34", "none", zero_init_residual=True, seed=settings.seed).state_dict()
    shallow, whole = state_after(2, settings), state_after(3, settings)
    for name, value in shallow.items():
        if name.startswith(LATER):
            assert torch.equal(value, start[name]), name
            assert not torch.equal(value, whole[name]), name
        elif name.startswith(FROM_THE_START):
            assert not torch.equal(value, start[name]), name


def test_all_of_a_grown_network_asks_for_gradients(tiny_settings: TrainConfig) -> None:
    result = fit(TRAIN, None, tiny_settings.model_copy(update={"shallow_frac": 0.5}), job="j")
    assert all(parameter.requires_grad for parameter in result.network.parameters())


@pytest.mark.parametrize("also", [{"weights": "imagenet"}, {"zero_init_residual": False}])
def test_only_blocks_that_start_as_identities_can_join_later(also: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"shallow_frac is 0\.5, but only blocks that start as identities"):
        TrainConfig.model_validate({"shallow_frac": 0.5, **also})
    TrainConfig.model_validate(also)


def test_what_was_captured_of_a_shallow_network_is_let_go_when_it_grows(
    tiny_settings: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    shallow, alive, of = [], [], Learner.of

    def noted(*given: Any) -> Learner:
        learner = of(*given)
        shallow.append(weakref.ref(learner))
        return learner

    monkeypatch.setattr(Learner, "of", noted)
    settings = tiny_settings.model_copy(update={"shallow_frac": 0.5, "epochs": 4})
    fit(TRAIN, None, settings, job="j", on_epoch=lambda _: alive.append(shallow[0]() is not None))
    assert alive == [True, True, False, False]


@pytest.mark.parametrize("share", [1.0, -0.1])
def test_a_share_leaves_epochs_for_the_whole_network(share: float) -> None:
    with pytest.raises(ValueError, match="shallow_frac"):
        TrainConfig(shallow_frac=share)


def test_the_time_left_knows_of_shallow_epochs() -> None:
    times = epoch_times(SHALLOW)
    assert len(times) == 4
    assert times[0] == times[1] < times[2] == times[3] == 1.0
    assert epoch_times(TrainConfig(epochs=2)) == [1.0, 1.0]


def test_a_part_of_a_stage_is_a_stage() -> None:
    stage = growing().get_submodule("layer1")
    assert isinstance(stage, GrowingStage)
    images = torch.rand(1, 64, 8, 8)
    assert torch.equal(stage[:1](images), stage[0](images))
