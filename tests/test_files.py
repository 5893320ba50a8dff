from pathlib import Path

import pytest

from eusml.files import written_whole


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
