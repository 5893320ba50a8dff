from pathlib import Path

import numpy as np
import pytest
import torch

from eusml.config import TrainConfig
from eusml.learning.batches import LabelledImages, Normalisation, epoch_order
from eusml.learning.residence import InPlace, Resident, Streamed, on_device
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


@pytest.mark.parametrize("resident_mib", [None, 0, 1])
def test_every_batch_holds_the_images_that_were_asked_for(resident_mib: int | None, tmp_path: Path) -> None:
    rows = np.arange(23, 3, -1)
    part = partition(tmp_path / "images.npy", rows)
    order = epoch_order(0, 1, len(rows), 3)
    batches = list(on_device(part, CPU, resident_mib).batches(order))
    assert len(batches) == len(order)
    for batch, numbers in zip(batches, order, strict=True):
        assert batch.dtype == torch.uint8
        np.testing.assert_array_equal(batch[:, 0].numpy(), IMAGES[rows[numbers]])


def test_what_takes_more_than_the_budget_is_streamed() -> None:
    images = LabelledImages(np.zeros((1025, 32, 32), np.uint8), np.zeros(1025, np.int64))
    assert isinstance(on_device(images, CPU, 1), Streamed)
    assert isinstance(on_device(images, CPU, 2), Resident)
    assert isinstance(on_device(images, CPU, None), InPlace)


@pytest.mark.parametrize(("free", "kind"), [(4 * 1025 * 1024, Resident), (4 * 1025 * 1024 - 4, Streamed)])
def test_a_quarter_of_what_a_gpu_has_free_is_the_budget(free: int, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    images = LabelledImages(np.zeros((1025, 32, 32), np.uint8), np.zeros(1025, np.int64))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 0))
    monkeypatch.setattr("eusml.learning.residence.to_device", lambda taken, _: torch.from_numpy(taken))
    assert isinstance(on_device(images, torch.device("cuda"), None), kind)


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


def test_images_train_to_the_same_bits_wherever_they_lie(tiny_settings: TrainConfig, tmp_path: Path) -> None:
    part, held_out = partition(tmp_path / "images.npy", np.arange(20)), LabelledImages(*two_classes(10, 32, seed=2))
    ways = [tiny_settings.model_copy(update={"resident_mib": mib, "epochs": 2}) for mib in (None, 0, 1)]
    results = [fit(part, held_out, settings, job="j") for settings in ways]
    assert len({weights_sha256(result.network) for result in results}) == 1
    measured = [[(row.train_loss, row.test_loss) for row in result.history] for result in results]
    assert measured[0] == measured[1] == measured[2]
