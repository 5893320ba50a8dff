"""Pictures that explain themselves: the store's slider shows a step's number beside a picture, and nothing else."""

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

MARK = "SYNTHETIC DATA - not patients"
_TEXT_PX, _LINE_PX, _MARGIN_PX = 13, 17, 4
_INK, _RED = "#202020", "#B00020"
_TILE_SIDE_PX = 128
_GAP_PX = 2


def captioned(picture: "NDArray[np.uint8]", caption: str, *, synthetic: bool) -> "NDArray[np.uint8]":
    """A picture with its caption below, and with the mark of made-up data.

    Args:
        picture: uint8 [H, W] or [H, W, 3].
        caption: what to say, in letters of Western languages; as many lines as it takes.
        synthetic: whether the images are made up.

    Returns:
        uint8 [H + bar, W, 3].
    """
    image = Image.fromarray(picture).convert("RGB")
    font = ImageFont.load_default(_TEXT_PX)
    lines = [(line, _INK) for line in _wrapped(caption, font, image.width - 2 * _MARGIN_PX)]
    if synthetic:
        lines += [(line, _RED) for line in _wrapped(MARK, font, image.width - 2 * _MARGIN_PX)]
    whole = Image.new("RGB", (image.width, image.height + len(lines) * _LINE_PX + 2 * _MARGIN_PX), "white")
    whole.paste(image)
    draw = ImageDraw.Draw(whole)
    for number, (line, colour) in enumerate(lines):
        draw.text((_MARGIN_PX, image.height + _MARGIN_PX + number * _LINE_PX), line, fill=colour, font=font)
    return np.asarray(whole)


def rows_of_images(*rows: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
    """Images as a sheet, those of one place in the rows below one another.

    Args:
        rows: uint8 [N, S, S] each. Small images are enlarged by a whole number: pixels stay squares, lest detail is
            seen that was never measured.

    Returns:
        uint8 [H, W] on white.
    """
    factor = max(-(-_TILE_SIDE_PX // rows[0].shape[1]), 1)
    edge = ((0, 0), (0, _GAP_PX), (0, _GAP_PX))
    lines = [
        np.hstack(list(np.pad(row.repeat(factor, 1).repeat(factor, 2), edge, constant_values=255))) for row in rows
    ]
    return np.vstack(lines)


def _wrapped(text: str, font: "ImageFont.ImageFont | ImageFont.FreeTypeFont", width_px: int) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and font.getlength(longer) > width_px:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
