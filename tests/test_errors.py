"""What an error of others means to the person at the keyboard."""

import errno
import sqlite3

import pytest

from eusml.errors import full_disk


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
