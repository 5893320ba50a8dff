"""Which workers of a folder are alive, and what they leave there."""

from pathlib import Path

from eusml.workers import Worker, working


def test_a_worker_is_known_to_live_until_it_ends_and_leaves_nothing(tmp_path: Path) -> None:
    with working(tmp_path) as one, working(tmp_path) as other:
        assert other.is_gone(one.name) is False
        assert one.is_gone(one.name) is False
        assert len(list(tmp_path.iterdir())) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_lock_file_of_a_killed_worker_goes_with_the_first_question(tmp_path: Path) -> None:
    left = tmp_path / "0123456789abcdef.lock"
    left.touch()
    with working(tmp_path) as alive:
        killed = Worker(tmp_path, "0123456789abcdef")
        assert alive.is_gone(killed.name) is True
        assert not left.exists()
        assert alive.is_gone(killed.name) is True


def test_a_worker_of_another_folder_cannot_be_asked(tmp_path: Path) -> None:
    with working(tmp_path / "here") as here, working(tmp_path / "there") as there:
        assert here.is_gone(there.name) is None
