"""THE decoder: bytes to a checked grey image, and from there to the square that a network sees.

Training, evaluation and the served model all go through `decode` and `prepare_image`, so what is served is what
was evaluated.
"""

import io
import warnings
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from eusml.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
MAX_PIXELS = 25_000_000
"""Larger images are refused before decoding: a few KB of PNG can unfold to gigabytes."""
MIN_SIDE_PX = 8
MAX_ROI_SIDE_PX = 10_000
"""Of the square cut out around a lesion, which may be wider than a long and narrow image is high."""

Box = tuple[int, int, int, int]
"""x, y, width, height in pixels of the stored image."""


def decode(data: bytes, name: str) -> "NDArray[np.uint8]":
    """Bytes of an image file to grey uint8 [H, W], as a viewer would show it.

    Colour becomes luma (ITU-R BT.601), transparency lies on black, 16 bits are scaled by their full range, EXIF
    orientation is applied.

    Args:
        data: the file's bytes.
        name: what to call it in messages.

    Raises:
        DataError: not an image of a known format, damaged, animated, too large or too small.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower and is an error
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise DataError(f"image {name} has {width} x {height} pixels; at most {MAX_PIXELS // 1_000_000} million")
        if min(width, height) < MIN_SIDE_PX:
            raise DataError(f"image {name} has {width} x {height} pixels; at least {MIN_SIDE_PX} on each side")
        if getattr(image, "n_frames", 1) > 1:
            raise DataError(f"image {name} holds {getattr(image, 'n_frames', 1)} frames; one is expected")
        image.load()
        return _to_grey(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise DataError(f"image {name} is none of {', '.join(FORMATS)} ({len(data)} bytes)") from None
    except DataError:
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything, TypeError included
        raise DataError(f"image {name} is damaged: {error}") from None


def encode_png(image: "NDArray[np.uint8]", metadata: "Mapping[str, str] | None" = None) -> bytes:
    """Grey uint8 [H, W] to a PNG file with text metadata."""
    assert image.dtype == np.uint8
    info = PngImagePlugin.PngInfo()
    for key, value in (metadata or {}).items():
        info.add_text(key, value)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def prepare_image(
    grey: "NDArray[np.uint8]", box: Box | None, *, size_px: int, margin_frac: float, name: str
) -> "NDArray[np.uint8]":
    """The square region of interest at the size a network takes.

    With a box: the square around its centre, its longer side plus the margin on each side, moved inside the picture
    and filled with black where the picture is too small. Without: the largest centred square.

    Args:
        grey: uint8 [H, W].
        box: region in pixels of `grey`.
        size_px: side of the result.
        margin_frac: margin on each side, as a fraction of the box's longer side.
        name: what to call the image in messages.

    Returns:
        uint8 [size_px, size_px].

    Raises:
        DataError: the box is empty, too large or does not lie inside the image.
    """
    height, width = grey.shape
    if box is None:
        side = min(height, width)
        x, y = (width - side) // 2, (height - side) // 2
    else:
        left, top, box_width, box_height = box
        if box_width < 1 or box_height < 1:
            raise DataError(f"image {name}: box {box} is empty (x, y, width, height in pixels)")
        if left < 0 or top < 0 or left + box_width > width or top + box_height > height:
            raise DataError(
                f"image {name}: box x={left} y={top} width={box_width} height={box_height} does not lie inside its "
                f"{width} x {height} pixels"
            )
        side = max(round(max(box_width, box_height) * (1 + 2 * margin_frac)), 2)
        if side > MAX_ROI_SIDE_PX:
            raise DataError(
                f"image {name}: the region of interest with its margin is {side} pixels wide; at most {MAX_ROI_SIDE_PX}"
            )
        x = _inside(round(left + box_width / 2 - side / 2), side, width)
        y = _inside(round(top + box_height / 2 - side / 2), side, height)
    square = np.zeros((side, side), np.uint8)
    part = grey[max(y, 0) : y + side, max(x, 0) : x + side]
    square[max(-y, 0) : max(-y, 0) + part.shape[0], max(-x, 0) : max(-x, 0) + part.shape[1]] = part
    if side == size_px:
        return square
    # Area averaging keeps speckle from folding into false texture when the image shrinks.
    how = cv2.INTER_AREA if side > size_px else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (size_px, size_px), interpolation=how), dtype=np.uint8)


def _inside(start: int, side: int, length: int) -> int:
    """Start of an interval of `side` moved into `length`; centred (and negative) when it does not fit."""
    if side > length:
        return (length - side) // 2
    return min(max(start, 0), length - side)


def _to_grey(image: Image.Image) -> "NDArray[np.uint8]":
    if image.mode.startswith("I;16") or image.mode == "I":
        # Pillow itself would saturate: everything above 255 becomes white.
        wide = np.asarray(image).astype(np.int64)
        return np.asarray(np.clip(wide, 0, 65535) // 257, dtype=np.uint8)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined black and white")
    if image.mode in {"P", "PA", "LA", "RGBA"} or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")
    elif image.mode not in {"L", "RGB"}:
        image = image.convert("RGB")
    return np.asarray(image.convert("L"), dtype=np.uint8)
