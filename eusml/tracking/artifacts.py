"""Artifacts of runs, read as what they are."""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException

from eusml.errors import TrackingError
from eusml.tables import read_csv
from eusml.tracking import runs
from eusml.tracking.store import client

TEXT_COLUMNS = ("case_id", "patient_id", "kind", "decision", "detail", "cases", "arm", "step", "label")
"""Columns that hold text in every table."""


class Files:
    """Artifacts of runs, each downloaded once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listed: dict[tuple[str, str], set[str]] = {}

    def has(self, run_id: str, name: str) -> bool:
        """Whether the run has this artifact."""
        place = run_id, name.rpartition("/")[0]
        if place not in self._listed:
            try:
                self._listed[place] = {file.path for file in client().list_artifacts(run_id, place[1] or None)}
            except (MlflowException, OSError):
                self._listed[place] = set()
        return name in self._listed[place]

    def path(self, run_id: str, name: str) -> Path:
        """Raises a `TrackingError` that names it when it is missing."""
        return runs.fetch(run_id, name, self._folder / run_id)

    def table(self, run_id: str, name: str) -> pd.DataFrame:
        """Raises a `TrackingError` where it is missing or no table."""
        try:
            return read_csv(self.path(run_id, name), TEXT_COLUMNS)
        except (OSError, ValueError) as error:
            if isinstance(error, TrackingError):
                raise
            raise TrackingError(f"artifact {name} of run {run_id} is no table: {error}") from None

    def table_if_there(self, run_id: str, name: str) -> pd.DataFrame | None:
        """None where the run has no such artifact."""
        return self.table(run_id, name) if self.has(run_id, name) else None

    def json(self, run_id: str, name: str) -> dict[str, Any]:
        """Raises a `TrackingError` where it is missing or damaged."""
        return runs.read_json(self.path(run_id, name))
