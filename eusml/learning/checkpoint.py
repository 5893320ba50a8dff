"""A training state on disk: whole or absent, and refused when it belongs to another job.

The order of samples, the augmentation and the learning rate are pure functions of seed and step, so the state
is no more than the weights, the optimiser's moments, how many epochs are done and what they measured.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from eusml.errors import CheckpointError
from eusml.files import written_whole

_VERSION = 1


@dataclass(frozen=True)
class TrainingState:
    """Everything that the next epoch depends on."""

    job: str
    """Fingerprint of data, settings and code; another job's state must never be continued."""
    epochs_done: int
    network: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    history: list[dict[str, Any]]
    """One row per finished epoch, as `EpochResult` holds it."""


def save_state(state: TrainingState, path: Path) -> None:
    """Replace the file at `path` in one step: a kill at any moment leaves the old state or the new one."""
    with written_whole(path) as file:
        torch.save({"version": _VERSION, **vars(state)}, file)


def load_state(path: Path, job: str) -> TrainingState | None:
    """The saved state of this job, or None when there is none.

    Raises:
        CheckpointError: the file is damaged, lacks a piece or belongs to another job.
    """
    if not path.exists():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, zipfile.BadZipFile, ValueError) as error:
        raise CheckpointError(f"training state {path} is damaged ({error}); delete it to start again") from None
    except Exception as error:  # the restricted unpickler raises its own kinds
        raise CheckpointError(f"training state {path} cannot be read ({error}); delete it to start again") from None
    expected = {"version", *TrainingState.__dataclass_fields__}
    found = set(saved) if isinstance(saved, dict) else set()
    if found != expected or saved["version"] != _VERSION:
        lacking = ", ".join(sorted(expected - found)) or "nothing, but its version differs"
        raise CheckpointError(f"training state {path} lacks {lacking}; delete it to start again")
    del saved["version"]
    state = TrainingState(**saved)
    if state.job != job:
        raise CheckpointError(f"training state {path} belongs to another job ({state.job[:12]}, this is {job[:12]})")
    if len(state.history) != state.epochs_done:
        raise CheckpointError(
            f"training state {path} has {state.epochs_done} epochs but {len(state.history)} measured; delete it"
        )
    return state
