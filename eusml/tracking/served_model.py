"""The served model: MLflow runs this file where the model is loaded (models-from-code, so nothing is unpickled).

A request is one row per image: `image` holds the file as base64; `box`, four numbers, the lesion's x, y, width and
height in pixels, without which the image counts as the region of interest; `case_id` comes back in the answer.

The signature declares no columns, so that MLflow hands over what was sent and this file can say in one sentence what is
wrong with it: MLflow itself drops columns that it does not know, a misspelt `box` among them, without a word.
"""

import base64
import binascii
import logging
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from eusml.data.boxes import Box
from eusml.errors import DataError
from eusml.learning.bundle import load_bundle
from eusml.tracking.asking import Asked
from eusml.tracking.integrity import verified_version
from eusml.tracking.options import Options
from eusml.tracking.strict_params import refuse_unknown_params

MAX_ROWS = 64
"""Images in one request."""
MAX_BASE64_CHARS = 48_000_000
"""Of one image: 36 MB as a file."""
MAX_CASE_ID_CHARS = 200
"""Longer ones come back cut."""
_EXCERPT_CHARS = 16
_COLUMNS = ("image", "box", "case_id")
_PARAMS = ("error_rate", "explain", "tta")
_VIEWS = (0, 1, 2, 4, 8)
_EXPECTED = "expected rows with a column image (base64 of the file), optionally box and case_id"
_logger = logging.getLogger(__name__)


class RefusedRequest(MlflowException):
    """A request that cannot be answered at all; the server says why with status 422."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, error_code=INVALID_PARAMETER_VALUE)

    def get_http_status_code(self) -> int:
        """Not 400, which MLflow's own errors have: a proxy can withhold their stack traces and let this through."""
        return int(HTTPStatus.UNPROCESSABLE_ENTITY)

    @property
    def message(self) -> str:
        """The reason alone."""
        return self._reason

    @message.setter
    def message(self, text: str) -> None:
        # MLflow's server writes the data that were sent in front of it later on, and with them parts of the image.
        if not hasattr(self, "_reason"):
            self._reason = text


class ServedModel(PythonModel):
    """Answers images with the very decoder, preparation and network that were evaluated."""

    def load_context(self, context: PythonModelContext) -> None:
        """Verify every file against the registry, as far as there is one, and read the weights."""
        folder = Path(context.artifacts["bundle"])
        model, version = verified_version(folder.parents[1])
        self.asked = Asked(load_bundle(folder), model, version)
        refuse_unknown_params(lambda: RefusedRequest(f"unknown params; there are {', '.join(_PARAMS)}"))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Answer every row.

        Args:
            context: unused.
            model_input: rows with `image` and optionally `box` and `case_id`, in any form that MLflow takes.
            params: `error_rate` of the prediction sets, `explain` and `tta` (orientations, 1, 2, 4 or 8).

        Returns:
            Per row the fields of `Asked.answer`, and `case_id` as it came. A row that cannot be read has its reason in
            `error`, and the others are answered.

        Raises:
            RefusedRequest: the request as a whole is not one; the server answers 422.
        """
        options = _options(params or {})
        return [self._row(row, options, number) for number, row in enumerate(_rows(model_input), start=1)]

    def _row(self, row: Mapping[Hashable, Any], options: Options, number: int) -> dict[str, Any]:
        case_id = None
        try:
            case_id = _case_id(row.get("case_id"))
            answer = self.asked.answer(_bytes(row.get("image")), _box(row.get("box")), options, f"in row {number}")
        except DataError as error:
            answer = self.asked.refusal(str(error))
        except Exception:
            # An error of ours is for our log; MLflow would send its stack trace to whoever asked.
            _logger.exception("row %d could not be answered", number)
            answer = self.asked.refusal("this row could not be answered; the server's log says why")
        return {"case_id": case_id, **answer}


def _options(params: Mapping[str, Any]) -> Options:
    error_rate, views = float(params.get("error_rate", Options.error_rate)), int(params.get("tta", Options.views))
    if not 0 < error_rate < 1:
        raise RefusedRequest(f"params.error_rate must lie between 0 and 1, found {error_rate}")
    if views not in _VIEWS:
        raise RefusedRequest(f"params.tta must be 1, 2, 4 or 8, or 0 for the evaluation's own; found {_excerpt(views)}")
    return Options(error_rate, bool(params.get("explain", Options.explain)), views)


def _rows(given: Any) -> Sequence[Mapping[Hashable, Any]]:
    """What MLflow hands over for `dataframe_split`, `dataframe_records`, `inputs`, `instances` and CSV, row by row."""
    if isinstance(given, Mapping):
        if not all(map(_is_column, given.values())):
            raise RefusedRequest(_EXPECTED)
        lengths = {len(values) for values in given.values()}
        if len(lengths) > 1:
            raise RefusedRequest(f"the columns must be of one length, found {', '.join(map(str, sorted(lengths)))}")
        _check_shape(max(lengths, default=0), given)
        return [dict(zip(given, values, strict=True)) for values in zip(*given.values(), strict=True)]
    if isinstance(given, pd.DataFrame):
        if given.columns.duplicated().any():
            raise RefusedRequest(f"column {_excerpt(given.columns[given.columns.duplicated()][0])} stands there twice")
        # Before rows are made: a dictionary for each of millions takes gigabytes.
        _check_shape(len(given), given.columns)
        return given.to_dict("records")
    if not isinstance(given, list) or not all(isinstance(row, Mapping) for row in given):
        raise RefusedRequest(_EXPECTED)
    _check_shape(len(given), {name for row in given for name in row})
    return given


def _is_column(values: object) -> bool:
    return isinstance(values, list) or (isinstance(values, np.ndarray) and values.ndim > 0)


def _check_shape(rows: int, columns: Iterable[Hashable]) -> None:
    if not 1 <= rows <= MAX_ROWS:
        raise RefusedRequest(f"a request holds 1 to {MAX_ROWS} rows, found {rows}")
    names = set(map(str, columns))
    unknown = sorted(names - set(_COLUMNS))
    if unknown:
        raise RefusedRequest(f"unknown column {_excerpt(unknown[0])}; there are {', '.join(_COLUMNS)}")
    if "image" not in names:
        raise RefusedRequest("column image is missing; it holds the file as base64")


def _excerpt(value: object) -> str:
    """The beginning of what was sent, for a message: enough to find it again, never a part of an image."""
    text = str(value)
    shown = "".join(letter if letter.isprintable() else "?" for letter in text[:_EXCERPT_CHARS])
    return shown if len(text) <= _EXCERPT_CHARS else f"{shown}..."


def _plain(value: Any) -> Any:
    """Numpy's scalars and arrays, which `inputs` arrives as, to what the JSON had."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _missing(value: Any) -> bool:
    """Whether a table has nothing there."""
    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))


def _bytes(value: Any) -> bytes:
    value = _plain(value)
    if not isinstance(value, str):
        raise DataError("column image must hold the file as base64 text")
    if len(value) > MAX_BASE64_CHARS:
        raise DataError(f"the image has {len(value):,} base64 characters; at most {MAX_BASE64_CHARS:,} are read")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"column image is not base64: {error}") from None


def _box(value: Any) -> Box | None:
    value = _plain(value)
    if _missing(value):
        return None
    wanted = "column box must hold four finite numbers: x, y, width, height in pixels"
    if not isinstance(value, list | tuple) or len(value) != 4:
        raise DataError(wanted)
    try:
        numbers = [float(number) for number in value]
    except (TypeError, ValueError, OverflowError):
        raise DataError(wanted) from None
    # Beyond a picture's sides any number says the same, and an integer of a thousand digits says it slowly.
    if not all(math.isfinite(number) and abs(number) < 1e9 for number in numbers):
        raise DataError(wanted)
    x, y, w, h = (round(number) for number in numbers)
    return x, y, w, h


def _case_id(value: Any) -> str | None:
    value = _plain(value)
    if _missing(value):
        return None
    if not isinstance(value, str | int | float):
        raise DataError("column case_id must hold a text or a number")
    return str(value)[:MAX_CASE_ID_CHARS]


mlflow.models.set_model(ServedModel())
