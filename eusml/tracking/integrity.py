"""Every file of a model is what it was when the model was registered: SHA-256, kept outside the model's folder.

Against damage, not against whoever may write to the store: code that checks itself can be exchanged with the rest.
"""

import hashlib
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path

import mlflow
import sqlalchemy
import yaml
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from eusml.errors import CheckpointError, TrackingError
from eusml.tracking.runs import fetch
from eusml.tracking.store import require_server

FILES = "eusml.files_sha256"
"""Tag of a version: `files_digest` of its model, written with the version and never again."""
REGISTERED_BY = "eusml.registered_by"
"""Tag of a version: the run whose artifacts hold the list of its files and whom it was trained on."""
FOLDER = "eusml.registered_as"
"""Tag of a version: the folder of that run where they lie."""
SUMS = "SHA256SUMS"
META = "registered_model_meta"
"""What MLflow itself writes into the folder of a model that it fetches by its registered name."""
UNVERIFIED = "unverified"
_CHUNK_BYTES = 1 << 20
_SHOWN = 5


def file_digests(folder: Path) -> dict[str, str]:
    """Path below `folder` to SHA-256 of every file; left out is what Python and MLflow write there while they load it.

    Raises:
        CheckpointError: the folder or a file cannot be read.
    """
    found = {}
    try:
        for file in sorted(folder.rglob("*")):
            place = file.relative_to(folder)
            if file.is_dir() or place.as_posix() == META or "__pycache__" in place.parts:
                continue
            found[place.as_posix()] = _sha256(file)
    except OSError as error:
        raise CheckpointError(f"model {folder} cannot be read: {error}") from None
    if not found:
        raise CheckpointError(f"model {folder} holds no file")
    return found


def sums_text(files: Mapping[str, str]) -> str:
    """The list as `sha256sum` writes it, so that `sha256sum -c` reads it."""
    return "".join(f"{digest}  {place}\n" for place, digest in sorted(files.items()))


def files_digest(files: Mapping[str, str]) -> str:
    """SHA-256 of the list: one number for names and contents of all files."""
    return hashlib.sha256(sums_text(files).encode()).hexdigest()


def check_files(what: str, folder: Path, expected: str, tags: Mapping[str, str]) -> None:
    """Compare a model's folder with what was recorded when it was registered.

    Args:
        what: which model, for people.
        folder: its files, fetched.
        expected: its recorded `files_digest`.
        tags: of the version; where the list can be had, too, the message names the files.

    Raises:
        CheckpointError: a file was changed, is missing, or was added.
    """
    found = file_digests(folder)
    if files_digest(found) == expected:
        return
    raise CheckpointError(
        f"{what} is not what was registered: its files have the digest {files_digest(found)}, recorded is {expected}; "
        f"{_differing(found, tags)}"
    )


def registered_as(folder: Path) -> tuple[str, str] | None:
    """Name and version of a model that MLflow fetched by its registered name; None for any other."""
    try:
        meta = yaml.safe_load((folder / META).read_text(encoding="utf-8"))
        return str(meta["model_name"]), str(meta["model_version"])
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        return None


def verified_version(folder: Path) -> tuple[str, str]:
    """What a loaded model may call itself, by name and version, where the registry bears it out, file by file.

    Returns:
        Name and version; the version with `(unverified)` behind it where no registry could be asked or it has recorded
        no digest; `unregistered` and `none` for a model that was not fetched by a registered name.

    Raises:
        CheckpointError: the registry has recorded other files.
    """
    known = registered_as(folder)
    if known is None:
        return "unregistered", "none"
    name, version = known
    try:
        tags = _tags_of(name, version)
    except (MlflowException, TrackingError) as error:
        reason = f"no registry could be asked for its digest ({error})"
    else:
        if FILES in tags:
            check_files(f"{name} version {version}", folder, tags[FILES], tags)
            return name, version
        reason = "the registry has recorded no digest of its files"
    logging.getLogger(__name__).warning("%s/%s was not verified: %s", name, version, reason)
    return name, f"{version} ({UNVERIFIED})"


def _tags_of(name: str, version: str) -> Mapping[str, str]:
    """Tags of a version, from a registry that is there: MLflow would make an empty one, or try for minutes."""
    uri = mlflow.get_tracking_uri()
    require_server(uri)
    if uri.startswith("sqlite:"):
        file = sqlalchemy.make_url(uri).database
        if not file or not Path(file).is_file():
            raise TrackingError(f"there is no store {uri}")
    return dict(MlflowClient().get_model_version(name, version).tags)


def _differing(found: Mapping[str, str], tags: Mapping[str, str]) -> str:
    if REGISTERED_BY not in tags or FOLDER not in tags:
        return "the list of them is not at hand"
    with tempfile.TemporaryDirectory() as folder:
        try:
            text = fetch(tags[REGISTERED_BY], f"{tags[FOLDER]}/{SUMS}", Path(folder)).read_text(encoding="utf-8")
        except (TrackingError, OSError, ValueError):
            return "the list of them cannot be read"
    listed = {place: digest for digest, _, place in (line.partition("  ") for line in text.splitlines())}
    kinds = {
        "changed": [place for place in listed if place in found and found[place] != listed[place]],
        "missing": [place for place in listed if place not in found],
        "added": [place for place in found if place not in listed],
    }
    said = [f"{kind}: {_named(places)}" for kind, places in kinds.items() if places]
    return "; ".join(said) or "the list of them was changed, too"


def _named(places: list[str]) -> str:
    more = len(places) - _SHOWN
    return ", ".join(places[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _sha256(file: Path) -> str:
    total = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            total.update(chunk)
    return total.hexdigest()
