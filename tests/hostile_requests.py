"""Requests that break servers: what is sent, and what must come back from a served model.

`tests/integration/test_serving_hostile.py` sends them all, `benchmarks/hostile_requests.py` makes a table of them.
"""

import base64
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import requests
from PIL import Image

from tests.dicom_files import dataset, ramp, written
from tests.hostile_files import GREY, OK, RGB, damaged, frames, inflated_text, png, polyglot, saved, tiff_bomb

JSON = {"Content-Type": "application/json"}
GOOD = base64.b64encode(saved(ramp(96, 96), "PNG")).decode()
LARGE = 60_000_000


@dataclass(frozen=True)
class HostileRequest:
    """One request and what it must get."""

    kind: str
    """What it is, for a table."""
    body: Callable[[], bytes]
    """Made when it is needed: some are large."""
    status: int
    answer: str = OK
    """Pattern of the error of its first row (status 200) or of the body; `OK` for a row that is answered."""
    ours: bool = True
    """Our own code answers, and not what MLflow has in front of it."""
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)

    def said(self, answer: requests.Response) -> str:
        """What the answer says is wrong: of the first row where rows were answered, else the message or all of it."""
        if answer.status_code == 200:
            return str(answer.json()["predictions"][0]["error"] or OK)
        return str(answer.json()["message"]) if self.ours else answer.text


def sent(base: str, request: HostileRequest, body: bytes | None = None) -> requests.Response:
    """The answer of the server at this address; a body that is there already is not made again."""
    content = request.body() if body is None else body
    return requests.post(f"{base}/invocations", content, headers=dict(request.headers), timeout=300)


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _json(body: Any) -> bytes:
    # Not by `allow_nan=False`: NaN and Infinity are no JSON, and are sent for that reason.
    return json.dumps(body).encode()


def _rows(*rows: dict[str, Any], **more: Any) -> bytes:
    return _json({"dataframe_records": list(rows), **more})


def _image(kind: str, content: Callable[[], bytes], answer: str = OK) -> HostileRequest:
    return HostileRequest(kind, lambda: _rows({"image": _encoded(content())}), 200, answer)


def _row(kind: str, answer: str, **columns: Any) -> HostileRequest:
    return HostileRequest(kind, lambda: _rows({"image": GOOD, **columns}), 200, answer)


def _params(kind: str, status: int, answer: str, ours: bool = True, **params: Any) -> HostileRequest:
    return HostileRequest(kind, lambda: _rows({"image": GOOD}, params=params), status, answer, ours)


def _text(kind: str, body: bytes | str, status: int, answer: str, ours: bool = True) -> HostileRequest:
    return HostileRequest(kind, lambda: body if isinstance(body, bytes) else body.encode(), status, answer, ours)


def _typed(kind: str, content_type: str | None, status: int, answer: str, ours: bool = False) -> HostileRequest:
    headers = {} if content_type is None else {"Content-Type": content_type}
    return HostileRequest(kind, lambda: _rows({"image": GOOD}), status, answer, ours, headers)


def _large_rgba() -> bytes:
    return saved(Image.new("RGBA", (5000, 5000), (9, 9, 9, 128)), "PNG", compress_level=1)


def _parquet(rows: int) -> bytes:
    """Many rows of the same number, which are packed to nearly nothing."""
    import pyarrow as pa
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pa.table({"image": np.zeros(rows, np.int64)}), buffer, compression="zstd", row_group_size=rows)
    return buffer.getvalue()


def _nested(opening: str, closing: str, depth: int) -> str:
    return f'{{"dataframe_records": [{{"image": "{GOOD}", "case_id": {opening * depth}1{closing * depth}}}]}}'


def _images() -> list[HostileRequest]:
    sixteen = (GREY.astype(np.uint16) * 257).astype(np.uint16)
    grey = partial(saved, GREY, "PNG")
    return [
        HostileRequest("a good image", lambda: _rows({"image": GOOD}), 200),
        _image("PNG bomb, 9000 x 9000 pixels in 10 KB", lambda: png(9000, 9000, bits=1), "9000 x 9000 pixels"),
        _image("PNG header that says 60000 x 60000", lambda: png(60_000, 60_000, data=b""), "far too many pixels"),
        _image("TIFF bomb, 30000 x 30000 pixels", tiff_bomb, "far too many pixels"),
        _image("100 MB of packed text in a PNG", inflated_text, "damaged"),
        _image("the largest picture allowed, with alpha", _large_rgba),
        _image("truncated PNG", lambda: grey()[:200], "damaged"),
        _image("PNG with a bad CRC", lambda: damaged(grey(), 30), "damaged|none of"),
        _image("PNG of 16 bit", lambda: saved(sixteen, "PNG")),
        _image("CMYK JPEG", lambda: saved(Image.fromarray(RGB).convert("CMYK"), "JPEG")),
        _image("PNG with a palette", lambda: saved(Image.fromarray(RGB).convert("P"), "PNG")),
        _image("PNG with alpha", lambda: saved(Image.fromarray(RGB).convert("RGBA"), "PNG")),
        _image("animated PNG", lambda: frames("PNG"), "2 frames"),
        _image("TIFF", lambda: saved(GREY, "TIFF")),
        _image("TIFF of two pages", lambda: frames("TIFF"), "2 frames"),
        _image("PNG that is a zip, too", polyglot),
        _image("PNG with HTML behind it", lambda: grey() + b"<script>alert(1)</script>"),
        _image("HTML", lambda: b"<html><script>alert(1)</script></html>", "none of PNG"),
        _image("SVG that names a file", lambda: b'<svg><image href="file:///etc/passwd"/></svg>', "none of PNG"),
        _image("DICOM that says 60000 x 60000", lambda: written(dataset(GREY, Rows=60_000, Columns=60_000)), "60000 x"),
        _image("empty image", lambda: b"", "none of PNG"),
    ]


def _columns() -> list[HostileRequest]:
    box = "four finite numbers"
    return [
        _row("NaN box", box, box=[float("nan"), 0, 10, 10]),
        _row("infinite box", box, box=[0, 0, float("inf"), 10]),
        _row("box of an integer of 400 digits", box, box=[0, 0, 10**400, 10]),
        _row("box of lists of different lengths", box, box=[[1], [1, 2], 3, 4]),
        _row("box that is an object", box, box={"x": 1}),
        _row("box beside the image", "does not lie inside", box=[90, 90, 50, 50]),
        _row("NaN for an image", "must hold the file as base64", image=float("nan")),
        _row("a number of 400 digits for an image", "must hold the file as base64", image=10**400),
        _row("a list for an image", "must hold the file as base64", image=[GOOD]),
        _row("no base64", "not base64", image="../../etc/passwd\0" + "%s" * 1000),
        _row("case_id that is a list of lists", "case_id must hold", case_id=[[1], [1, 2]]),
        HostileRequest("case_id nested 500 deep", lambda: _nested("[", "]", 500).encode(), 200, "case_id must hold"),
        _row("case_id of a million letters", OK, case_id="x" * 1_000_000),
        _row("case_id NaN", OK, case_id=float("nan")),
        HostileRequest(
            "60 MB body, one image", lambda: _rows({"image": "A" * LARGE}), 200, "base64 characters; at most"
        ),
        HostileRequest(
            "duplicate keys: the last one counts", lambda: b'{"dataframe_records": [{"image": "!", "image": "'
            + GOOD.encode() + b'"}]}', 200,
        ),
    ]  # fmt: skip


def _whole() -> list[HostileRequest]:
    twice = {"columns": ["image", "image"], "data": [[GOOD, GOOD]]}
    long = "z" * 100_000 + "\n"
    return [
        HostileRequest("65 rows", lambda: _rows(*[{"image": GOOD}] * 65), 422, "1 to 64 rows, found 65"),
        HostileRequest("100,000 rows", lambda: _rows(*[{"image": "A"}] * 100_000), 422, "1 to 64 rows, found 100000"),
        HostileRequest("no rows", lambda: _json({"inputs": []}), 422, "1 to 64 rows, found 0"),
        HostileRequest("10,000 columns", lambda: _rows({f"c{i}": 1 for i in range(10_000)}), 422, "unknown column c0"),
        HostileRequest("a column's name of 100 KB", lambda: _rows({"image": GOOD, long: 1}), 422, "unknown column z"),
        HostileRequest("the same column twice", lambda: _json({"dataframe_split": twice}), 422, "image stands there"),
        HostileRequest("columns of different lengths", lambda: _json({"inputs": {"image": [GOOD], "box": []}}), 422,
                       "of one length"),
        HostileRequest("a text for a column", lambda: _json({"inputs": {"image": GOOD}}), 422, "expected rows"),
        HostileRequest("text for rows", lambda: _json({"inputs": [GOOD]}), 422, "expected rows"),
        _params("error_rate NaN", 422, "must lie between 0 and 1", error_rate=float("nan")),
        _params("error_rate Infinity", 422, "must lie between 0 and 1", error_rate=float("inf")),
        _params("unknown params", 422, "unknown params; there are error_rate, explain, tta", tta_views=4),
        _params("tta of 400 digits", 422, "tta must be 1, 2, 4 or 8", tta=10**400),
    ]  # fmt: skip


def in_front() -> list[HostileRequest]:
    """What MLflow's server answers, or lets through, before our code runs."""
    parquet = {"Content-Type": "application/vnd.apache.parquet"}
    return [
        _text("JSON nested 100,000 deep", _nested("[", "]", 100_000), 500, "", ours=False),
        _text("objects nested 100,000 deep", _nested('{"a":', "}", 100_000), 500, "", ours=False),
        _text("an integer of 5,000 digits", _nested("", "1" * 5000, 1), 500, "", ours=False),
        HostileRequest("60 MB body of numbers", lambda: b'{"inputs": [' + b"1," * (LARGE // 2) + b"1]}", 422,
                       "expected rows"),
        _text("bad JSON", '{"dataframe_records": [{"image": "' + GOOD, 400, "valid JSON", ours=False),
        _text("invalid UTF-8", b'{"dataframe_records": [{"image": "\xff\xfe"}]}', 400, "valid JSON", ours=False),
        _text("empty body", b"", 400, "valid JSON", ours=False),
        _text("a list", "[]", 400, "Received a list", ours=False),
        _typed("missing content type", None, 500, ""),
        _typed("content type text/plain", "text/plain", 415, "only supports"),
        _typed("content type with another charset", "application/json; charset=latin-1", 415, "UTF-8"),
        HostileRequest("Parquet, 20 million rows in 90 KB", partial(_parquet, 20_000_000), 422,
                       "1 to 64 rows, found 20000000", headers=parquet),
        _params("explain that is a text", 400, "", ours=False, explain="x" * 1000),
        _params("error_rate of 400 digits", 400, "", ours=False, error_rate=10**400),
    ]  # fmt: skip


def hostile_requests() -> list[HostileRequest]:
    """All of them."""
    return _images() + _columns() + _whole() + in_front()
