"""Where the images of a training lie: on the device if they fit, else they follow a batch ahead of the steps."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
import torch

from eusml.learning.batches import LabelledImages, to_device

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHARE = 0.25
"""Of what a CUDA device has free: the rest is for the network, its moments and its maps."""
_AHEAD = 3
"""Batches that are read while one is trained on."""

Order: TypeAlias = "Sequence[NDArray[np.int64]]"
"""Sample numbers of batch after batch."""


class DeviceImages(Protocol):
    """Images that a device can be fed with; where they lie changes no bit of what it gets."""

    def batches(self, order: Order) -> Iterator[torch.Tensor]:
        """uint8 [B, 1, S, S] on the device for every entry of `order`, int64 [B]."""


class InPlace:
    """Images where the CPU reaches them: an array, or the pages of a file, which the system keeps as it can."""

    def __init__(self, images: LabelledImages) -> None:
        self._images = images

    def batches(self, order: Order) -> Iterator[torch.Tensor]:
        """uint8 [B, 1, S, S] for every entry of `order`, int64 [B]."""
        for rows in order:
            yield to_device(self._images.take(rows), torch.device("cpu"))


class Resident:
    """All images on the device."""

    def __init__(self, images: LabelledImages, device: torch.device) -> None:
        self._images = to_device(images.take(slice(None)), device)

    def batches(self, order: Order) -> Iterator[torch.Tensor]:
        """uint8 [B, 1, S, S] on the device for every entry of `order`, int64 [B]."""
        # The order of an epoch is carried over once: an index per step would make the device wait for the host.
        rows = torch.from_numpy(np.concatenate(order)).to(self._images.device, non_blocking=True)
        for batch in torch.split(rows, [len(batch) for batch in order]):
            yield self._images[batch]


class Streamed:
    """Images that stay in memory, or in the file that they are mapped from; a thread reads ahead.

    They are decoded already, so there is no work in it that a process would be needed for.
    """

    def __init__(self, images: LabelledImages, device: torch.device) -> None:
        self._images, self._device = images, device

    def batches(self, order: Order) -> Iterator[torch.Tensor]:
        """uint8 [B, 1, S, S] on the device for every entry of `order`, int64 [B]."""
        with ThreadPoolExecutor(1, "images") as reader:
            waiting: deque[Future[torch.Tensor]] = deque()
            left = iter(order)
            while True:
                while len(waiting) < _AHEAD and (batch := next(left, None)) is not None:
                    waiting.append(reader.submit(self._read, batch))
                if not waiting:
                    return
                # From pinned memory a copy does not hold the host up; torch keeps that memory until it is done.
                yield waiting.popleft().result().to(self._device, non_blocking=True)

    def _read(self, rows: "NDArray[np.int64]") -> torch.Tensor:
        batch = to_device(self._images.take(rows), torch.device("cpu"))
        return batch.pin_memory() if self._device.type == "cuda" else batch


def on_device(images: LabelledImages, device: torch.device, resident_mib: int | None) -> DeviceImages:
    """The images, resident if they take at most `resident_mib`, by default a quarter of what a CUDA device has free.

    On the CPU they stay where they are by default.
    """
    if resident_mib is None and device.type == "cpu":
        return InPlace(images)
    budget = torch.cuda.mem_get_info(device)[0] * _SHARE if resident_mib is None else resident_mib * 2**20
    return (Resident if images.nbytes <= budget else Streamed)(images, device)
