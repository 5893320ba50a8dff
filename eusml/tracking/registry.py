"""Models in MLflow: logged as files that hold no pickle, registered, and given the alias that is served."""

import base64
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, Schema

from eusml.errors import PromotionError, TrackingError
from eusml.learning.bundle import load_bundle
from eusml.tracking.runs import Run

BUNDLE = "bundle"
"""Folder, on disk and inside a logged model, that holds weights and description."""

_REQUIREMENTS = (
    *("mlflow", "numpy", "opencv-python-headless", "pandas", "pillow", "pydantic", "pydicom", "python-gdcm"),
    *("safetensors", "torch", "torchvision"),
)
_BOX = ("bbox_x", "bbox_y", "bbox_w", "bbox_h")

SIGNATURE = ModelSignature(
    inputs=Schema(
        [ColSpec("string", "image"), *(ColSpec("double", name, required=False) for name in _BOX)],
    ),
    outputs=Schema(
        [
            ColSpec("string", "label"),
            ColSpec("double", "probability"),
            ColSpec("string", "positive_class"),
            ColSpec("string", "model_version"),
            ColSpec("boolean", "synthetic"),
            ColSpec("string", "notice"),
        ]
    ),
)
"""One row per image: a base64 image file in, optionally its lesion box in pixels; see `ServedModel` for the answer."""


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a registered model."""

    name: str
    version: str
    tags: Mapping[str, str]


def log_model(run: Run, bundle: Path, arm: str, example_png: bytes) -> str:
    """Log a saved bundle as a models-from-code pyfunc: our source, the weights as safetensors, no pickle.

    Args:
        run: the run that trained it.
        bundle: folder with weights and description.
        arm: the model's name in the store.
        example_png: an image for the input example that the UI shows.

    Returns:
        Identity of the logged model in the store.
    """
    assert bundle.name == BUNDLE
    package = Path(__file__).parents[1]
    example = {"image": base64.b64encode(example_png).decode()}
    # A venv made by uv holds no pip, which MLflow finds worth a warning.
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
    logged = Model.log(
        artifact_path=None,
        name=arm,
        flavor=mlflow.pyfunc,
        run_id=run.run_id,
        python_model=str(package / "tracking" / "served_model.py"),
        artifacts={BUNDLE: str(bundle)},
        code_paths=[str(package)],
        signature=SIGNATURE,
        input_example=[example],
        pip_requirements=[f"{name}=={version(name)}" for name in _REQUIREMENTS],
    )
    return str(logged.model_id)


def fetch_bundle(model_id: str, folder: Path) -> Path:
    """Download the bundle of a logged model; returns its folder.

    Raises:
        TrackingError: the store does not hold it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        location = MlflowClient().get_logged_model(model_id).artifact_location
        uri = f"{location}/artifacts/{BUNDLE}"
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
    except (MlflowException, OSError) as error:
        raise TrackingError(f"model {model_id} cannot be read from the store: {error}") from None


def registered_name(arch: str, synthetic: bool) -> str:
    """`eusml-resnet34`, or `eusml-phantom-resnet34` for what was trained on synthetic images."""
    return f"eusml-{'phantom-' if synthetic else ''}{arch}"


def register(model_id: str, name: str, tags: Mapping[str, str], description: str) -> RegisteredVersion:
    """Make the logged model a version of `name`, unless it is one already.

    Raises:
        PromotionError: what the store holds is not the model that was evaluated; MLflow itself would accept it.
    """
    client = MlflowClient()
    source = f"models:/{model_id}"
    with tempfile.TemporaryDirectory() as folder:
        found = load_bundle(fetch_bundle(model_id, Path(folder))).spec.weights_sha256
    if found != tags["eusml.weights_sha256"]:
        raise PromotionError(f"model {model_id} in the store has weights {found}, the evaluated one had others")
    try:
        client.create_registered_model(name, description="Research software; no output is fit for diagnosis.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for known in client.search_model_versions(f"name = '{name}'"):
        if known.source == source:
            for key, value in tags.items():
                client.set_model_version_tag(name, str(known.version), key, value)
            client.update_model_version(name, str(known.version), description)
            return RegisteredVersion(name, str(known.version), dict(tags))
    made = client.create_model_version(name, source, tags=dict(tags), description=description, model_id=model_id)
    return RegisteredVersion(name, str(made.version), dict(tags))


def champion(name: str, alias: str) -> RegisteredVersion | None:
    """The version that carries the alias, or None."""
    try:
        found = MlflowClient().get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in {ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), "INVALID_PARAMETER_VALUE"}:
            return None
        raise
    return RegisteredVersion(name, str(found.version), dict(found.tags))


def set_champion(name: str, version: str, alias: str) -> None:
    """Move the alias, and check that it moved."""
    client = MlflowClient()
    client.set_registered_model_alias(name, alias, version)
    now = champion(name, alias)
    if now is None or now.version != version:
        raise PromotionError(
            f"{name}: alias {alias} points to {now and now.version}, not to {version}, after it was set"
        )
