"""Boxes around lesions: x, y, width, height in whole pixels."""

from eusml.errors import DataError

Box = tuple[int, int, int, int]
"""x, y, width, height in pixels of the picture as a viewer shows it: turned as its EXIF data say."""


def check_box(box: Box, width: int, height: int, name: str) -> None:
    """Refuse a box that is empty or not inside a picture of this size.

    Raises:
        DataError: it is so; the message gives box and picture.
    """
    left, top, box_width, box_height = box
    if box_width < 1 or box_height < 1:
        raise DataError(f"image {name}: box {box} is empty (x, y, width, height in pixels)")
    if left < 0 or top < 0 or left + box_width > width or top + box_height > height:
        raise DataError(
            f"image {name}: box x={left} y={top} width={box_width} height={box_height} does not lie inside its "
            f"{width} x {height} pixels"
        )
