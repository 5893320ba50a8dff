"""Trains small networks and dies at chosen moments; `test_crash.py` runs it in a process of its own.

Every moment is a call into the system or a step of the training; the process sends itself SIGKILL at the k-th one,
so that no handler, `finally` or buffer of ours can help.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from eusml import files
from eusml.config import OnlineConfig, TrainConfig
from eusml.learning import checkpoint, epoch, train
from eusml.learning.batches import LabelledImages
from eusml.learning.step import TrainingStep
from eusml.learning.torchvision_resnet import torchvision_resnet
from tests.conftest import two_classes, weights_sha256

SETTINGS = TrainConfig(
    epochs=2, batch_size=8, threads=1, checkpoint_every_s=0.0, device="cpu", online=OnlineConfig(enabled=True),
    shallow_frac=0.5,
)  # fmt: skip
# Half the weights to draw, step and save, in stages of several blocks all the same.
torchvision_resnet().resnet34 = torchvision_resnet().resnet18  # type: ignore[attr-defined]
MOMENTS = ("step", "torch.save", "os.fsync", "os.replace", "replaced", "epoch")


class Killer:
    """Counts moments and ends the process at one of them."""

    def __init__(self, at: int | None) -> None:
        self.at = at
        self.seen: list[str] = []

    def moment(self, name: str) -> None:
        if len(self.seen) == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen.append(name)

    def before(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.moment(name)
            return function(*args, **kwargs)

        return wrapped

    def torn_save(self, save: Callable[..., Any]) -> Callable[..., Any]:
        """Dies with half of the file written."""

        def wrapped(state: Any, file: Any) -> None:
            save(state, file)
            if len(self.seen) == self.at:
                file.truncate(file.tell() // 2)
                file.flush()
            self.moment("torch.save")

        return wrapped

    def replaced(self, replace: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any) -> None:
            self.moment("os.replace")
            replace(*args)
            self.moment("replaced")

        return wrapped


def run(state_path: Path, result_path: Path, at: int | None) -> None:
    """Train in this process, which may not live to see the end."""
    killer = Killer(at)
    TrainingStep.__call__ = killer.before("step", TrainingStep.__call__)
    checkpoint.torch.save = killer.torn_save(torch.save)
    # What reached the system outlives the process: to wait for the disk would make no difference but in time.
    files.os.fsync = killer.before("os.fsync", lambda _: None)
    files.os.replace = killer.replaced(os.replace)
    images, y_true = two_classes(16, 32, seed=1)
    held_out = LabelledImages(*two_classes(6, 32, seed=2))
    epochs: list[int] = []

    def on_epoch(result: epoch.EpochResult) -> None:
        killer.moment("epoch")
        epochs.append(result.epoch)

    result = train.fit(
        LabelledImages(images, y_true), held_out, SETTINGS, job="j", state_path=state_path, on_epoch=on_epoch
    )
    history = [[row.epoch, row.lr, row.train_loss, row.test_loss] for row in result.history]
    weights = weights_sha256(result.network)
    found = {"weights": weights, "history": history, "epochs": epochs, "moments": killer.seen}
    result_path.write_text(json.dumps(found))


def in_child(state_path: Path, result_path: Path, at: int | None) -> int:
    """Fork, train there, and return the wait status: 9 for a kill, 0 for an end."""
    pid = os.fork()
    if pid == 0:
        try:
            run(state_path, result_path, at)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def main(folder: Path) -> None:
    """Once undisturbed, then killed at every k-th moment and started again, until all have been tried."""
    assert in_child(folder / "whole.pt", folder / "whole.json", None) == 0
    whole = json.loads((folder / "whole.json").read_text())
    points = []
    for at in range(len(whole["moments"])):
        state_path, result_path = folder / f"{at}.pt", folder / f"{at}.json"
        killed = in_child(state_path, result_path, at)
        ended = in_child(state_path, result_path, None)
        again = json.loads(result_path.read_text())
        points.append(
            {
                "moment": whole["moments"][at],
                "killed": killed,
                "ended": ended,
                "weights_equal": again["weights"] == whole["weights"],
                "history_equal": again["history"] == whole["history"],
                "epochs": again["epochs"],
            }
        )
        state_path.unlink()
        result_path.unlink()
    print(json.dumps(points))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
