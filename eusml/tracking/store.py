"""The store that runs and models are kept in: `./mlflow.db`, or what MLFLOW_TRACKING_URI names."""

import contextlib
import logging
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import requests
import sqlalchemy
from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from eusml.errors import TrackingError

_HEALTH_TIMEOUT_S = 10.0
_LOCK_WAIT_S = 30.0
DATABASES = ("postgresql", "mysql", "mssql")


def connect() -> None:
    """Make sure that the store answers, before any work is done for it.

    Raises:
        TrackingError: it does not.
    """
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    # Of use to whoever changes the database, and to nobody who runs a study.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    uri = mlflow.get_tracking_uri()
    require_server(uri)
    try:
        if uri.startswith(DATABASES):
            # MLflow itself would try ten times, for more than a minute and a half.
            sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool).connect().close()
        # Of several processes that start on an empty store, one makes its tables; MLflow alone makes half of them.
        with exclusive(wait_s=None):
            client().get_experiment(experiment_id())
    except Exception as error:  # of MLflow, of SQLAlchemy, of a driver or of the system: none of them is ours
        raise TrackingError(f"the MLflow store {_without_password(uri)} cannot be used: {error}") from None


def require_server(uri: str) -> None:
    """Ask a tracking server whether it is there; MLflow itself would try for minutes. Any other store passes.

    Raises:
        TrackingError: it does not answer.
    """
    if not uri.startswith(("http://", "https://")):
        return
    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=_HEALTH_TIMEOUT_S).raise_for_status()
    except requests.RequestException as error:
        raise TrackingError(
            f"no MLflow tracking server answers at {uri} ({type(error).__name__}). Start one, or unset "
            "MLFLOW_TRACKING_URI to record into ./mlflow.db"
        ) from None


@contextmanager
def exclusive(wait_s: float | None = _LOCK_WAIT_S) -> Iterator[None]:
    """Of all processes that use this store, on any machine, let one at a time do this, if that can be had.

    The system or the database gives the lock back when its holder dies, however it dies. A store behind an HTTP server
    has no lock to offer, and whoever waited for long goes on without, for a holder may be stopped and not dead: nothing
    may rest on this one alone.

    Args:
        wait_s: how long to wait for others; None for ever.
    """
    uri = mlflow.get_tracking_uri()
    if uri.startswith("sqlite:") and (file := sqlalchemy.make_url(uri).database):
        # Beside the database, for whoever can write the one can write the other, wherever he starts from.
        lock = FileLock(f"{file}.eusml-lock")
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=-1 if wait_s is None else wait_s)
        try:
            yield
        finally:
            lock.release()
    elif uri.startswith("postgresql"):
        engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:  # which gives the lock back when it closes
            connection.execute(sqlalchemy.text(f"SET lock_timeout = '{0 if wait_s is None else wait_s:.0f}s'"))
            with contextlib.suppress(sqlalchemy.exc.OperationalError):
                connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(hashtext('eusml'))"))
            yield
    else:
        yield


def _without_password(uri: str) -> str:
    return sqlalchemy.make_url(uri).render_as_string(hide_password=True) if uri.startswith(DATABASES) else uri


def client() -> MlflowClient:
    """A client of the store; cheap, and always of the address that holds now."""
    return MlflowClient()


def experiment_id() -> str:
    """Where `mlflow run` would record: MLFLOW_EXPERIMENT_ID or _NAME, else MLflow's default experiment."""
    given = os.environ.get("MLFLOW_EXPERIMENT_ID")
    if given:
        return given
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if not name:
        return "0"
    found = client().get_experiment_by_name(name)
    if found is None:
        try:
            return str(client().create_experiment(name))
        except MlflowException:
            found = client().get_experiment_by_name(name)  # another process made it in between
            if found is None:
                raise
    return str(found.experiment_id)


def ui_command() -> str:
    """What a person types to look at the runs."""
    uri = mlflow.get_tracking_uri()
    if uri.startswith(("http://", "https://")):
        return f"open {uri}"
    return _command("ui", *([] if _is_default_store() else ["--backend-store-uri", uri]))


def serve_command(model_uri: str) -> str:
    """What a person types to serve a model on this machine."""
    command = _command("models", "serve", "-m", model_uri, "--env-manager", "local", "-p", "5001")
    return command if _is_default_store() else f"MLFLOW_TRACKING_URI={shlex.quote(mlflow.get_tracking_uri())} {command}"


def _command(*words: str) -> str:
    # `uv run` names itself in the environment; whoever came through it has no `mlflow` on the path.
    launcher = ["uv", "run", "mlflow"] if "UV" in os.environ else ["mlflow"]
    # MLflow's own commands report their use to its makers unless told not to.
    return f"MLFLOW_DISABLE_TELEMETRY=true {shlex.join([*launcher, *words])}"


def _is_default_store() -> bool:
    uri = mlflow.get_tracking_uri()
    return (
        uri.startswith("sqlite:///") and Path(uri.removeprefix("sqlite:///")).resolve() == Path("mlflow.db").resolve()
    )
