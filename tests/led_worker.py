"""One of the processes that `torchrun` starts: an entry point whose training fails in rank 0 alone, within a step."""

import os
import sys
import types
from typing import Any

from eusml.commands.led import run_together
from eusml.config import Config, load_config
from eusml.learning.batches import LabelledImages
from eusml.learning.step import TrainingStep
from eusml.learning.train import fit
from tests.conftest import two_classes


def run(config: Config) -> None:
    fit(LabelledImages(*two_classes(18, 32, seed=1)), None, config.train, job="j")


def fail(*_: Any, **__: Any) -> Any:
    raise RuntimeError("only here")


if __name__ == "__main__":
    entry = types.ModuleType("eusml.commands.made_up")
    entry.run = run  # type: ignore[attr-defined]
    sys.modules[entry.__name__] = entry
    if os.environ["RANK"] == "0":
        TrainingStep.__call__ = fail  # type: ignore[method-assign]
    run_together("made_up", load_config(None, {"train.device": "cpu", "train.batch_size": "8"}))
