"""The study's five operations on one grey image, with albumentations; log and sigmoid contrast are our own."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from eusml.config import AugmentConfig, Operation

Images = NDArray[np.uint8]
Draws = Iterable[np.random.Generator]
Copier = Callable[[Images, Draws, Images], None]
"""Takes images, uint8 [N, S, S], and a generator for what is drawn for each; fills their copies, uint8 [N, S, S]."""

_GREY = np.arange(256) / 255.0


class LogContrast(A.ImageOnlyTransform):  # type: ignore[misc]
    """O = gain · log2(1 + I) on grey levels 0-1, as `skimage.exposure.adjust_log` does ("contrast adjustment 1")."""

    def __init__(self, gain: float = 1.0, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.gain = gain
        self.table = _table(gain * np.log2(1.0 + _GREY))

    def apply(self, img: Images, **params: Any) -> Images:
        """Look every pixel up in a table of 256 entries; `img` may hold many images."""
        return _look_up(img, self.table)


class SigmoidContrast(A.ImageOnlyTransform):  # type: ignore[misc]
    """O = 1 / (1 + exp(gain · (cutoff - I))), as `skimage.exposure.adjust_sigmoid` ("contrast adjustment 2")."""

    def __init__(self, cutoff: float = 0.5, gain: float = 10.0, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.cutoff = cutoff
        self.gain = gain
        self.table = _table(1.0 / (1.0 + np.exp(gain * (cutoff - _GREY))))

    def apply(self, img: Images, **params: Any) -> Images:
        """Look every pixel up in a table of 256 entries; `img` may hold many images."""
        return _look_up(img, self.table)


def copier(operation: Operation, settings: AugmentConfig) -> Copier:
    """What makes copies of images by one operation; what is drawn comes from the generators alone.

    One for each thread: albumentations' transforms keep what they drew last.
    """
    if operation == "rotation":
        return _Turned(settings.rotation_limit_deg)
    if operation == "flip":
        return _mirrored
    if operation == "clahe":
        limits = (settings.clahe_clip_limit,) * 2
        return partial(_equalised, A.CLAHE(clip_limit=limits, tile_grid_size=(8, 8), p=1.0))
    if operation == "log":
        return partial(_mapped, LogContrast(settings.log_gain))
    return partial(_mapped, SigmoidContrast(settings.sigmoid_cutoff, settings.sigmoid_gain))


class _Turned:
    def __init__(self, limit_deg: float) -> None:
        self.limit_deg = limit_deg
        # Reflection leaves no black corners that would tell a turned image from an upright one.
        self.rotate = A.Rotate(limit=(-limit_deg, limit_deg), border_mode=cv2.BORDER_REFLECT_101, p=1.0)

    def __call__(self, images: Images, draws: Draws, copies: Images) -> None:
        for image, rng, copy in zip(images, draws, copies, strict=True):
            angle = float(rng.uniform(-self.limit_deg, self.limit_deg))
            # Its own generator has nothing to choose from; a new transform each time would take longer than turning.
            self.rotate.limit = (angle, angle)
            copy[:] = _applied(self.rotate, image)


def _mirrored(images: Images, draws: Draws, copies: Images) -> None:
    across = np.array([rng.random() < 0.5 for rng in draws])
    for chosen, flip in ((across, A.HorizontalFlip(p=1.0)), (~across, A.VerticalFlip(p=1.0))):
        if chosen.any():
            copies[chosen] = flip(images=images[chosen][..., None])["images"][..., 0]


def _equalised(clahe: A.CLAHE, images: Images, _: Draws, copies: Images) -> None:
    for image, copy in zip(images, copies, strict=True):
        copy[:] = _applied(clahe, image)


def _mapped(contrast: LogContrast | SigmoidContrast, images: Images, _: Draws, copies: Images) -> None:
    # All at once: threads that ask for Python's lock at every image spend their time on that.
    copies[:] = contrast.apply(images)


def _applied(transform: A.BasicTransform, image: Images) -> Images:
    # albumentations takes and gives [S, S, 1]; some of its operations refuse an image without a channel axis.
    result = transform(image=image[..., None])["image"]
    return np.asarray(result, dtype=np.uint8).reshape(image.shape)


def _table(levels: NDArray[np.float64]) -> Images:
    return np.clip(np.rint(levels * 255.0), 0, 255).astype(np.uint8)


def _look_up(image: Images, table: Images) -> Images:
    # OpenCV takes a third axis for channels, of which it has 512 at most.
    return np.asarray(cv2.LUT(image.reshape(len(image), -1), table), dtype=np.uint8).reshape(image.shape)
