"""Batches of decoded images, in an order and augmentation that are pure functions of (seed, epoch, sample)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from eusml.config import OnlineConfig
from eusml.data.augment import online_parameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ORDER_STREAM = 0x0D
_AT_ONCE = 256


@dataclass(frozen=True)
class LabelledImages:
    """Grey images with their class; `images[rows[i]]` is the image of class `y_true[i]`."""

    images: "NDArray[np.uint8]"
    """uint8 [M, S, S]; may lie in a file, of which only what is looked at is read."""
    y_true: "NDArray[np.int64]"
    """int64 [N]: 1 for the positive class."""
    rows: "NDArray[np.int64] | None" = None
    """int64 [N]: which of the images; None for all of them, in their order. A partition of a cohort that is larger than
    memory is named, not copied."""

    def __post_init__(self) -> None:
        assert self.images.dtype == np.uint8
        assert self.images.ndim == 3
        assert self.y_true.shape == (len(self.images) if self.rows is None else len(self.rows),)

    def __len__(self) -> int:
        return len(self.y_true)

    @property
    def nbytes(self) -> int:
        """What the images take in memory."""
        return len(self) * int(np.prod(self.images.shape[1:]))

    def take(self, which: "NDArray[np.int64] | slice") -> "NDArray[np.uint8]":
        """Some of the images, uint8 [B, S, S]."""
        return np.asarray(self.images[which if self.rows is None else self.rows[which]])


@dataclass(frozen=True)
class Normalisation:
    """Grey level 0-1 to network input, one mean and deviation per channel (1 for grey, 3 for ImageNet weights)."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of_images(cls, images: LabelledImages) -> "Normalisation":
        """Mean and deviation of a training partition; a blank partition gets deviation 1/255 rather than 0."""
        # Sums of integers, so that the figure does not depend on the order of addition.
        levels = np.zeros(256, np.int64)
        for start in range(0, len(images), _AT_ONCE):
            levels += np.bincount(images.take(slice(start, start + _AT_ONCE)).ravel(), minlength=256)
        grey = np.arange(256) / 255.0
        mean = float((levels * grey).sum() / levels.sum())
        variance = float((levels * (grey - mean) ** 2).sum() / levels.sum())
        return cls((mean,), (max(variance**0.5, 1 / 255),))

    def __call__(self, grey: torch.Tensor) -> torch.Tensor:
        """Float32 [B, 1, S, S] of 0-1 to float32 [B, C, S, S], channels-last."""
        # By numbers, not by tensors: those would have to be carried to the device in every step, which waits for it.
        channels = [(grey - mean) / std for mean, std in zip(self.mean, self.std, strict=True)]
        return torch.cat(channels, 1).contiguous(memory_format=torch.channels_last)


def to_device(images: "NDArray[np.uint8]", device: torch.device) -> torch.Tensor:
    """uint8 [N, S, S] to a resident uint8 tensor [N, 1, S, S]."""
    return torch.from_numpy(images).unsqueeze(1).to(device)


def to_grey(images: torch.Tensor) -> torch.Tensor:
    """uint8 tensor to float32 of 0-1."""
    return images.to(torch.float32).div_(255.0)


def epoch_order(seed: int, epoch: int, count: int, batch_size: int) -> "list[NDArray[np.int64]]":
    """Sample numbers of every batch of one epoch.

    Batch sizes differ by one at most: batch normalisation cannot work on the single image that a plain
    remainder may leave.
    """
    order = np.random.default_rng([seed, epoch, _ORDER_STREAM]).permutation(count)
    return np.array_split(order, -(-count // batch_size))


def drawn_parameters(
    seed: int, epoch: int, count: int, batches: "Sequence[NDArray[np.int64]]", settings: OnlineConfig, to: torch.device
) -> Sequence[torch.Tensor | None]:
    """What on-line augmentation does to every batch of an epoch of `count` samples: float32 [B, 10] each, on `to`."""
    if not settings.enabled:
        return [None] * len(batches)
    drawn = online_parameters(seed, epoch, count, settings)[np.concatenate(batches)]
    # Once for the epoch: carrying each batch's own would make the device wait.
    return torch.split(torch.from_numpy(drawn).to(to, non_blocking=True), [len(batch) for batch in batches])


def augment_online(grey: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
    """Rotate, flip, zoom and shift a batch in one resampling, and display it as another machine's settings would.

    Args:
        grey: float32 [B, 1, S, S] of 0-1.
        parameters: float32 [B, 10], columns as `eusml.data.augment.online_parameters` gives them.
    """
    angle, flip, scale, shift_x, shift_y, *display = parameters.unbind(1)
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    # Each row maps output to input coordinates, which run from -1 to 1: a shift of the whole side is 2.
    theta = torch.stack(
        [
            torch.stack([cos * flip, -sin, 2 * shift_x], dim=1),
            torch.stack([sin * flip, cos, 2 * shift_y], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(theta, list(grey.shape), align_corners=False)
    # Reflection leaves no black corners that would tell a turned image from an upright one. Cubic, because linear
    # interpolation smooths speckle away, and the texture is what is to be learnt.
    moved = functional.grid_sample(grey, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    return _displayed(moved.clamp_(0.0, 1.0), *(column.view(-1, 1, 1, 1) for column in display))


def _displayed(
    grey: torch.Tensor,
    gamma: torch.Tensor,
    contrast: torch.Tensor,
    brightness: torch.Tensor,
    tilt_x: torch.Tensor,
    tilt_y: torch.Tensor,
) -> torch.Tensor:
    """Gamma, then contrast, brightness and tilt, each [B, 1, 1, 1]; what changes nothing changes no bit."""
    grey = grey.pow_(gamma)
    side = grey.shape[-1]
    across = (torch.arange(side, device=grey.device) * 2 + 1 - side) / side
    offset = brightness + tilt_x * across.view(1, 1, 1, side) + tilt_y * across.view(1, 1, side, 1)
    stretched = grey + (contrast - 1) * (grey - grey.mean((2, 3), keepdim=True))
    return stretched.add_(offset).clamp_(0.0, 1.0)
