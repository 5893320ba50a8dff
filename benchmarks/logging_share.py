"""How much of a job goes into MLflow: `python -m benchmarks.logging_share [ENTRY] [SETTINGS…]`, by default `main`.

Runs an entry point in this process, with a clock around every public method of `MlflowClient` and around the logging
of models. A call inside a call is counted once. Drawing, of runs and of the report alike, is told apart.
"""

import functools
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure
from mlflow.models import Model
from mlflow.tracking import MlflowClient

from eusml.__main__ import main


class Clock:
    """Seconds and calls by method; only the outermost call counts."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self.is_inside = False

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, timed."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self.is_inside:
                return function(*args, **kwargs)
            self.is_inside, began = True, time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.is_inside = False
                self.seconds[name] += time.perf_counter() - began
                self.calls[name] += 1

        return timed


def measure(words: list[str]) -> int:
    """Run the entry point and print the shares; returns its exit code."""
    clock, drawing = Clock(), Clock()
    Figure.savefig = drawing.around("savefig", Figure.savefig)
    for name, function in vars(MlflowClient).items():
        if callable(function) and not name.startswith("_"):
            setattr(MlflowClient, name, clock.around(name, function))
    Model.log = staticmethod(clock.around("Model.log", Model.log))
    began = time.perf_counter()
    code = main(words)
    whole = time.perf_counter() - began
    drawn = drawing.seconds["savefig"]
    logging = sum(clock.seconds.values())
    print(f"\nMLflow: {logging:.1f} of {whole:.1f} s = {100 * logging / whole:.1f} %")
    print(f"Drawing {drawing.calls['savefig']} files of figures: {drawn:.1f} s = {100 * drawn / whole:.1f} %")
    for name, seconds in sorted(clock.seconds.items(), key=lambda item: -item[1])[:8]:
        print(f"  {name:<24} {clock.calls[name]:>5} calls {seconds:>7.2f} s {100 * seconds / whole:>5.1f} %")
    return code


if __name__ == "__main__":
    sys.exit(measure(sys.argv[1:] or ["main", "--experiment", "experiments/quick.yaml"]))
