"""One case, one picture."""

from dataclasses import dataclass
from typing import Final, get_args

import numpy as np

from eusml.data.phantom.arrays import UInt8
from eusml.data.phantom.cohort import PhantomCase
from eusml.data.phantom.display import compress, draw_display, draw_overlay, scan_convert, to_grey
from eusml.data.phantom.geometry import Geometry, View, ViewName, draw_geometry, draw_view, polar_grid
from eusml.data.phantom.lesion import Lesion, outline_mm
from eusml.data.phantom.physics import draw_acquisition, echo_intensity
from eusml.data.phantom.streams import Stream, stream_of
from eusml.data.phantom.tissue import draw_anatomy, map_tissue
from eusml.errors import DataError

SIZES_PX: Final = (16, 2048)
"""Least and greatest side of an image."""


@dataclass(frozen=True)
class Rendered:
    """A picture of a synthetic lesion."""

    image: UInt8
    """Grey, [S, S]."""
    box_px: tuple[int, int, int, int]
    """The lesion's bounding box as (x, y, w, h) in pixels of `image`, clipped to it; w and h are at least 1."""
    mm_per_px: float


def render(case: PhantomCase, *, size_px: int, view: ViewName) -> Rendered:
    """Make the picture of a case: a pure function of its arguments.

    Args:
        case: the patient.
        size_px: side of the square image, 16 to 2048 pixels; the polar grid behind it is at most 320 x 720, so that
            beyond about 512 pixels nothing is gained.
        view: `roi` shows the lesion and its surroundings, with nothing drawn in; `frame` the whole radial scan, with
            depth marks, the frequency and the word SYNTHETIC.

    Raises:
        DataError: a view that does not exist or a size out of range.
    """
    if view not in get_args(ViewName):
        raise DataError(f"view of the phantom is {view!r}; allowed are {', '.join(get_args(ViewName))}")
    if not SIZES_PX[0] <= size_px <= SIZES_PX[1]:
        raise DataError(f"a phantom image of {size_px} px was asked for; allowed are {SIZES_PX[0]} to {SIZES_PX[1]} px")
    geometry = draw_geometry(case)
    window = draw_view(case, geometry, view, size_px)
    radius_mm, angle_rad = window.to_polar(geometry.clock_rad)
    grid = polar_grid(window, geometry, radius_mm, angle_rad)

    anatomy = draw_anatomy(case, geometry)
    machine = stream_of(case.seed, Stream.DISPLAY)
    acquisition, settings = draw_acquisition(case, machine), draw_display(machine)
    intensity = echo_intensity(case, geometry, grid, map_tissue(anatomy, grid), acquisition)
    image = to_grey(scan_convert(compress(intensity, settings), grid, radius_mm, angle_rad), settings)
    if view == "frame":
        image = draw_overlay(image, geometry, case.probe_mhz)
    return Rendered(image, _box(anatomy.lesion, geometry, window), window.mm_per_px)


def _box(lesion: Lesion, geometry: Geometry, window: View) -> tuple[int, int, int, int]:
    """The smallest box of whole pixels around the lesion's outline, within the image."""
    along, outwards = outline_mm(lesion, geometry)
    away = geometry.lesion_mm + outwards
    cos, sin = np.cos(geometry.clock_rad), np.sin(geometry.clock_rad)
    column, row = window.to_pixels(away * cos - along * sin, away * sin + along * cos)
    last = window.size_px - 1
    left, top = (int(np.clip(np.floor(edge.min()), 0, last)) for edge in (column, row))
    right, bottom = (int(np.clip(np.ceil(edge.max()), 1, window.size_px)) for edge in (column, row))
    return left, top, max(right - left, 1), max(bottom - top, 1)
