"""Training on a CUDA device: captured steps, fused kernels, and that neither changes what is learnt."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from eusml.config import TrainConfig
from eusml.learning import learner as module
from eusml.learning.batches import LabelledImages
from eusml.learning.epoch import EpochResult
from eusml.learning.fused.norm import normalised
from eusml.learning.fused.twin import FusedTwin
from eusml.learning.learner import fuses
from eusml.learning.step import TrainingStep
from eusml.learning.train import FitResult, fit
from eusml.runtime import choose_compute
from tests.conftest import two_classes

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

TRAIN = LabelledImages(*two_classes(27, 48, seed=1))
"""Four batches of 7, 7, 7 and 6: of two sizes, each captured."""
TEST = LabelledImages(*two_classes(10, 48, seed=2))


@pytest.fixture
def settings(tiny_settings: TrainConfig) -> TrainConfig:
    return tiny_settings.model_copy(update={"device": "cuda"})


def trained(settings: TrainConfig, **changes: Any) -> FitResult:
    return fit(TRAIN, TEST, settings.model_copy(update=changes), job="j")


def same(one: FitResult, other: FitResult) -> bool:
    left, right = one.network.state_dict(), other.network.state_dict()
    return all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[TrainingStep]:
    """The steps that Python made itself."""
    made: list[TrainingStep] = []
    step = TrainingStep.__call__

    def noted(self: TrainingStep, *args: Any) -> torch.Tensor:
        made.append(self)
        return step(self, *args)

    monkeypatch.setattr(TrainingStep, "__call__", noted)
    return made


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_training_repeats_to_the_bit(settings: TrainConfig, precision: str, optimizer: str) -> None:
    changes = {"precision": precision, "optimizer": optimizer, "dropout": 0.3}
    assert same(trained(settings, **changes), trained(settings, **changes))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("kernels", ["auto", "torch"])
def test_captured_steps_are_the_plain_ones_to_the_bit(
    settings: TrainConfig, monkeypatch: pytest.MonkeyPatch, precision: str, optimizer: str, kernels: str
) -> None:
    changes = {
        "precision": precision,
        "optimizer": optimizer,
        "kernels": kernels,
        "dropout": 0.3,
        "epochs": 6,
        "shallow_frac": 0.5,
    }
    captured = trained(settings, **changes)
    monkeypatch.setattr(module, "Captured", lambda function, _: function)
    assert same(captured, trained(settings, **changes))


def test_a_step_is_captured_once_per_batch_size_and_depth(settings: TrainConfig, steps: list[TrainingStep]) -> None:
    trained(settings, epochs=6, shallow_frac=0.5)
    # Two sizes at two depths, each made once as it stands and once under capture.
    assert len(steps) == 8
    assert len({id(step) for step in steps}) == 2


def test_fused_kernels_are_taken_in_bf16_and_learn_the_same(settings: TrainConfig, steps: list[TrainingStep]) -> None:
    compute = choose_compute("cuda", "bf16")
    assert fuses(settings, compute), "Triton or a C compiler is missing here"
    ours = trained(settings, precision="bf16")
    assert all(isinstance(step.stepped, FusedTwin) for step in steps)
    steps.clear()
    theirs = trained(settings, precision="bf16", kernels="torch")
    assert not any(isinstance(step.stepped, FusedTwin) for step in steps)
    exact = trained(settings, precision="fp32")
    for one, two, three in zip(ours.history, theirs.history, exact.history, strict=True):
        assert one.train_loss == pytest.approx(three.train_loss, rel=0.05)
        assert two.train_loss == pytest.approx(three.train_loss, rel=0.05)


@pytest.mark.parametrize("arch", ["resnet34", "resnet50"])
def test_a_fused_steps_gradients_are_as_near_to_fp32_as_torchs(settings: TrainConfig, arch: str) -> None:
    """One step of SGD changes each weight by its gradient; in fp32 nothing is fused."""

    def change(precision: str, kernels: str) -> torch.Tensor:
        changes = {"arch": arch, "precision": precision, "kernels": kernels, "recalibrate": False, "epochs": 1}
        free = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "batch_size": 54, "zero_init_residual": False}
        after, before = (trained(settings, lr=lr, **changes, **free).network for lr in (1e-2, 1e-9))
        pairs = zip(after.parameters(), before.parameters(), strict=True)
        return torch.cat([(one - other).detach().flatten() for one, other in pairs])

    exact, torchs, ours = change("fp32", "torch"), change("bf16", "torch"), change("bf16", "auto")
    assert (ours - exact).norm() < 1.1 * (torchs - exact).norm()
    assert (ours - torchs).norm() < 1.5 * (torchs - exact).norm()


def test_a_map_of_more_rows_than_a_devices_second_dimension_counts_tiles_is_normalised_to_the_last() -> None:
    drawn = torch.randn(1, 64, 2049, 2049, device="cuda", dtype=torch.bfloat16)
    x = drawn.contiguous(memory_format=torch.channels_last)
    ours = normalised(x, nn.BatchNorm2d(64, device="cuda"), relu=False)
    theirs = functional.batch_norm(x.float(), None, None, training=True)
    assert (ours.float() - theirs).abs().max() < 0.05


def test_a_killed_training_goes_on_to_the_bit(settings: TrainConfig, tmp_path: Path) -> None:
    changes = {"precision": "bf16", "dropout": 0.3, "epochs": 5}
    whole = trained(settings, **changes)

    def killed(result: EpochResult) -> None:
        if result.epoch == 2:
            raise KeyboardInterrupt

    arguments = settings.model_copy(update=changes)
    with pytest.raises(KeyboardInterrupt):
        fit(TRAIN, TEST, arguments, job="j", state_path=tmp_path / "s.pt", on_epoch=killed)
    resumed = fit(TRAIN, TEST, arguments, job="j", state_path=tmp_path / "s.pt")
    assert resumed.resumed_after == 2
    assert same(whole, resumed)
    assert [row.train_loss for row in whole.history] == [row.train_loss for row in resumed.history]


def test_where_images_lie_changes_no_bit(settings: TrainConfig) -> None:
    assert same(trained(settings, resident_mib=0), trained(settings))


def test_the_cpu_learns_the_same(settings: TrainConfig) -> None:
    there, here = trained(settings, precision="fp32"), trained(settings, precision="fp32", device="cpu")
    assert there.history[0].train_loss == pytest.approx(here.history[0].train_loss, rel=0.01)


def test_captured_steps_hold_their_memory_once(settings: TrainConfig) -> None:
    torch.cuda.empty_cache()
    trained(settings)
    before = torch.cuda.memory_allocated()
    trained(settings)
    assert torch.cuda.memory_allocated() <= before + 2**20
