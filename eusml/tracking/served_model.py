"""The served model: MLflow runs this file where the model is loaded (models-from-code, so nothing is unpickled).

A request is one row per image: `image` holds the file as base64, and `bbox_x, bbox_y, bbox_w, bbox_h`, all or none,
the lesion's box in pixels; without one the image counts as the region of interest.
"""

import base64
import binascii
import math
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from eusml.data.boxes import Box
from eusml.data.images import prepare
from eusml.data.manifest import BOX_COLUMNS
from eusml.errors import DataError
from eusml.learning.bundle import load_bundle
from eusml.tracking.integrity import verified_version

_NOTICE = "Research software, not for diagnosis."
_SYNTHETIC_NOTICE = "Trained on SYNTHETIC images: says nothing about patients. " + _NOTICE


class ServedModel(PythonModel):
    """Answers images with the very decoder, preparation and network that were evaluated."""

    def load_context(self, context: PythonModelContext) -> None:
        """Verify every file against the registry, as far as there is one, and read the weights."""
        folder = Path(context.artifacts["bundle"])
        self.version = verified_version(folder.parents[1])
        self.bundle = load_bundle(folder)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answer every row.

        Args:
            context: unused.
            model_input: table with `image` and optionally a box.
            params: unused.

        Returns:
            Table with `label`; `probability` (0-1) of `positive_class`; `model_version`, as `verified_version` found
            it; `synthetic`, whether it was trained on made-up images; `notice`.

        Raises:
            MlflowException: a row cannot be read; the server answers 400.
        """
        spec = self.bundle.spec
        answers: list[dict[str, Any]] = []
        for number, row in enumerate(model_input.to_dict("records"), start=1):
            try:
                image = prepare(_bytes(row.get("image")), _box(row), spec.preparation, f"in row {number}")
            except DataError as error:
                raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from None
            probability = float(self.bundle.scores(image[None])[0])
            answers.append(
                {
                    "label": spec.positive_class if probability >= spec.threshold else spec.negative_class,
                    "probability": probability,
                    "positive_class": spec.positive_class,
                    "model_version": self.version,
                    "synthetic": spec.synthetic,
                    "notice": _SYNTHETIC_NOTICE if spec.synthetic else _NOTICE,
                }
            )
        return pd.DataFrame(answers)


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise DataError(f"column image must hold base64 text, found {type(value).__name__}")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"column image is not base64: {error}") from None


def _box(row: Mapping[Hashable, Any]) -> Box | None:
    values = [row.get(name) for name in BOX_COLUMNS]
    given = [value for value in values if value is not None and not pd.isna(value)]
    if not given:
        return None
    if len(given) < len(BOX_COLUMNS):
        raise DataError(f"a box needs all of {', '.join(BOX_COLUMNS)}")
    if not all(math.isfinite(value) for value in given):
        raise DataError(f"a box needs four finite numbers, found {given}")
    x, y, w, h = (round(value) for value in given)
    return x, y, w, h


mlflow.models.set_model(ServedModel())
