"""Numbers per epoch on their way to the store."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlflow.entities import Metric

from eusml.tracking.store import client

_FLUSH_EVERY_S = 5.0
_LIMIT = 1000
"""MLflow takes no more in one call."""


@dataclass
class Curve:
    """Numbers per epoch, written in batches so that logging costs next to nothing."""

    run_id: str
    _waiting: list[Metric] = field(default_factory=list)
    _flushed_at: float = field(default_factory=time.monotonic)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Hold the numbers of one epoch, and write what waits when that was long ago; what is undefined is left out."""
        now = now_ms()
        self._waiting += [Metric(name, value, now, step) for name, value in values.items() if not math.isnan(value)]
        if time.monotonic() - self._flushed_at >= _FLUSH_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        log_metrics(self.run_id, self._waiting)
        self._waiting = []
        self._flushed_at = time.monotonic()


def log_metrics(run_id: str, metrics: Sequence[Metric]) -> None:
    """Write any number of metrics, in as few calls as MLflow allows."""
    for start in range(0, len(metrics), _LIMIT):
        client().log_batch(run_id, metrics=metrics[start : start + _LIMIT])


def now_ms() -> int:
    """The time as MLflow counts it."""
    return time.time_ns() // 1_000_000
