"""Several processes that train one network, started by the real `torchrun`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eusml.commands import led
from eusml.config import OnlineConfig, TrainConfig, load_config
from eusml.errors import ConfigError, TrainingError
from eusml.learning.batches import LabelledImages
from eusml.learning.together import Task
from eusml.learning.train import _check_ranks, fit
from eusml.ranks import Ranks
from eusml.runtime import Compute
from tests.conftest import two_classes

# Not AdamW, to which gradients of another size are the same.
SETTINGS = TrainConfig(
    epochs=4, batch_size=8, optimizer="sgd", lr=0.01, threads=1, checkpoint_every_s=0.0, device="cpu",
    precision="fp32", online=OnlineConfig(enabled=True), shallow_frac=0.25,
)  # fmt: skip


def trained_by(processes: int, folder: Path, settings: TrainConfig = SETTINGS, killed_in: int = 0) -> dict[str, Any]:
    """What `rank_worker` wrote; rank 1 kills itself in an epoch, unless that is 0."""
    folder.mkdir()
    restarts = min(killed_in, 1)
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", f"--max-restarts={restarts}"]
    worker = ["-m", "tests.rank_worker", str(folder), settings.model_dump_json(), str(killed_in)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *launcher, *worker], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads((folder / "result.json").read_text()))


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return trained_by(2, tmp_path_factory.mktemp("ranks") / "two")


@pytest.mark.slow
def test_two_processes_train_as_one(by_two: dict[str, Any]) -> None:
    """Oracle: the same training in this process. Sums are rounded otherwise, and training makes more of it."""
    train, held_out = LabelledImages(*two_classes(18, 32, seed=1)), LabelledImages(*two_classes(6, 32, seed=2))
    alone = fit(train, held_out, SETTINGS, job="j")
    losses = np.array([[row.train_loss, row.test_loss] for row in alone.history])
    shared = np.array(by_two["curve"])
    np.testing.assert_allclose(shared[0, 1], losses[0, 0], rtol=1e-4)
    np.testing.assert_allclose(shared[:, [1, 3]], losses, rtol=0.02)
    assert shared[:, 0].tolist() == [row.lr for row in alone.history]
    assert by_two["epochs"] == [1, 2, 3, 4]


@pytest.mark.slow
def test_two_processes_repeat_to_the_bit_also_after_one_was_killed(by_two: dict[str, Any], tmp_path: Path) -> None:
    killed = trained_by(2, tmp_path / "killed", killed_in=3)
    assert killed["restarts"] == 1
    assert killed["resumed_after"] == 2
    assert killed["epochs"] == [1, 2, 3, 4]
    assert killed["weights"] == by_two["weights"]
    assert killed["curve"] == by_two["curve"]


@pytest.mark.slow
def test_what_stops_rank_0_stops_the_others(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(
        update={"lr": 10.0, "weight_decay": 1.0, "epochs": 100, "schedule": "cosine", "checkpoint_every_s": 1e6}
    )
    with pytest.raises(AssertionError, match="the loss became"):
        trained_by(2, tmp_path / "diverges", settings)


def test_parts_of_a_batch_make_the_whole_and_differ_by_one_at_most() -> None:
    batch = np.arange(11)
    parts = [Ranks(rank, 4).part(batch) for rank in range(4)]
    assert np.concatenate(parts).tolist() == batch.tolist()
    assert {len(part) for part in parts} == {2, 3}
    assert Ranks().part(batch) is batch


def test_more_processes_than_cuda_devices_are_an_error_unless_the_cpu_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    for devices, device in ((0, "auto"), (2, "cuda"), (1, "cpu")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=devices: count)
        led._check_devices(load_config(None, {"train.device": device}))
    with pytest.raises(
        ConfigError, match=r"more processes .* its 1 CUDA device.*--nproc-per-node=1, or -P train.device=cpu"
    ):
        led._check_devices(load_config(None, {}))


@pytest.mark.parametrize("bf16", [False, True])
def test_the_others_are_told_the_precision_that_rank_0_found(bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks: list[Task] = []
    monkeypatch.setattr("eusml.learning.train.choose_compute", lambda *_: Compute(torch.device("cpu"), bf16))
    monkeypatch.setattr("eusml.learning.train.hand_out", lambda task, _: tasks.append(task))
    settings = SETTINGS.model_copy(update={"precision": "auto", "epochs": 1})
    fit(LabelledImages(*two_classes(8, 32, seed=1)), None, settings, job="j")
    assert [task.settings.precision for task in tasks] == ["bf16" if bf16 else "fp32"]


def test_more_processes_than_a_step_has_images_are_an_error() -> None:
    _check_ranks(Ranks(0, 6), 18, SETTINGS)
    with pytest.raises(TrainingError, match=r"7 processes train together, but a step has only 6 images.*--nproc"):
        _check_ranks(Ranks(0, 7), 18, SETTINGS)
