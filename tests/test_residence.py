import os
from pathlib import Path

import numpy as np
import pytest
import torch

from eusml import runtime
from eusml.config import TrainConfig
from eusml.learning.batches import LabelledImages, Normalisation, epoch_order
from eusml.learning.residence import Resident, Streamed, on_device
from eusml.learning.train import fit
from tests.conftest import two_classes, weights_sha256

CPU = torch.device("cpu")
IMAGES, Y_TRUE = two_classes(24, 32, seed=1)


def partition(path: Path, rows: "np.ndarray") -> LabelledImages:
    """Some images of a cohort that lies in a file."""
    np.save(path, IMAGES)
    return LabelledImages(np.load(path, mmap_mode="c"), Y_TRUE[rows], rows)


def test_a_partition_of_a_file_is_the_images_of_its_rows(tmp_path: Path) -> None:
    rows = np.array([3, 20, 7, 8])
    part = partition(tmp_path / "images.npy", rows)
    assert len(part) == 4
    assert part.nbytes == 4 * 32 * 32
    np.testing.assert_array_equal(part.take(np.array([1, 0])), IMAGES[[20, 3]])
    np.testing.assert_array_equal(part.take(slice(None)), IMAGES[rows])
    copied = LabelledImages(IMAGES[rows], Y_TRUE[rows])
    assert Normalisation.of_images(part) == Normalisation.of_images(copied)


@pytest.mark.parametrize("kind", [Resident, Streamed])
def test_every_batch_holds_the_images_that_were_asked_for(kind: type, tmp_path: Path) -> None:
    rows = np.arange(23, 3, -1)
    part = partition(tmp_path / "images.npy", rows)
    order = epoch_order(0, 1, len(rows), 3)
    batches = list(kind(part, CPU).batches(order))
    assert len(batches) == len(order)
    for batch, numbers in zip(batches, order, strict=True):
        assert batch.dtype == torch.uint8
        np.testing.assert_array_equal(batch[:, 0].numpy(), IMAGES[rows[numbers]])


def test_what_takes_more_than_the_budget_is_streamed() -> None:
    images = LabelledImages(np.zeros((1025, 32, 32), np.uint8), np.zeros(1025, np.int64))
    assert isinstance(on_device(images, CPU, 1), Streamed)
    assert isinstance(on_device(images, CPU, 2), Resident)
    assert isinstance(on_device(images, CPU, None), Resident)


def test_a_file_that_cannot_be_read_ends_the_training_and_not_only_its_thread() -> None:
    class Broken:
        dtype, ndim, shape = np.dtype(np.uint8), 3, (24, 32, 32)

        def __len__(self) -> int:
            return 24

        def __getitem__(self, rows: object) -> object:
            raise OSError("disk gone")

    streamed = Streamed(LabelledImages(Broken(), Y_TRUE), CPU)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="disk gone"):
        list(streamed.batches([np.array([0, 1])]))


def test_streamed_images_train_to_the_same_bits(tiny_settings: TrainConfig, tmp_path: Path) -> None:
    rows = np.arange(20)
    part, held_out = partition(tmp_path / "images.npy", rows), LabelledImages(*two_classes(10, 32, seed=2))
    resident = fit(LabelledImages(IMAGES[rows], Y_TRUE[rows]), held_out, tiny_settings, job="j")
    streamed = fit(part, held_out, tiny_settings.model_copy(update={"resident_mib": 0}), job="j")
    assert weights_sha256(streamed.network) == weights_sha256(resident.network)
    measured = [[(row.train_loss, row.test_loss) for row in result.history] for result in (resident, streamed)]
    assert measured[0] == measured[1]


SYSTEM = {
    "/proc/meminfo": "MemTotal:  64000 kB\nMemAvailable:    2000 kB\n",
    "/proc/self/cgroup": "3:cpu,memory:/old\n2:cpuset:/\n0::/user/job\n",
}


@pytest.mark.parametrize(
    ("limits", "free_kib"),
    [
        ({}, 2000),
        ({"/sys/fs/cgroup/user/job/memory.max": "1024000\n"}, 1000),
        ({"/sys/fs/cgroup/user/memory.max": "512000\n", "/sys/fs/cgroup/user/job/memory.max": "max\n"}, 500),
        ({"/sys/fs/cgroup/user/job/memory.max": "9999999999\n"}, 2000),
        ({"/sys/fs/cgroup/memory/old/memory.limit_in_bytes": "256000\n"}, 250),
        ({"/sys/fs/cgroup/memory/old/memory.limit_in_bytes": "9223372036854771712\n"}, 2000),
    ],
)
def test_free_memory_is_what_the_system_and_the_container_leave(
    limits: dict[str, str], free_kib: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = SYSTEM | limits
    monkeypatch.setattr(runtime, "_text", lambda path: files.get(str(path), ""))
    assert runtime.free_memory(torch.device("cpu")) == free_kib * 1024


def test_free_memory_of_another_system_is_all_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_text", lambda path: "")
    assert runtime.free_memory(torch.device("cpu")) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
