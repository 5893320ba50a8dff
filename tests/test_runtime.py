"""What a training asks of the machine."""

import ctypes
import platform
import resource
from pathlib import Path

import pytest
import torch

from eusml.config import TrainConfig
from eusml.learning import train
from eusml.learning.batches import LabelledImages
from eusml.learning.train import fit
from eusml.runtime import kept_memory
from tests.conftest import two_classes

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not hasattr(ctypes.CDLL(None), "mallinfo2"),
    reason="kept_memory is for glibc alone, and mallinfo2, which shows what it does, came with 2.33",
)

SIDE = 8192
"""Of a tensor of 256 MiB, more than glibc ever keeps by itself."""
PAGES = SIDE * SIDE * 4 // resource.getpagesize()


class MallocInfo(ctypes.Structure):
    """`struct mallinfo2` of glibc's malloc.h."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    ]


def is_mapped() -> bool:
    """Whether the kernel is asked for a new tensor's memory alone, and gets it back with the tensor."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = MallocInfo
    before = mallinfo().hblks
    tensor = torch.empty(2**30, dtype=torch.uint8)  # larger than what lies about, and never touched
    found = mallinfo().hblks > before
    del tensor
    return found


def page_faults() -> int:
    """Of a large tensor that is made after another was dropped."""
    torch.ones(SIDE + 1, SIDE)  # room to align it in
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(SIDE, SIDE)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident_pages() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1])


def test_memory_of_a_dropped_tensor_is_kept_for_the_next() -> None:
    with kept_memory():
        assert not is_mapped()
        assert page_faults() < PAGES / 10


def test_kept_memory_is_given_back_at_the_end() -> None:
    with kept_memory():
        torch.ones(SIDE, SIDE)
        kept = resident_pages()
    assert kept - resident_pages() > PAGES / 2
    assert is_mapped()


def test_a_training_keeps_memory_while_it_runs(tiny_settings: TrainConfig) -> None:
    found: list[bool] = []
    cases = LabelledImages(*two_classes(24, 32, seed=0))
    fit(cases, None, tiny_settings, job="any", on_epoch=lambda _: found.append(is_mapped()))
    assert found == [False] * 3
    assert is_mapped()


def test_it_keeps_memory_until_statistics_are_measured_anew(
    tiny_settings: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bool] = []
    monkeypatch.setattr(train, "recalibrate", lambda *_: found.append(is_mapped()))
    fit(LabelledImages(*two_classes(24, 32, seed=0)), None, tiny_settings, job="any")
    assert found == [False]
