import hashlib
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from eusml.config import TrainConfig
from eusml.errors import CheckpointError
from eusml.learning.batches import LabelledImages
from eusml.learning.checkpoint import TrainingState, load_state, save_state
from eusml.learning.epoch import EpochResult
from eusml.learning.train import fit
from tests.conftest import two_classes

pytestmark = pytest.mark.usefixtures("half_the_weights")
TRAIN = LabelledImages(*two_classes(24, 32, seed=1))
TEST = LabelledImages(*two_classes(6, 32, seed=2))


class Stop(Exception):
    """Ends a training as a kill would, right after an epoch was saved."""


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where states are kept that several tests begin with."""
    return tmp_path_factory.mktemp("states")


def stopped_after_first_epoch(settings: TrainConfig, states: Path, path: Path) -> TrainingState:
    """What a training left at the path; trained once for the same settings."""
    kept = states / f"{hashlib.sha256(settings.model_dump_json().encode()).hexdigest()}.pt"

    def stop(_: EpochResult) -> None:
        raise Stop

    if not kept.exists():
        with pytest.raises(Stop):
            fit(TRAIN, TEST, settings, job="job", state_path=kept, on_epoch=stop)
    shutil.copyfile(kept, path)
    state = load_state(path, "job")
    assert state is not None
    assert state.epochs_done == 1
    return state


def weights(settings: TrainConfig, path: Path) -> dict[str, torch.Tensor]:
    return fit(TRAIN, TEST, settings, job="job", state_path=path).network.state_dict()


@cache
def undisturbed_weights(settings: str) -> dict[str, torch.Tensor]:
    parsed = TrainConfig.model_validate_json(settings)
    return fit(TRAIN, TEST, parsed, job="job").network.state_dict()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_resumed_training_ends_with_the_same_bits(
    tiny_settings: TrainConfig, states: Path, tmp_path: Path, optimizer: str
) -> None:
    settings = tiny_settings.model_copy(update={"optimizer": optimizer})
    stopped_after_first_epoch(settings, states, tmp_path / "s.pt")
    assert equal(weights(settings, tmp_path / "s.pt"), undisturbed_weights(settings.model_dump_json()))


def without_parameters(state: TrainingState) -> TrainingState:
    fresh = {k: torch.zeros_like(v) if k.endswith("weight") else v for k, v in state.network.items()}
    return replace(state, network=fresh)


def without_running_statistics(state: TrainingState) -> TrainingState:
    reset = {k: torch.zeros_like(v) if "running" in k else v for k, v in state.network.items()}
    return replace(state, network=reset)


def without_moments(state: TrainingState) -> TrainingState:
    forgotten: list[list[torch.Tensor]] = [[] for _ in state.optimizer["moments"]]
    return replace(state, optimizer={**state.optimizer, "moments": forgotten})


def without_counts(state: TrainingState) -> TrainingState:
    forgotten = [torch.zeros_like(steps) for steps in state.optimizer["steps"]]
    return replace(state, optimizer={**state.optimizer, "steps": forgotten})


def without_epoch(state: TrainingState) -> TrainingState:
    return replace(state, epochs_done=0, history=[])


@pytest.mark.parametrize(
    "forget",
    [without_parameters, without_running_statistics, without_moments, without_counts, without_epoch],
    ids=lambda f: f.__name__,
)
def test_every_piece_of_the_state_matters(
    forget: Any, tiny_settings: TrainConfig, states: Path, tmp_path: Path
) -> None:
    # Recalibrated at the end, the running statistics would matter to the curve of the test partition alone.
    settings = tiny_settings.model_copy(update={"recalibrate": False})
    path = tmp_path / "s.pt"
    save_state(forget(stopped_after_first_epoch(settings, states, path)), path)
    assert not equal(weights(settings, path), undisturbed_weights(settings.model_dump_json()))


@pytest.mark.parametrize("piece", ["job", "epochs_done", "network", "optimizer", "history", "version"])
def test_a_state_that_lacks_a_piece_is_refused_by_name(
    piece: str, tiny_settings: TrainConfig, states: Path, tmp_path: Path
) -> None:
    path = tmp_path / "s.pt"
    stopped_after_first_epoch(tiny_settings, states, path)
    saved = torch.load(path, weights_only=True)
    del saved[piece]
    torch.save(saved, path)
    with pytest.raises(CheckpointError, match=rf"s\.pt lacks {piece}"):
        fit(TRAIN, TEST, tiny_settings, job="job", state_path=path)


def test_a_state_of_another_job_is_refused(tiny_settings: TrainConfig, states: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.pt"
    stopped_after_first_epoch(tiny_settings, states, path)
    with pytest.raises(CheckpointError, match="belongs to another job"):
        fit(TRAIN, TEST, tiny_settings, job="other", state_path=path)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"x" * 100, lambda b: b[:-30]])
def test_a_damaged_state_is_refused(damage: Any, tiny_settings: TrainConfig, states: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.pt"
    stopped_after_first_epoch(tiny_settings, states, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"s\.pt"):
        fit(TRAIN, TEST, tiny_settings, job="job", state_path=path)


def test_no_state_is_no_error(tmp_path: Path) -> None:
    assert load_state(tmp_path / "none.pt", "job") is None
