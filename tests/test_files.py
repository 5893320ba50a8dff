import errno
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eusml.data.ingest import blank
from eusml.data.manifest import Manifest
from eusml.data.prepare import Prepared, save
from eusml.errors import full_disk
from eusml.files import reserve, written_whole


def write_half(path: Path) -> None:
    with written_whole(path) as file:
        file.write(b"half")
        file.flush()
        raise RuntimeError("killed")


def test_a_file_appears_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    with written_whole(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


def test_what_breaks_midway_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError):
        write_half(path)
    assert path.read_bytes() == b"old"
    with written_whole(path) as file:  # and the next attempt is none the worse for it
        file.write(b"new")
    assert path.read_bytes() == b"new"


def refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the file system refuse to set bytes aside."""

    def fail(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", fail, raising=False)


def test_a_full_disk_is_met_before_the_first_page_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, errno.ENOSPC)
    with pytest.raises(OSError, match="No space left") as caught:
        blank((2, 8, 8), tmp_path)
    assert full_disk(caught.value)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system sets no bytes aside")
def test_bytes_are_set_aside(tmp_path: Path) -> None:
    with (tmp_path / "a.bin").open("wb") as file:
        reserve(file.fileno(), 1 << 20)
        reserve(file.fileno(), 0)
    status = (tmp_path / "a.bin").stat()
    assert (status.st_size, status.st_blocks * 512 >= 1 << 20) == (1 << 20, True)


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_that_sets_no_bytes_aside_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse(monkeypatch, number)
    assert blank((2, 8, 8), tmp_path).shape == (2, 8, 8)
    monkeypatch.delattr(os, "posix_fallocate")
    assert blank((2, 8, 8), tmp_path).sum() == 0


def test_prepared_images_that_cannot_be_written_say_why(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="the system limits no files")
    images = np.random.default_rng(0).integers(0, 256, (64, 64, 64), dtype=np.uint8)
    prepared = Prepared(Manifest(pd.DataFrame({"case_id": ["a"]}), "x", False, "GIST", "LM"), images)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="arge") as caught:
            save(prepared, tmp_path / "prepared")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    save(prepared, tmp_path / "prepared")
    np.testing.assert_array_equal(np.load(tmp_path / "prepared" / "images.npy"), images)
