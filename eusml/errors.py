"""Errors meant for the person at the keyboard: what was found, where, what was expected, what to do.

Our own invariants are `assert`s; anything a user can cause is one of these, but for a full disk, which any write may
meet.
"""

import errno


class EusmlError(ValueError):
    """Base of every error a user can cause; `python -m eusml` prints it without a traceback.

    `exit_code` is the process's exit status when the error ends it.
    """

    exit_code = 2


class ConfigError(EusmlError):
    """A setting is unknown, of the wrong type or out of its range."""


class DataError(EusmlError):
    """An image, a manifest or a folder is not what it should be."""


class UnreadError(DataError):
    """The system did not give a file or the memory for it: its content is not at fault, and the next try may do."""


class PrivateDataError(DataError):
    """A `DataError` whose text may name patients: the person at the keyboard sees it, and no store keeps it."""


class LeakageError(DataError):
    """One case or patient would stand on both sides of a split."""


class TrainingError(EusmlError):
    """Training cannot go on: a non-finite loss, a device or initial weights that cannot be had."""


class TuningError(EusmlError):
    """A study cannot be reached or continued, or has nothing to offer."""


class CheckpointError(EusmlError):
    """A saved training state or model is incomplete, damaged or belongs to another job."""


class TrackingError(EusmlError):
    """The MLflow store cannot be reached or does not hold what was asked for."""


class PromotionError(EusmlError):
    """No model may be promoted, or none can be chosen honestly."""

    exit_code = 3


_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_IN_WORDS = ("No space left on device", "Disk quota exceeded", "database or disk is full")
"""As the system and SQLite put it, for MLflow passes on the words alone."""


def full_disk(error: BaseException | None) -> BaseException | None:
    """The error, or the one that it came from, that says that a disk or one's share of it is full; None otherwise."""
    while error is not None:
        numbered = isinstance(error, OSError) and error.errno in _FULL
        if numbered or any(words in str(error) for words in _FULL_IN_WORDS):
            return error
        error = error.__cause__ or error.__context__
    return None
