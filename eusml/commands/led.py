"""An entry point under `torchrun`: rank 0 runs it, the others help it to train."""

import importlib

from eusml.config import Config
from eusml.learning.together import dismiss
from eusml.learning.train import follow
from eusml.ranks import together


def run_together(name: str, config: Config) -> None:
    """Run an entry point in rank 0; in the others, take part in its trainings until it ends."""
    with together() as ranks:
        if not ranks.leads:
            follow(ranks)
            return
        try:
            importlib.import_module(f"eusml.commands.{name}").run(config)
        finally:
            dismiss(ranks)
