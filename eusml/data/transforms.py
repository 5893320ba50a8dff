"""The study's five operations on grey images; log and sigmoid contrast are our own.

By the functions under albumentations' transforms: the transforms themselves see to boxes, masks and probabilities, too,
which takes as long as the operations.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import cv2
import numpy as np
from albumentations.augmentations.geometric import functional as geometric
from albumentations.augmentations.pixel import functional as pixel
from numpy.typing import NDArray

from eusml.config import AugmentConfig, Operation

Images = NDArray[np.uint8]
Levels = NDArray[np.uint8]
"""uint8 [256]: what each grey level becomes."""
Draws = Iterable[np.random.Generator]
Copier = Callable[[Images, Draws, Images], None]
"""Takes images, uint8 [N, S, S], and a generator for what is drawn for each; fills their copies, uint8 [N, S, S]."""

_GREY = np.arange(256) / 255.0
_CLAHE_TILES = (8, 8)


def copier(operation: Operation, settings: AugmentConfig) -> Copier:
    """What makes copies of images by one operation; what is drawn comes from the generators alone."""
    if operation == "rotation":
        return partial(_turned, settings.rotation_limit_deg)
    if operation == "flip":
        return _mirrored
    if operation == "clahe":
        return partial(_equalised, settings.clahe_clip_limit)
    if operation == "log":
        return partial(_mapped, log_contrast(settings.log_gain))
    return partial(_mapped, sigmoid_contrast(settings.sigmoid_cutoff, settings.sigmoid_gain))


def log_contrast(gain: float) -> Levels:
    """Of every grey level, O = gain · log2(1 + I) on 0-1, as `skimage.exposure.adjust_log` (contrast adjustment 1)."""
    return _table(gain * np.log2(1.0 + _GREY))


def sigmoid_contrast(cutoff: float, gain: float) -> Levels:
    """Of every grey level, O = 1 / (1 + exp(gain · (cutoff - I))), as `adjust_sigmoid` (contrast adjustment 2)."""
    return _table(1.0 / (1.0 + np.exp(gain * (cutoff - _GREY))))


def _turned(limit_deg: float, images: Images, draws: Draws, copies: Images) -> None:
    side = images.shape[1]
    still: dict[str, Any] = {"translate": {"x": 0, "y": 0}, "shear": {"x": 0, "y": 0}, "scale": {"x": 1, "y": 1}}
    centre = geometric.center((side, side))
    for image, rng, copy in zip(images, draws, copies, strict=True):
        # As `A.Rotate` does, without its way through boxes and masks, which takes longer than turning.
        angle = float(rng.uniform(-limit_deg, limit_deg))
        turn = geometric.create_affine_transformation_matrix(**still, rotate=angle, shift=centre)
        # Reflection leaves no black corners that would tell a turned image from an upright one.
        cv2.warpAffine(image, turn[:2], (side, side), dst=copy, borderMode=cv2.BORDER_REFLECT_101)


def _mirrored(images: Images, draws: Draws, copies: Images) -> None:
    for image, rng, copy in zip(images, draws, copies, strict=True):
        copy[:] = geometric.hflip(image) if rng.random() < 0.5 else geometric.vflip(image)


def _equalised(clip_limit: float, images: Images, _: Draws, copies: Images) -> None:
    for image, copy in zip(images, copies, strict=True):
        copy[:] = pixel.clahe(image, clip_limit, _CLAHE_TILES)


def _mapped(levels: Levels, images: Images, _: Draws, copies: Images) -> None:
    # All at once: threads that ask for Python's lock at every image spend their time on that. OpenCV takes a third axis
    # for channels, of which it has 512 at most.
    copies[:] = cv2.LUT(images.reshape(len(images), -1), levels).reshape(images.shape)


def _table(levels: NDArray[np.float64]) -> Levels:
    return np.clip(np.rint(levels * 255.0), 0, 255).astype(np.uint8)
