"""An entry point under `torchrun`: rank 0 runs it, the others help it to train."""

import importlib
import os
from contextlib import suppress

import torch

from eusml.config import Config
from eusml.data.parallel import cores
from eusml.errors import ConfigError, EusmlError
from eusml.learning.together import dismiss
from eusml.learning.train import follow
from eusml.ranks import each_has_a_device, together


def run_together(name: str, config: Config) -> None:
    """Run an entry point in rank 0; in the others, take part in its trainings until it ends.

    Raises:
        ConfigError: there are more processes on this machine than CUDA devices, of which each needs one.
    """
    _check_devices(config)
    _share_cores()
    with together() as ranks:
        if not ranks.leads:
            follow(ranks)
            return
        try:
            importlib.import_module(f"eusml.commands.{name}").run(config)
        except EusmlError:
            with suppress(RuntimeError):  # they may have died of it
                dismiss(ranks)
            raise
        # Any other error may have come up within a step, where the others wait for a sum and not for a farewell. This
        # process dies of it then, and torchrun ends them.
        dismiss(ranks)


def _share_cores() -> None:
    """Each of several processes has its share; torchrun lets it have one thread, unless somebody said how many."""
    processes = int(os.environ["LOCAL_WORLD_SIZE"])
    if processes > 1 and os.environ.get("OMP_NUM_THREADS", "1") == "1":
        torch.set_num_threads(max(cores() // processes, 1))


def _check_devices(config: Config) -> None:
    devices = torch.cuda.device_count()
    if config.train.device != "cpu" and devices and not each_has_a_device():
        raise ConfigError(
            f"torchrun started more processes on this machine than its {devices} CUDA device(s), and each needs one; "
            f"give --nproc-per-node={devices}, or -P train.device=cpu"
        )
