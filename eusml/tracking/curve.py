"""Numbers per epoch on their way to the store."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from mlflow.entities import Metric

from eusml.tracking.store import client

_FLUSH_EVERY_S = 5.0


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
        client().log_batch(self.run_id, metrics=self._waiting)
        self._waiting = []
        self._flushed_at = time.monotonic()


def now_ms() -> int:
    """The time as MLflow counts it."""
    return time.time_ns() // 1_000_000
