"""Is an image fit to be asked about? Warnings whose limits are measured on the images that a network was trained on.

Four questions: is the region of interest large enough, does it show anything, is it clipped, and does its texture look
like theirs? `benchmarks/README.md` has how many images are flagged. No warning does not mean that an image shows the
right organ: other ultrasound has much the same texture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eusml.data.boxes import Box
from eusml.data.likeness import Likeness, measure_likeness
from eusml.data.texture import texture
from eusml.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLANK_SD = 2.0
"""Standard deviation of the region of interest, grey levels, up to which it counts as blank."""
MIN_IMAGES = 20
"""Fewer say too little about how such images vary."""
MAX_IMAGES = 2000
"""Of more images, so many are measured, evenly spread: limits do not get any better."""
_EXTREME_SHARE = 0.995
"""Of images that lie within the limit of a plain measure; of fewer than 200 images it is their extreme."""
_BLANK_FRAC = 0.5
"""An image with half the contrast of the least contrasted ones is called blank."""
_SMALL_FRAC = 0.9
"""A region a tenth smaller than the smallest ones is not worth a word."""
_CLIPPED_SLACK = 0.05
"""Share of clipped pixels, beyond the most clipped training image, that is not worth a word."""


@dataclass(frozen=True)
class QualityReference:
    """What images that a network knows are like: plain numbers, which JSON keeps exactly."""

    count: int
    """Images that were measured."""
    side_px: int
    """Side of the prepared images; texture depends on it."""
    min_region_px: int
    """Longer side of a region of interest, stored pixels, from which on it is large enough."""
    min_grey_sd: float
    """Standard deviation of grey levels up to which an image is blank."""
    max_black_frac: float
    """Share of pixels at 0 up to which an image is not clipped."""
    max_white_frac: float
    """The same at 255."""
    likeness: Likeness
    """Their texture, and how far from it one in a hundred is."""

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "QualityReference":
        """Back from `dataclasses.asdict`, also by way of JSON.

        Raises:
            KeyError, TypeError, ValueError: not such a dictionary, or of other figures than this code measures.
        """
        return cls(**{**fields, "likeness": Likeness.from_dict(fields["likeness"])})


def region_size(box: Box | None, width_px: int, height_px: int) -> tuple[int, int]:
    """Width and height of what counts as the region of interest, in stored pixels: the box or the centred square.

    Args:
        box: the lesion.
        width_px: of the picture, cut to its DICOM region if there is one.
        height_px: the same.
    """
    side = min(width_px, height_px)
    return (side, side) if box is None else (box[2], box[3])


def measure_reference(
    images: "NDArray[np.uint8]", region_sides_px: Sequence[tuple[int, int]], groups: Sequence[int] | None = None
) -> QualityReference:
    """What the training images are like.

    Args:
        images: uint8 [N, S, S], prepared, at least 20 that are not blank.
        region_sides_px: width and height of each region of interest, as `region_size` gives them.
        groups: the same number for images of one patient or copies of one picture, as the audit found them; without,
            every image counts as one of its own, and limits are too narrow where that is not so.

    Raises:
        DataError: there are too few images.
    """
    assert images.dtype == np.uint8
    assert len(images) == len(region_sides_px)
    places = evenly_spread(len(images))
    places = np.array([place for place in places if images[place].std() > BLANK_SD], np.int64)
    if len(places) < MIN_IMAGES:
        raise DataError(
            f"{len(places)} training images show something; what such images are like needs at least {MIN_IMAGES}"
        )
    side = images.shape[1]
    longer = np.array([max(region_sides_px[place]) for place in places], dtype=np.float64)
    deviations = [float(images[place].std()) for place in places]
    figures = np.stack([texture(images[place]) for place in places])
    return QualityReference(
        count=len(places),
        side_px=side,
        # A region larger than the network's input lacks nothing, however large the others are.
        min_region_px=min(side, int(_SMALL_FRAC * _lowest(longer))),
        min_grey_sd=max(BLANK_SD, _BLANK_FRAC * _lowest(deviations)),
        max_black_frac=_most([_share(images[place], 0) for place in places]),
        max_white_frac=_most([_share(images[place], 255) for place in places]),
        likeness=measure_likeness(figures, longer, places.tolist() if groups is None else [groups[p] for p in places]),
    )


def evenly_spread(count: int) -> "NDArray[np.int64]":
    """Which of `count` images are measured: all of them, or `MAX_IMAGES`."""
    return np.unique(np.linspace(0, count - 1, min(count, MAX_IMAGES)).astype(np.int64))


def texture_distance(image: "NDArray[np.uint8]", region_px: tuple[int, int], reference: QualityReference) -> float:
    """How far the texture of a prepared image, uint8 [S, S], is from that of the training images."""
    assert image.shape == (reference.side_px,) * 2, image.shape
    side = np.array([max(region_px)], dtype=np.float64)
    return float(reference.likeness.distances(texture(image)[None], side)[0])


def quality_warnings(
    image: "NDArray[np.uint8]", region_px: tuple[int, int], reference: QualityReference
) -> tuple[str, ...]:
    """What speaks against asking about an image; empty where nothing does.

    Args:
        image: uint8 [S, S], prepared as the training images were.
        region_px: width and height of its region of interest, as `region_size` gives them.
        reference: what the training images are like.

    Returns:
        One plain sentence each, with the figure and its limit.
    """
    assert image.dtype == np.uint8
    found = []
    width, height = region_px
    if max(region_px) < reference.min_region_px:
        found.append(
            f"too small: the region of interest is {width} x {height} pixels, its longer side should have at least "
            f"{reference.min_region_px}"
        )
    spread = float(image.std())
    if spread <= reference.min_grey_sd:
        # Without contrast there is no texture to speak of, and black or white is no news.
        return (
            *found,
            f"blank: grey levels deviate by {spread:.1f}, expected are more than {reference.min_grey_sd:.1f}",
        )
    for level, name, limit in ((0, "black", reference.max_black_frac), (255, "white", reference.max_white_frac)):
        share = _share(image, level)
        if share > limit:
            found.append(
                f"saturated: {100 * share:.1f} % of its pixels are {name}, expected are at most {100 * limit:.1f} %"
            )
    distance, limit = texture_distance(image, region_px, reference), reference.likeness.max_distance
    if distance > limit:
        found.append(
            f"not like the images it was trained on: distance {distance:.1f}, 99 % of those are below {limit:.1f}"
        )
    return tuple(found)


def _share(image: "NDArray[np.uint8]", level: int) -> float:
    return float(np.count_nonzero(image == level)) / image.size


def _lowest(values: "Sequence[float] | NDArray[np.float64]") -> float:
    return float(np.quantile(values, 1 - _EXTREME_SHARE, method="lower"))


def _most(shares: Sequence[float]) -> float:
    return min(float(np.quantile(shares, _EXTREME_SHARE, method="higher")) + _CLIPPED_SLACK, 1.0)
