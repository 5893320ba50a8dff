"""Models in MLflow: logged as files that hold no pickle, and what they are called in the registry."""

import base64
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array

from eusml.errors import TrackingError
from eusml.tracking.options import Options
from eusml.tracking.runs import Run

BUNDLE = "bundle"
"""Folder, on disk and inside a logged model, that holds weights and description."""

_REQUIREMENTS = (
    *("captum", "crepes", "mlflow", "numpy", "opencv-python-headless", "pandas", "pillow", "pydantic", "pydicom"),
    *("python-gdcm", "safetensors", "scikit-learn", "scipy", "torch", "torchvision"),
)
_TEXTS = Array(DataType.string)

SIGNATURE = ModelSignature(
    outputs=Schema(
        [
            ColSpec("string", "case_id", required=False),
            ColSpec("string", "label", required=False),
            ColSpec("double", "probability", required=False),
            ColSpec(_TEXTS, "prediction_set", required=False),
            ColSpec("boolean", "refer"),
            ColSpec(_TEXTS, "quality"),
            ColSpec("string", "explanation", required=False),
            ColSpec("string", "error", required=False),
            ColSpec("string", "positive_class"),
            ColSpec("double", "threshold"),
            ColSpec("string", "model"),
            ColSpec("string", "version"),
            ColSpec("boolean", "synthetic"),
            ColSpec("string", "notice"),
        ]
    ),
    params=ParamSchema(
        [
            ParamSpec("error_rate", "double", Options.error_rate),
            ParamSpec("explain", "boolean", Options.explain),
            ParamSpec("tta", "long", Options.views),
        ]
    ),
)
"""What comes back for every image, and what may be asked for; `served_model` says what is sent, and why not here."""


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
    with _no_bytecode():
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


@contextmanager
def _no_bytecode() -> Iterator[None]:
    """MLflow imports our source from the model that it is about to store, where Python would leave a compiled copy."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def fetch_bundle(model_id: str, folder: Path) -> Path:
    """Download the bundle of a logged model; returns its folder.

    Raises:
        TrackingError: the store does not hold it.
    """
    return download(f"{location(model_id)}/artifacts/{BUNDLE}", folder)


def location(model_id: str) -> str:
    """Where the files of a logged model lie.

    Raises:
        TrackingError: the store does not know it.
    """
    try:
        return str(MlflowClient().get_logged_model(model_id).artifact_location)
    except MlflowException as error:
        raise TrackingError(f"model {model_id} cannot be read from the store: {error}") from None


def download(uri: str, folder: Path) -> Path:
    """Copy a folder of the artifact store into `folder`; returns where it lies.

    Raises:
        TrackingError: the store does not hold it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
    except (MlflowException, OSError) as error:
        raise TrackingError(f"{uri} cannot be read from the store: {error}") from None


def registered_name(arch: str, synthetic: bool) -> str:
    """`eusml-resnet34`, or `eusml-phantom-resnet34` for what was trained on synthetic images."""
    return f"eusml-{'phantom-' if synthetic else ''}{arch}"


def is_synthetic_name(name: str) -> bool:
    """Whether models of this registered name were trained on synthetic images."""
    return name.startswith("eusml-phantom-")
