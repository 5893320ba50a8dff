"""An entry point under `torchrun`: rank 0 runs it, the others help it to train."""

import importlib

import torch

from eusml.config import Config
from eusml.errors import ConfigError
from eusml.learning.together import dismiss
from eusml.learning.train import follow
from eusml.ranks import each_has_a_device, together


def run_together(name: str, config: Config) -> None:
    """Run an entry point in rank 0; in the others, take part in its trainings until it ends.

    Raises:
        ConfigError: there are more processes on this machine than CUDA devices, of which each needs one.
    """
    _check_devices(config)
    with together() as ranks:
        if not ranks.leads:
            follow(ranks)
            return
        try:
            importlib.import_module(f"eusml.commands.{name}").run(config)
        finally:
            dismiss(ranks)


def _check_devices(config: Config) -> None:
    devices = torch.cuda.device_count()
    if config.train.device != "cpu" and devices and not each_has_a_device():
        raise ConfigError(
            f"torchrun started more processes on this machine than its {devices} CUDA device(s), and each needs one; "
            f"give --nproc-per-node={devices}, or -P train.device=cpu"
        )
