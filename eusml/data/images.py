"""THE decoder: bytes to a checked grey picture, and from there to the square that a network sees.

Training, evaluation and the served model all go through `read_picture` and `prepare`, so what is served is what
was evaluated.
"""

import io
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageChops, ImageOps, PngImagePlugin, UnidentifiedImageError

from eusml.data.boxes import Box, check_box
from eusml.data.dicom import Frame, is_dicom, read_frame
from eusml.data.overlays import COLOUR_SPREAD, inpaint, overlay_mask
from eusml.errors import DataError, UnreadError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
MAX_BYTES = 256 * 1024 * 1024
"""Of a file that is read whole; a DICOM file on disk may be larger, only one frame of it is read."""
MAX_PIXELS = 25_000_000
"""Larger images are refused before decoding: a few KB of PNG can unfold to gigabytes."""
MIN_SIDE_PX = 8
MAX_ROI_SIDE_PX = 10_000
"""Of the square cut out around a lesion, which may be wider than a long and narrow image is high."""
FULL_RANGE = (0, 65535)
_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Preparation:
    """How a file becomes what a network sees. It belongs to a model: serving must do the same."""

    size_px: int
    """Side of the result."""
    margin_frac: float
    """Margin on each side of a lesion box, as a fraction of its longer side."""
    grey_range: tuple[int, int] = FULL_RANGE
    """The values of a 16-bit PNG or TIFF that are black and white."""
    frame: Frame = "middle"
    """Which frame of a DICOM file."""
    inpaint_overlays: bool = False
    """Paint over callipers and letters."""


@dataclass(frozen=True)
class Picture:
    """A decoded picture."""

    grey: "NDArray[np.uint8]"
    """uint8 [H, W], as a viewer would show it: colour as luma (ITU-R BT.601), transparency on black."""
    coloured: "NDArray[np.bool_] | None"
    """bool [H, W], which pixels are not grey; None where the file has no colours."""
    region: Box | None = None
    """What DICOM calls the region of the ultrasound picture, pixels."""

    @cached_property
    def marks(self) -> "NDArray[np.bool_]":
        """What was drawn into it, bool [H, W]."""
        return overlay_mask(self.grey, self.coloured)


def read_picture(
    data: bytes, name: str, *, grey_range: tuple[int, int] = FULL_RANGE, frame: Frame = "middle"
) -> Picture:
    """Bytes of an image file to pixels. Formats are known by their content; EXIF orientation is applied.

    Args:
        data: the file's bytes.
        name: what to call it in messages.
        grey_range: which values of a 16-bit PNG or TIFF are black and white; what lies outside is clipped.
        frame: which frame of a DICOM file.

    Raises:
        UnreadError: there is not the memory that it takes.
        DataError: not an image of a known format, damaged, animated, too large or too small.
    """
    if len(data) > MAX_BYTES:
        raise DataError(f"image {name} has {len(data):,} bytes; at most {MAX_BYTES:,} are read")
    if is_dicom(data):
        grey, header = read_frame(io.BytesIO(data), name, frame, max_pixels=MAX_PIXELS)
        _check_size(grey.shape[1], grey.shape[0], name)
        return Picture(grey, None, header.region)
    try:
        with warnings.catch_warnings():
            # Our own limit on pixels is lower and is an error; odd metadata is not looked at.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            _check_size(*image.size, name)
            if getattr(image, "n_frames", 1) > 1:
                raise DataError(f"image {name} holds {getattr(image, 'n_frames', 1)} frames; one is expected")
            image.load()
            return _picture(ImageOps.exif_transpose(image), grey_range)
    except Image.DecompressionBombError:  # Pillow's own limit, checked before it tells the size
        raise DataError(f"image {name} has far too many pixels; at most {MAX_PIXELS // 1_000_000} million") from None
    except UnidentifiedImageError:
        raise DataError(f"image {name} is none of {', '.join(FORMATS)}, DICOM ({len(data)} bytes)") from None
    except DataError:
        raise
    except MemoryError:
        raise UnreadError(f"image {name} cannot be read: it asks for more memory than there is") from None
    except Exception as error:  # damaged files make Pillow raise nearly anything, TypeError included
        raise DataError(f"image {name} is damaged: {error}") from None


def decode(data: bytes, name: str) -> "NDArray[np.uint8]":
    """The grey pixels of `read_picture`, uint8 [H, W].

    Raises:
        DataError: as there.
    """
    return read_picture(data, name).grey


def prepare(data: bytes, box: Box | None, preparation: Preparation, name: str) -> "NDArray[np.uint8]":
    """A file to the square that a network sees, uint8 [size_px, size_px].

    Args:
        data: the file's bytes.
        box: the lesion, in pixels of the picture as EXIF data turn it.
        preparation: how.
        name: what to call the file in messages.

    Raises:
        DataError: the file cannot be read, or the box does not lie inside it (inside the DICOM region, if there is
            one: the rest of such a frame is text).
    """
    picture = read_picture(data, name, grey_range=preparation.grey_range, frame=preparation.frame)
    return prepare_picture(picture, box, preparation, name)


def prepare_picture(picture: Picture, box: Box | None, preparation: Preparation, name: str) -> "NDArray[np.uint8]":
    """The same for a decoded picture."""
    picture, box = cut_region(picture, box, name)
    grey = picture.grey
    if preparation.inpaint_overlays:
        grey = inpaint(grey, picture.marks)
    return prepare_image(grey, box, size_px=preparation.size_px, margin_frac=preparation.margin_frac, name=name)


def cut_region(picture: Picture, box: Box | None, name: str) -> tuple[Picture, Box | None]:
    """The picture cut to its DICOM region, and the box in pixels of what is left.

    Raises:
        DataError: the box does not lie inside the region.
    """
    if picture.region is None:
        return picture, box
    x, y, width, height = picture.region
    cut = np.ascontiguousarray(picture.grey[y : y + height, x : x + width])
    _check_size(width, height, name)
    if box is not None:
        check_box((box[0] - x, box[1] - y, box[2], box[3]), width, height, f"{name}, cut to its ultrasound region")
        box = (box[0] - x, box[1] - y, box[2], box[3])
    return Picture(cut, None), box


def encode_png(image: "NDArray[np.uint8]", metadata: "Mapping[str, str] | None" = None) -> bytes:
    """Grey uint8 [H, W], or RGB [H, W, 3], to a PNG file with text metadata."""
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
        check_box(box, width, height, name)
        left, top, box_width, box_height = box
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


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise DataError(f"image {name} has {width} x {height} pixels; at most {MAX_PIXELS // 1_000_000} million")
    if min(width, height) < MIN_SIDE_PX:
        raise DataError(f"image {name} has {width} x {height} pixels; at least {MIN_SIDE_PX} on each side")


def _picture(image: Image.Image, grey_range: tuple[int, int]) -> Picture:
    if image.mode.startswith("I;16") or image.mode == "I":
        return Picture(_from_wide(np.asarray(image), *grey_range), None)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined black and white")
    grey = np.empty((image.height, image.width), np.uint8)
    coloured = np.zeros_like(grey, dtype=np.bool_)
    # Strip by strip: conversions of a whole large picture would take several times its memory.
    for top in range(0, image.height, _ROWS_AT_ONCE):
        strip = image.crop((0, top, image.width, min(top + _ROWS_AT_ONCE, image.height)))
        grey[top : top + _ROWS_AT_ONCE], coloured[top : top + _ROWS_AT_ONCE] = _shown(strip)
    return Picture(grey, coloured if coloured.any() else None)


def _shown(image: Image.Image) -> "tuple[NDArray[np.uint8], NDArray[np.bool_]]":
    """Grey levels, and which pixels are not grey."""
    alpha = None
    if image.mode in {"P", "PA", "LA", "RGBA"} or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.convert("RGB")
    elif image.mode not in {"L", "RGB"}:
        image = image.convert("RGB")
    grey = image.convert("L")
    if alpha is not None:
        grey = ImageChops.multiply(grey, alpha)  # that is, on black
    shown = np.asarray(grey, dtype=np.uint8)
    if image.mode == "L":
        return shown, np.zeros_like(shown, dtype=np.bool_)
    red, green, blue = image.split()
    lightest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    darkest = ImageChops.darker(ImageChops.darker(red, green), blue)
    return shown, np.asarray(ImageChops.subtract(lightest, darkest)) > COLOUR_SPREAD


def _from_wide(wide: "NDArray[np.generic]", black: int, white: int) -> "NDArray[np.uint8]":
    """16 bits to 8 by a stated range; Pillow itself would saturate: everything above 255 becomes white."""
    result = np.empty(wide.shape, np.uint8)
    for start in range(0, len(wide), _ROWS_AT_ONCE):
        rows = np.clip(wide[start : start + _ROWS_AT_ONCE].astype(np.int64), black, white) - black
        result[start : start + _ROWS_AT_ONCE] = rows * 255 // (white - black)
    return result
