import errno
import os
import time
from collections.abc import Callable, Iterator
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eusml.config import DataConfig
from eusml.data import ingest as module
from eusml.data.images import encode_png
from eusml.data.ingest import Ingested, ingest
from eusml.data.manifest import Cases
from eusml.data.parallel import in_order
from eusml.errors import DataError
from tests.dicom_files import dataset, written
from tests.pictures import speckled


@pytest.fixture
def cases(tmp_path: Path) -> Cases:
    root = tmp_path / "images"
    root.mkdir()
    for number in range(20):
        (root / f"{number}.png").write_bytes(encode_png(speckled(number, 60)))
    ids = [f"c{number}" for number in range(20)]
    table = pd.DataFrame({"case_id": ids, "patient_id": ids, "image": [f"{n}.png" for n in range(20)], "label": "a"})
    return Cases(root, table, "x", synthetic=False)


def settings(**more: object) -> DataConfig:
    return DataConfig(source="folder", image_size_px=32, **more)  # type: ignore[arg-type]


def same(one: Ingested, other: Ingested) -> None:
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.sketches, other.sketches)
    pd.testing.assert_frame_equal(one.measures, other.measures)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read from now on."""
    read, really = [], module._read

    def note(item: module._Item, preparation: object) -> object:
        read.append(item.path.name)
        return really(item, preparation)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_read", note)
    return read


def test_processes_give_what_one_gives(cases: Cases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD_IMAGES", 4)
    (cases.root / "7.png").write_bytes(b"no image")
    same(ingest(cases, settings(workers=1)), ingest(cases, settings(workers=2)))


def test_a_second_start_reads_only_what_changed(cases: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD_IMAGES", 2)
    once = ingest(cases, settings(), tmp_path / "kept")
    read = counted(monkeypatch)
    same(ingest(cases, settings(), tmp_path / "kept"), once)
    assert read == []
    (cases.root / "3.png").write_bytes(encode_png(speckled(99, 60)))
    changed = ingest(cases, settings(), tmp_path / "kept")
    assert "3.png" in read
    assert len(read) <= 8
    assert (changed.images[3] != once.images[3]).any()
    np.testing.assert_array_equal(np.delete(changed.images, 3, axis=0), np.delete(once.images, 3, axis=0))


def test_a_file_of_another_time_is_read_again(cases: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest(cases, settings(), tmp_path / "kept")
    read = counted(monkeypatch)
    os.utime(cases.root / "3.png", ns=(1, 1))
    ingest(cases, settings(), tmp_path / "kept")
    assert "3.png" in read


def test_a_file_of_other_rights_is_read_again(cases: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest(cases, settings(), tmp_path / "kept")
    read = counted(monkeypatch)
    (cases.root / "3.png").chmod(0o600)
    ingest(cases, settings(), tmp_path / "kept")
    assert "3.png" in read


@pytest.mark.parametrize(
    ("what", "error", "said"),
    [
        ("pathlib.Path.read_bytes", PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        ("pathlib.Path.read_bytes", OSError(errno.EIO, "Input/output error"), "Input/output error"),
        ("eusml.data.images.Image.open", MemoryError(), "more memory than there is"),
        ("eusml.data.dicom._dataset", MemoryError(), "more memory than there is"),
    ],
)
def test_what_the_system_did_not_give_is_asked_for_again(
    cases: Cases, tmp_path: Path, what: str, error: Exception, said: str
) -> None:
    (cases.root / "3.png").write_bytes(written(dataset(speckled(3, 60))))
    (cases.root / "4.png").write_bytes(b"no image")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(what, raising(error))
        assert said in ingest(cases, settings(), tmp_path / "kept").measures["problem"][3 if "dicom" in what else 2]
    found = ingest(cases, settings(), tmp_path / "kept")
    assert np.flatnonzero(~found.readable).tolist() == [4]


def raising(error: Exception) -> Callable[..., object]:
    def fail(*_: object, **__: object) -> object:
        raise error

    return fail


def test_what_is_wrong_with_a_file_itself_is_kept(
    cases: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cases.root / "3.png").write_bytes(b"no image")
    (cases.root / "4.png").unlink()
    once = ingest(cases, settings(), tmp_path / "kept")
    read = counted(monkeypatch)
    same(ingest(cases, settings(), tmp_path / "kept"), once)
    assert read == []
    assert once.readable.sum() == 18


def test_too_large_a_file_is_not_read(cases: Cases, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (cases.root / "3.png").stat().st_size
    (cases.root / "3.png").write_bytes((cases.root / "3.png").read_bytes() + bytes(10_000))
    monkeypatch.setattr(module, "MAX_BYTES", size + 9000)
    monkeypatch.setattr(Path, "read_bytes", unless_large(size + 9000))
    found = ingest(cases, settings())
    assert found.readable.sum() == 19
    assert "bytes; at most" in found.measures["problem"][3]


def unless_large(most: int) -> Callable[[Path], bytes]:
    """`Path.read_bytes` that fails the test on a larger file."""
    really = Path.read_bytes

    def read(path: Path) -> bytes:
        assert path.stat().st_size <= most, f"{path} was read"
        return really(path)

    return read


def test_a_new_file_leaves_the_other_shards_alone(
    cases: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHARD_IMAGES", 2)
    fewer = Cases(cases.root, cases.table.iloc[1:], "x", synthetic=False)
    ingest(fewer, settings(), tmp_path / "kept")
    read = counted(monkeypatch)
    same(ingest(cases, settings(), tmp_path / "kept"), ingest(cases, settings()))
    assert 1 <= len(set(read[: -len(cases.table)])) <= 6


def test_a_killed_ingestion_goes_on(cases: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD_IMAGES", 2)

    def killed_at_half(items: object) -> object:
        for number, item in enumerate(items):  # type: ignore[arg-type, var-annotated]
            if number == 10:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        ingest(cases, settings(), tmp_path / "kept", killed_at_half)  # type: ignore[arg-type]
    read = counted(monkeypatch)
    whole = ingest(cases, settings(), tmp_path / "kept")
    assert 0 < len(read) < 16
    same(whole, ingest(cases, settings()))


@pytest.mark.parametrize("spoil", [b"", b"PK\x03\x04 no archive", None])
def test_a_damaged_shard_is_made_again(cases: Cases, tmp_path: Path, spoil: bytes | None) -> None:
    once = ingest(cases, settings(), tmp_path / "kept")
    (shard,) = (tmp_path / "kept").iterdir()
    shard.write_bytes(shard.read_bytes()[:-200] if spoil is None else spoil)
    same(ingest(cases, settings(), tmp_path / "kept"), once)


def test_settings_decide_what_is_kept(cases: Cases, tmp_path: Path) -> None:
    ingest(cases, settings(), tmp_path / "kept")
    ingest(cases, settings(roi_margin_frac=0.5), tmp_path / "kept")
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_another_version_of_a_decoder_reads_again(
    cases: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(cases, settings(), tmp_path / "kept")
    monkeypatch.setattr("eusml.digests._versions", lambda: {"pillow": "0.0"})
    read = counted(monkeypatch)
    ingest(cases, settings(), tmp_path / "kept")
    assert len(read) == 20


def test_what_is_no_file_is_a_problem_and_no_crash(cases: Cases) -> None:
    (cases.root / "1.png").unlink()
    (cases.root / "1.png").mkdir()
    (cases.root / "2.png").unlink()
    os.symlink(cases.root / "2.png", cases.root / "2.png")
    found = ingest(cases, settings())
    assert found.readable.sum() == 18
    assert "is no file" in found.measures["problem"][1]
    assert "2.png of case c2" in found.measures["problem"][2]
    assert found.images[1].max() == 0


def test_few_items_are_ahead_of_the_one_that_is_used() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(40):
            taken.append(number)
            yield number

    results = in_order(abs, items(), 2, str)
    assert next(results) == 0
    assert len(taken) <= 5
    assert list(results) == list(range(1, 40))


def die(item: int) -> int:
    if item == 2:
        os._exit(1)
    return item


def test_a_process_that_dies_is_an_error_that_names_where() -> None:
    with pytest.raises(DataError, match=r"at file \d or shortly after"):
        list(in_order(die, range(5), 2, lambda item: f"file {item}"))


def test_a_process_that_died_before_the_next_item_was_asked_for_is_that_error_too() -> None:
    others = set(active_children())

    def items() -> Iterator[int]:
        yield 2
        deadline = time.monotonic() + 60
        while set(active_children()) - others:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield 3

    with pytest.raises(DataError, match=r"at file 2 or shortly after"):
        list(in_order(die, items(), 2, lambda item: f"file {item}"))
