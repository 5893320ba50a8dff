import errno
import sqlite3
from pathlib import Path

import pytest

from eusml.files import full_disk, written_whole


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


def test_a_full_disk_is_known_by_its_number_wherever_the_error_comes_from() -> None:
    for number in (errno.ENOSPC, errno.EDQUOT):
        full, seen = OSError(number, "any"), ValueError("seen")
        seen.__cause__ = full
        assert full_disk(full) is full
        assert full_disk(seen) is full
    assert full_disk(OSError(errno.EACCES, "Permission denied")) is None
    assert full_disk(ValueError("seen")) is None


def test_a_full_database_is_known_by_what_sqlite_says() -> None:
    with sqlite3.connect(":memory:") as database:
        database.execute("PRAGMA max_page_count = 2")
        database.execute("CREATE TABLE filling (text)")
        with pytest.raises(sqlite3.OperationalError) as caught:
            database.execute("INSERT INTO filling VALUES (?)", ("x" * 100_000,))
    assert full_disk(RuntimeError(f"(sqlite3.OperationalError) {caught.value}"))
