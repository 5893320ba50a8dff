"""Which processes that work in a folder are alive: each holds a lock, which the system gives back however it dies."""

import hashlib
import platform
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout


@dataclass(frozen=True)
class Worker:
    """One process."""

    folder: Path
    """Where the workers of this folder and machine hold their locks."""
    number: str
    """Random."""

    @property
    def place(self) -> str:
        """Tells this folder from all others, on this machine and elsewhere, without naming it."""
        return hashlib.sha256(f"{platform.node()}:{self.folder.resolve()}".encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """Of this process, among all anywhere."""
        return f"{self.place}/{self.number}"

    def is_gone(self, name: str) -> bool | None:
        """Whether the worker of that name has ended; None for one of another place, who cannot be asked."""
        place, _, number = name.partition("/")
        if place != self.place:
            return None
        if number == self.number:
            return False
        file = self.folder / f"{number}.lock"
        lock = FileLock(file, timeout=0)
        try:
            with lock:
                file.unlink(missing_ok=True)  # nobody is ever called so again
        except Timeout:
            return False
        return True


@contextmanager
def working(folder: Path) -> Iterator[Worker]:
    """Be a worker of this folder (made if absent) as long as the block lasts."""
    folder.mkdir(parents=True, exist_ok=True)
    worker = Worker(folder, uuid.uuid4().hex[:16])
    lock = FileLock(folder / f"{worker.number}.lock")
    try:
        with lock:
            yield worker
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
