"""MLflow stores in files: their tables take seconds to make, and are made once in every process that runs tests."""

import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory


@cache
def _tables() -> bytes:
    from mlflow import MlflowClient

    with TemporaryDirectory() as folder:
        file = Path(folder) / "mlflow.db"
        MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
        return file.read_bytes()


def empty_store(folder: Path, name: str = "mlflow.db") -> str:
    """The address of a new store in a folder, which also gets what its runs leave."""
    (folder / name).write_bytes(_tables())
    with closing(sqlite3.connect(folder / name)) as connection:
        connection.execute("UPDATE experiments SET artifact_location = ?", [str(folder / "mlruns" / "0")])
        connection.commit()
    return f"sqlite:///{folder / name}"
