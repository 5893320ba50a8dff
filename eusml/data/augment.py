"""The study's off-line expansion, and what is drawn for on-line augmentation.

Off-line: five operations, each adding one copy of every training image (113 → 678); every copy carries its
parent, so that a test can prove that no held-out case has one. On-line: parameters that are a pure function of
(seed, epoch, sample); `eusml.learning.batches` applies them on the device.
"""

import zipfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eusml.config import AugmentConfig, OnlineConfig
from eusml.data.parallel import cores
from eusml.errors import DataError
from eusml.files import written_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

ORIGINAL = "original"
_GEOMETRY_STREAM = 0x0A
_DISPLAY_STREAM = 0x0E


@dataclass(frozen=True)
class Expanded:
    """Training images and their copies, originals first, then one block per operation."""

    images: "NDArray[np.uint8]"
    """uint8 [N · (1 + operations), S, S]."""
    parent: "NDArray[np.int64]"
    """int64: which of the N training images each one comes from."""
    operation: "NDArray[np.str_]"
    """`original` or the operation's name."""


def expand(images: "NDArray[np.uint8]", case_ids: Sequence[str], settings: AugmentConfig) -> Expanded:
    """One copy of every image per operation; what is drawn depends on (seed, operation, case) alone.

    Args:
        images: uint8 [N, S, S] of the training partition.
        case_ids: N names.
        settings: operations and their strengths.
    """
    from eusml.data.transforms import copier

    assert len(images) == len(case_ids) > 0
    grown = np.empty((1 + len(settings.operations), *images.shape), np.uint8)
    grown[0] = images
    cases = [zlib.crc32(case.encode()) for case in case_ids]

    def fill(part: slice) -> None:
        for block, operation in zip(grown[1:], settings.operations, strict=True):
            # The name and not the place in the list: dropping one operation leaves the other copies as they were.
            stream = zlib.crc32(operation.encode())
            draws = (np.random.default_rng([settings.seed, stream, case]) for case in cases[part])
            copier(operation, settings)(images[part], draws, block[part])

    # Threads, because OpenCV lets others work meanwhile.
    ends = np.linspace(0, len(images), min(cores(), len(images)) + 1).astype(int).tolist()
    with ThreadPoolExecutor(len(ends) - 1) as pool:
        list(pool.map(fill, map(slice, ends[:-1], ends[1:])))
    names = np.array([ORIGINAL, *settings.operations])
    return Expanded(
        grown.reshape(-1, *images.shape[1:]), np.tile(np.arange(len(images)), len(names)), np.repeat(names, len(images))
    )


def save_expanded(expanded: Expanded, path: Path) -> None:
    """Write to one `.npz` file; a kill leaves it whole or absent."""
    with written_whole(path) as file:
        np.savez(file, images=expanded.images, parent=expanded.parent, operation=expanded.operation)


def load_expanded(path: Path) -> Expanded:
    """Read what `save_expanded` wrote.

    Raises:
        DataError: the file is damaged.
    """
    try:
        # Opened here, because numpy leaves a file open that turns out to be no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Expanded(arrays["images"], arrays["parent"], arrays["operation"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"augmented images in {path} cannot be read ({error}); delete the file") from None


def online_parameters(seed: int, epoch: int, count: int, settings: OnlineConfig) -> "NDArray[np.float32]":
    """What is done to each of `count` samples in one epoch.

    Returns:
        float32 [count, 10]: angle (radians), flip (1 or -1), scale (factor), shift in x and y (fractions of the
        side), gamma (exponent), contrast (factor), brightness, tilt in x and y (grey levels 0-1). Row i depends on
        (seed, epoch, i) alone.
    """
    unit = np.random.default_rng([seed, epoch, _GEOMETRY_STREAM]).random((count, 6))
    signed = 2.0 * unit - 1.0
    display = 2.0 * np.random.default_rng([seed, epoch, _DISPLAY_STREAM]).random((count, 4)) - 1.0
    tilt, towards = settings.tilt * display[:, 2], np.pi * display[:, 3]
    columns = [
        np.deg2rad(settings.rotation_limit_deg) * signed[:, 0],
        np.where(settings.flip & (unit[:, 1] < 0.5), -1.0, 1.0),
        1.0 + settings.scale_frac * signed[:, 2],
        settings.shift_frac * signed[:, 3],
        settings.shift_frac * signed[:, 4],
        np.exp(np.log1p(settings.gamma_frac) * signed[:, 5]),
        1.0 + settings.contrast_frac * display[:, 0],
        settings.brightness * display[:, 1],
        tilt * np.cos(towards),
        tilt * np.sin(towards),
    ]
    return np.stack(columns, axis=1).astype(np.float32)
