"""A folder for one measurement: that of the command line, to be looked at later, or one that is gone afterwards."""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path


def measure_in_folder(measure: Callable[[Path], None]) -> None:
    """Call `measure` with the folder, whose `mlflow.db` is the store meanwhile."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        measure(folder)
