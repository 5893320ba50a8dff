"""Versions of registered models: made with the digest of their files, and verified against it."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from eusml.errors import CheckpointError, PromotionError, TrackingError
from eusml.learning.bundle import Bundle, load_bundle
from eusml.tables import read_csv
from eusml.tracking.asking import Asked
from eusml.tracking.integrity import (
    FILES,
    FOLDER,
    REGISTERED_BY,
    SUMS,
    check_files,
    file_digests,
    files_digest,
    sums_text,
)
from eusml.tracking.registry import BUNDLE, download, location
from eusml.tracking.runs import Run, fetch
from eusml.tracking.store import exclusive

WEIGHTS = "eusml.weights_sha256"
"""Tag of a version: SHA-256 of the weights that were evaluated."""
_TRAINED_ON = "trained_on.csv"
_MAX_DESCRIPTION_CHARS = 5000
"""MLflow's column is no wider, and PostgreSQL refuses what does not fit."""
_WHO = ("case_id", "patient_id", "group_id", "pixels_sha256")


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a registered model."""

    name: str
    version: str
    tags: Mapping[str, str]
    description: str = ""

    @property
    def files_sha256(self) -> str:
        """Digest of its files; empty where none was recorded."""
        return self.tags.get(FILES, "")


@dataclass(frozen=True)
class LoggedModel:
    """A model in the store whose files were fetched and read, to be registered."""

    model_id: str
    files: Mapping[str, str]
    """Path to SHA-256."""
    weights_sha256: str

    @property
    def source(self) -> str:
        """What a version of it names as its source."""
        return f"models:/{self.model_id}"


def inspect(model_id: str, weights_sha256: str) -> LoggedModel:
    """Fetch a logged model and check its weights.

    Raises:
        PromotionError: the store does not hold the model that was evaluated; MLflow itself would register it.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            place = download(location(model_id), Path(folder))
            found = load_bundle(place / "artifacts" / BUNDLE).spec.weights_sha256
            files = file_digests(place)
        except (TrackingError, CheckpointError) as error:
            raise PromotionError(f"model {model_id} is not sound: {error}") from None
    if found != weights_sha256:
        raise PromotionError(f"model {model_id} in the store has weights {found}, the evaluated one had others")
    return LoggedModel(model_id, files, found)


def find(name: str, model: LoggedModel) -> RegisteredVersion | None:
    """The version of `name` that is this model, of several the first; None where there is none."""
    everyone = MlflowClient().search_model_versions(f"name = '{name}'")
    known = sorted((found for found in everyone if found.source == model.source), key=lambda found: int(found.version))
    return _version(known[0]) if known else None


def version_of(name: str, version: str) -> RegisteredVersion | None:
    """A version by its number."""
    try:
        return _version(MlflowClient().get_model_version(name, version))
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def register(
    run: Run, model: LoggedModel, name: str, arm: str, tags: Mapping[str, str], trained_on: pd.DataFrame
) -> RegisteredVersion:
    """Make the model a version of `name`, unless it is one already; the registered model must be there.

    The digest of its files stands in the version from its first moment, and is never written again; the list of them
    and whom it was trained on are artifacts of the run.

    Args:
        run: the run that registers it.
        model: as `inspect` found it.
        name: of the registered model.
        arm: what the experiment calls it.
        tags: what else a person should find on the version.
        trained_on: rows of the manifest.

    Raises:
        PromotionError: it is registered, and its files were changed since.
    """
    digest = files_digest(model.files)
    known = find(name, model)
    if known is not None and known.files_sha256:
        if known.files_sha256 != digest:
            raise PromotionError(
                f"{name} version {known.version} is damaged: its files have the digest {digest}, but "
                f"{known.files_sha256} when they were registered"
            )
        return known
    folder = f"registered/{arm}"
    run.text(sums_text(model.files), f"{folder}/{SUMS}")
    run.table(trained_on[[name for name in _WHO if name in trained_on.columns]], f"{folder}/{_TRAINED_ON}")
    marks = {**tags, WEIGHTS: model.weights_sha256, FILES: digest, REGISTERED_BY: run.run_id, FOLDER: folder}
    with exclusive():
        known = find(name, model)  # as others may register it, too
        if known is None:
            made = MlflowClient().create_model_version(name, model.source, tags=marks, model_id=model.model_id)
            return find(name, model) or _version(made)
    return RegisteredVersion(name, known.version, {**marks, **known.tags})


def describe(version: RegisteredVersion, tags: Mapping[str, str], description: str | None = None) -> None:
    """Write what was found out about a version."""
    for key, value in tags.items():
        MlflowClient().set_model_version_tag(version.name, version.version, key, value)
    if description is not None:
        if len(description) > _MAX_DESCRIPTION_CHARS:
            pointer = "\n\n… goes on in the descriptions and artifacts of the runs that the tags name."
            description = description[: _MAX_DESCRIPTION_CHARS - len(pointer)].rsplit("\n", 1)[0] + pointer
        MlflowClient().update_model_version(version.name, version.version, description)


def set_alias(version: RegisteredVersion, alias: str) -> None:
    """Name a version; the champion's alias is moved by its history alone."""
    MlflowClient().set_registered_model_alias(version.name, alias, version.version)


def verified_bundle(version: RegisteredVersion, expected: str = "") -> Bundle:
    """The network of a registered version, every file of which is as it was registered.

    Args:
        version: which.
        expected: digest of its files, where more than its own tag bears it out.

    Raises:
        CheckpointError: a file was changed, is missing or was added, or no digest was recorded.
        TrackingError: the store does not hold it.
    """
    with _verified(version, expected) as place:
        return load_bundle(place / "artifacts" / BUNDLE)


def asked_model(uri: str) -> Asked:
    """A registered model, verified, to be asked here and now.

    Args:
        uri: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Raises:
        CheckpointError: as `verified_bundle`.
        TrackingError: the registry has no such version, or the store does not hold it.
    """
    version = _addressed(uri)
    return Asked(verified_bundle(version), version.name, version.version)


def _addressed(uri: str) -> RegisteredVersion:
    address = uri.removeprefix("models:/")
    name, _, alias = address.partition("@")
    try:
        if alias:
            return _version(MlflowClient().get_model_version_by_alias(name, alias))
        name, _, number = address.rpartition("/")
        if not name:
            raise TrackingError(f"{uri} names no version; write models:/NAME@ALIAS or models:/NAME/VERSION")
        return _version(MlflowClient().get_model_version(name, number))
    except MlflowException as error:
        raise TrackingError(f"{uri} cannot be read from the registry: {error}") from None


def verified_files(version: RegisteredVersion) -> int:
    """How many files a registered version has, each as it was registered.

    Raises:
        CheckpointError: as `verified_bundle`.
        TrackingError: as `verified_bundle`.
    """
    with _verified(version, "") as place:
        return len(file_digests(place))


@contextmanager
def _verified(version: RegisteredVersion, expected: str) -> Iterator[Path]:
    expected = expected or version.files_sha256
    if not expected:
        raise CheckpointError(f"no digest of the files of {version.name} version {version.version} was recorded")
    with tempfile.TemporaryDirectory() as folder:
        place = download(MlflowClient().get_model_version_download_uri(version.name, version.version), Path(folder))
        check_files(f"{version.name} version {version.version}", place, expected, version.tags)
        yield place


def trained_on(version: RegisteredVersion) -> pd.DataFrame | None:
    """Whom a version was trained on: case_id, patient_id, pixels_sha256, perhaps group_id; None where unrecorded."""
    if REGISTERED_BY not in version.tags or FOLDER not in version.tags:
        return None
    with tempfile.TemporaryDirectory() as folder:
        try:
            file = fetch(version.tags[REGISTERED_BY], f"{version.tags[FOLDER]}/{_TRAINED_ON}", Path(folder))
            return read_csv(file, _WHO)
        except (TrackingError, ValueError):
            return None


def _version(found: ModelVersion) -> RegisteredVersion:
    return RegisteredVersion(found.name, str(found.version), dict(found.tags), found.description or "")
