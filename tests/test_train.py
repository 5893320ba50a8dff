import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from eusml.config import OnlineConfig, TrainConfig
from eusml.errors import TrainingError
from eusml.learning.batches import (
    LabelledImages,
    Normalisation,
    augment_online,
    drawn_parameters,
    epoch_order,
    to_grey,
)
from eusml.learning.epoch import EpochResult
from eusml.learning.recalibrate import recalibrate
from eusml.learning.schedule import learning_rate
from eusml.learning.step import TrainingStep
from eusml.learning.train import _memory_is_enough, fit
from eusml.ranks import Ranks
from eusml.runtime import Compute, make_deterministic
from tests.conftest import two_classes

pytestmark = pytest.mark.usefixtures("half_the_weights")
TRAIN = LabelledImages(*two_classes(24, 32, seed=1))
TEST = LabelledImages(*two_classes(10, 32, seed=2))


def test_it_learns_what_can_be_learnt(tiny_settings: TrainConfig) -> None:
    settings = tiny_settings.model_copy(update={"epochs": 12, "online": OnlineConfig()})
    result = fit(TRAIN, TEST, settings, job="j")
    assert result.history[-1].train_accuracy == 1.0
    assert result.history[-1].test_accuracy == 1.0
    assert result.history[-1].train_loss < result.history[0].train_loss / 2


def test_the_same_settings_give_the_same_bits_and_another_seed_does_not(tiny_settings: TrainConfig) -> None:
    def weights(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(np.random.default_rng().integers(1000))  # global state must not matter
        return fit(TRAIN, TEST, tiny_settings.model_copy(update={"seed": seed}), job="j").network.state_dict()

    first, second, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_the_test_partition_is_only_looked_at(tiny_settings: TrainConfig) -> None:
    """Wrong labels on the held-out cases change no weight; they do change the curve."""
    wrong = replace(TEST, y_true=1 - TEST.y_true)
    right_result, wrong_result = fit(TRAIN, TEST, tiny_settings, job="j"), fit(TRAIN, wrong, tiny_settings, job="j")
    a, b = right_result.network.state_dict(), wrong_result.network.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert right_result.history[-1].test_accuracy == pytest.approx(1 - wrong_result.history[-1].test_accuracy)


def test_history_has_every_epoch_once_and_on_epoch_sees_it(tiny_settings: TrainConfig) -> None:
    seen: list[EpochResult] = []
    result = fit(TRAIN, TEST, tiny_settings, job="j", on_epoch=seen.append)
    assert tuple(seen) == result.history
    assert [row.epoch for row in seen] == [1, 2, 3]


def test_non_finite_loss_stops_and_names_the_step(tiny_settings: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    step = TrainingStep.__call__
    calls = []

    def broken(*args: Any) -> torch.Tensor:
        calls.append(1)
        figures = step(*args)
        return figures * math.nan if len(calls) == 5 else figures

    monkeypatch.setattr(TrainingStep, "__call__", broken)
    with pytest.raises(TrainingError, match=r"nan at step 5 \(epoch 2, .*train\.lr"):
        fit(TRAIN, TEST, tiny_settings, job="j")


def test_a_device_that_is_too_small_is_named_with_what_to_change(
    tiny_settings: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(TrainingStep, "__call__", full)
    with pytest.raises(TrainingError, match=r"resnet34 with batches of 8 images of 32 x 32 .*batch_size.*2\.00 GiB"):
        fit(TRAIN, TEST, tiny_settings, job="j")


def test_want_of_memory_is_told_behind_the_end_of_a_capture_and_by_one_of_several_not_at_all(
    tiny_settings: TrainConfig,
) -> None:
    def captured() -> None:
        try:
            raise torch.OutOfMemoryError("2.00 GiB")
        finally:
            raise RuntimeError("capturing stream has unjoined work")

    with pytest.raises(TrainingError, match="too little memory"), _memory_is_enough(tiny_settings, TRAIN, Ranks()):
        captured()
    with pytest.raises(RuntimeError, match="unjoined"), _memory_is_enough(tiny_settings, TRAIN, Ranks(1, 2)):
        captured()
    with pytest.raises(RuntimeError, match="another"), _memory_is_enough(tiny_settings, TRAIN, Ranks()):
        raise RuntimeError("another")


def test_an_absurd_learning_rate_really_diverges(tiny_settings: TrainConfig) -> None:
    settings = tiny_settings.model_copy(
        update={"optimizer": "sgd", "lr": 10.0, "weight_decay": 1.0, "epochs": 60, "schedule": "cosine"}
    )
    with pytest.raises(TrainingError, match="the loss became"):
        fit(TRAIN, TEST, settings, job="j")


def test_one_class_cannot_be_trained_on(tiny_settings: TrainConfig) -> None:
    with pytest.raises(TrainingError, match="one class only"):
        fit(replace(TRAIN, y_true=np.zeros(24, np.int64)), TEST, tiny_settings, job="j")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_asking_for_cuda_without_one_is_an_error(tiny_settings: TrainConfig) -> None:
    with pytest.raises(TrainingError, match="no CUDA device"):
        fit(TRAIN, TEST, tiny_settings.model_copy(update={"device": "cuda"}), job="j")


def test_batch_statistics_are_measured_anew_in_the_trainings_precision(tiny_settings: TrainConfig) -> None:
    settings = tiny_settings.model_copy(update={"precision": "bf16"})
    result = fit(TRAIN, None, settings, job="j")
    found = [buffer.clone() for name, buffer in result.network.named_buffers() if "running" in name]
    exact = Compute(torch.device("cpu"), bf16=False)
    recalibrate(result.network, TRAIN, result.normalisation, settings, exact)
    expected = [buffer for name, buffer in result.network.named_buffers() if "running" in name]
    assert not all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() < 0.05 * other.norm() + 1e-3


def test_one_cycle_is_torchs() -> None:
    """Oracle: torch's OneCycleLR with the same divisors."""
    settings = TrainConfig(lr=0.01, warmup_frac=0.25)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.01)
    total = 100
    # torch counts the warm-up's last step as its end, and its final divisor from the start value.
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.01, total_steps=total, pct_start=26 / total, div_factor=25, final_div_factor=1e4 / 25,
        cycle_momentum=False,
    )  # fmt: skip
    for step in range(total):
        assert learning_rate(settings, step, total) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
        optimizer.step()
        scheduler.step() if step < total - 1 else None


def test_cosine_starts_at_the_top_and_ends_near_zero() -> None:
    settings = TrainConfig(lr=0.01, schedule="cosine")
    rates = [learning_rate(settings, step, 50) for step in range(50)]
    assert rates[0] == 0.01
    assert rates[-1] == pytest.approx(1e-6)
    assert rates == sorted(rates, reverse=True)
    assert learning_rate(settings, 0, 1) == 0.01


@pytest.mark.parametrize(("count", "batch_size"), [(678, 32), (113, 16), (113, 112), (5, 32), (33, 32)])
def test_every_sample_stands_in_an_epoch_once_and_no_batch_is_a_single_image(count: int, batch_size: int) -> None:
    batches = epoch_order(0, 1, count, batch_size)
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))
    sizes = [len(batch) for batch in batches]
    assert len(sizes) == math.ceil(count / batch_size)
    assert 2 <= min(sizes) <= max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


def test_order_is_a_pure_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(epoch_order(seed, epoch, 50, 8)).tolist()

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)


def test_a_sample_is_augmented_the_same_in_whatever_batch_it_stands() -> None:
    # Every image gets a constant grey of its own, so that it can be found again in its batch.
    images = torch.arange(24, dtype=torch.uint8).mul(10).view(-1, 1, 1, 1).expand(24, 1, 32, 32)
    online = OnlineConfig(enabled=True, gamma_frac=0.5)

    def greys(batch_size: int) -> list[float]:
        order = epoch_order(0, 1, 24, batch_size)
        drawn = drawn_parameters(0, 1, 24, order, online, torch.device("cpu"))
        batches = [augment_online(to_grey(images[rows]), row) for rows, row in zip(order, drawn, strict=True)]
        return sorted(grey[i, 0, 16, 16].item() for grey in batches for i in range(len(grey)))

    assert greys(4) == pytest.approx(greys(24), abs=1e-7)


class TestOnlineResampling:
    image = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))

    def moved(self, **changes: float) -> torch.Tensor:
        row = {
            "angle": 0.0, "flip": 1.0, "scale": 1.0, "x": 0.0, "y": 0.0,
            "gamma": 1.0, "contrast": 1.0, "brightness": 0.0, "tilt_x": 0.0, "tilt_y": 0.0,
        } | changes  # fmt: skip
        return augment_online(self.image, torch.tensor([list(row.values())]))

    def test_nothing_drawn_changes_nothing(self) -> None:
        torch.testing.assert_close(self.moved(), self.image)

    def test_flip_mirrors(self) -> None:
        torch.testing.assert_close(self.moved(flip=-1.0), self.image.flip(3))

    def test_quarter_turns(self) -> None:
        quarter = self.moved(angle=math.pi / 2)
        turned = [self.image.rot90(k, (2, 3)) for k in (1, 3)]
        assert any(torch.allclose(quarter, candidate, atol=1e-4) for candidate in turned)

    def test_shift_moves_by_a_fraction_of_the_side(self) -> None:
        torch.testing.assert_close(self.moved(x=0.25)[..., :24], self.image[..., 8:], atol=1e-4, rtol=0)

    def test_gamma(self) -> None:
        torch.testing.assert_close(self.moved(gamma=2.0), self.image**2)

    def test_contrast_stretches_about_the_mean(self) -> None:
        grey = 0.25 + self.image / 2
        row = torch.tensor([[0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.5, 0.0, 0.0, 0.0]])
        halved = augment_online(grey, row)
        torch.testing.assert_close(halved, grey.mean() + (grey - grey.mean()) / 2, atol=1e-4, rtol=0)

    def test_brightness_is_added_and_cut_to_what_there_is(self) -> None:
        torch.testing.assert_close(self.moved(brightness=0.3), (self.image + 0.3).clamp(0, 1))
        torch.testing.assert_close(self.moved(brightness=-0.3), (self.image - 0.3).clamp(0, 1))

    def test_tilt_rises_from_one_edge_to_the_other(self) -> None:
        row = torch.tensor([[0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.2, -0.1]])
        tilted = augment_online(torch.full((1, 1, 32, 32), 0.5), row)[0, 0] - 0.5
        across = (torch.arange(32) + 0.5) / 16 - 1
        torch.testing.assert_close(tilted, 0.2 * across[None, :] - 0.1 * across[:, None], atol=1e-6, rtol=0)

    def test_what_is_not_asked_for_changes_no_bit(self) -> None:
        plain = self.moved(gamma=1.3, angle=0.4)
        assert torch.equal(plain, self.moved(gamma=1.3, angle=0.4, tilt_x=0.0, contrast=1.0))
        assert not torch.equal(plain, self.moved(gamma=1.3, angle=0.4, contrast=1.01))

    def test_scale_above_one_enlarges(self) -> None:
        centre = torch.zeros(1, 1, 32, 32)
        centre[..., 12:20, 12:20] = 1
        row = torch.tensor([[0.0, 1.0, 1.5, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]])
        assert augment_online(centre, row).sum() == pytest.approx(64 * 1.5**2, rel=0.05)


def test_normalisation_gives_mean_zero_and_deviation_one() -> None:
    normal = Normalisation.of_images(TRAIN)
    values = normal(to_grey(torch.from_numpy(TRAIN.images).unsqueeze(1)))
    assert values.mean().item() == pytest.approx(0, abs=1e-5)
    assert values.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    assert Normalisation.of_images(LabelledImages(np.zeros((2, 8, 8), np.uint8), np.array([0, 1]))).std == (1 / 255,)


def test_a_number_of_threads_is_that_of_one_training_alone() -> None:
    make_deterministic(None)
    usual = torch.get_num_threads()
    make_deterministic(usual + 2)
    assert torch.get_num_threads() == usual + 2
    make_deterministic(None)
    assert torch.get_num_threads() == usual
