"""Trains a small network as one of the processes that `torchrun` starts; rank 0 writes what came of it.

Arguments: folder, settings as JSON, and the epoch in the middle of which rank 1 is to kill itself, once, or 0.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from eusml.config import TrainConfig
from eusml.learning.batches import LabelledImages
from eusml.learning.step import TrainingStep
from eusml.learning.together import dismiss
from eusml.learning.train import fit, follow
from eusml.ranks import together
from tests.conftest import two_classes, weights_sha256


def main(folder: Path, settings: TrainConfig, killed_in: int) -> None:
    train, held_out = LabelledImages(*two_classes(18, 32, seed=1)), LabelledImages(*two_classes(6, 32, seed=2))
    restarts = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    with together() as ranks:
        if not ranks.leads:
            if killed_in and not restarts:
                _die_in_an_epoch(killed_in)
            follow(ranks)
            return
        seen: list[int] = []
        state = folder / "state.pt"
        result = fit(train, held_out, settings, job="j", state_path=state, on_epoch=lambda row: seen.append(row.epoch))
        dismiss(ranks)
    curve = [[row.lr, row.train_loss, row.train_accuracy, row.test_loss, row.test_accuracy] for row in result.history]
    found = {
        "restarts": restarts,
        "resumed_after": result.resumed_after,
        "epochs": seen,
        "curve": curve,
        "weights": weights_sha256(result.network),
    }
    (folder / "result.json").write_text(json.dumps(found))


def _die_in_an_epoch(number: int) -> None:
    step = TrainingStep.__call__
    steps = 0

    def watched(*args: Any, **kwargs: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 3 * number - 1:  # an epoch has three steps
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*args, **kwargs)

    TrainingStep.__call__ = watched


if __name__ == "__main__":
    main(Path(sys.argv[1]), TrainConfig.model_validate_json(sys.argv[2]), int(sys.argv[3]))
