"""Files that break programs, through the whole of ingestion and audit; and random bytes through the decoder."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from eusml.data.images import read_picture
from eusml.errors import DataError
from tests.dicom_files import dataset, jpeg2000, jpeg_baseline, ramp, rle, written
from tests.hostile_files import ARITHMETIC_JPEG, GREY, SLOPE, hostile_files, png, saved
from tests.memory import measured, needs_proc

FILES = hostile_files()
MAX_MEMORY_MB = 600
"""Pictures of 25 megapixels take 480, and up to 510 as the allocator pleases; a bomb would take gigabytes."""

INGEST = """
import pandas as pd
from eusml.config import AuditConfig, DataConfig
from eusml.data.audit import audit
from eusml.data.ingest import ingest
from eusml.data.manifest import Cases

def run(path):
    root = Path(path)
    names = sorted(path.name for path in root.iterdir())
    table = pd.DataFrame({"case_id": names, "patient_id": names, "image": names, "label": "a"})
    cases = Cases(root, table, "hostile", False)
    ingested = ingest(cases, DataConfig(source="folder", path=root, image_size_px=64))
    found = audit(cases, ingested, AuditConfig(unreadable="drop"))
    unreadable = {f.cases[0]: f.detail for f in found.findings if f.kind == "unreadable"}
    kept = [name for name, keep in zip(names, found.kept) if keep]
    return {"unreadable": unreadable, "kept": kept, "flow": found.flow.to_dict("records")}
"""

pytestmark = needs_proc


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("hostile")
    for name, (data, _) in FILES.items():
        (root / name).write_bytes(data)
    _, peak, found = measured(INGEST, str(root))
    assert isinstance(found, dict)
    return {**found, "peak_mb": peak}


def test_there_are_enough_of_them() -> None:
    assert len(FILES) >= 40


def test_an_arithmetically_coded_jpeg_is_read_right() -> None:
    grey = read_picture(ARITHMETIC_JPEG, "slope.jpg").grey
    assert np.abs(grey.astype(int) - SLOPE).max() <= 3


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_read_or_refused_by_name(name: str, outcome: dict[str, Any]) -> None:
    expected = FILES[name][1]
    unreadable: dict[str, str] = outcome["unreadable"]
    if name in unreadable:
        assert expected, f"refused, but it can be read: {unreadable[name]}"
        assert re.search(expected, unreadable[name])
        assert name in unreadable[name]
    else:
        assert re.fullmatch(expected, ""), "read, but it must be refused"
        assert name in outcome["kept"]


def test_memory_stays_small(outcome: dict[str, Any]) -> None:
    assert outcome["peak_mb"] < MAX_MEMORY_MB


def test_every_file_is_in_the_flow(outcome: dict[str, Any]) -> None:
    flow = {row["step"]: row["cases"] for row in outcome["flow"]}
    assert flow["found"] == len(FILES) == sum(count for step, count in flow.items() if step != "found")


SEEDS = {
    "png": saved(GREY, "PNG"),
    "wide": saved((GREY.astype(np.uint16) * 257), "PNG"),
    "palette": saved(GREY, "PNG"),
    "jpeg": saved(GREY, "JPEG"),
    "webp": saved(GREY, "WEBP"),
    "tiff": saved(GREY, "TIFF", compression="tiff_lzw"),
    "bmp": saved(GREY, "BMP"),
    "dicom": written(dataset(ramp(16, 16))),
    "dicom jpeg": written(jpeg_baseline(ramp(16, 16))),
    "dicom jpeg 2000": written(jpeg2000(ramp(16, 16))),
    "dicom rle": written(rle(ramp(16, 16))),
}


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@example(kind="png", cuts=[], data=b"\x89PNG\r\n\x1a\n")
@given(
    kind=st.sampled_from(sorted(SEEDS)),
    cuts=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 8), st.binary(max_size=8)), max_size=6),
    data=st.binary(max_size=64),
)
def test_whatever_the_bytes_only_our_errors_come_out(
    kind: str, cuts: list[tuple[int, int, bytes]], data: bytes
) -> None:
    mutated = SEEDS[kind]
    for place, length, replacement in cuts:
        at = place % (len(mutated) + 1)
        mutated = mutated[:at] + replacement + mutated[at + length :]
    for candidate in (mutated, data, mutated + data):
        try:
            picture = read_picture(candidate, "x")
        except DataError as error:
            assert "x" in str(error)  # noqa: PT017
        else:
            assert picture.grey.dtype == np.uint8
            assert picture.grey.ndim == 2


def test_a_bomb_is_small() -> None:
    assert len(png(9000, 9000, bits=1)) < 10_240
