"""Where things are: the lesion in its wall, the part of the scan a view shows, and the polar grid that covers it.

Coordinates. The probe is the origin. `theta` is measured from the direction of the lesion, which is the random clock
angle of the picture. In the lesion's own frame x runs along the wall and y outwards, both from the lesion's centre.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
import scipy.fft

from eusml.data.phantom.arrays import Float32, fast_polar
from eusml.data.phantom.cohort import PhantomCase
from eusml.data.phantom.streams import Stream, stream_of

ViewName = Literal["roi", "frame"]
Range = tuple[float, float]

THICKNESS_MM: Final[Range] = (2.6, 4.6)
OESOPHAGUS_THICKNESS_FRAC: Final = 0.85
LAYER_FRACS: Final = (0.13, 0.15, 0.27, 0.37, 0.08)
"""Mucosa, muscularis mucosae, submucosa, muscularis propria, serosa."""
LAYER_FRAC_LOG_SD: Final = 0.15
ORIGIN_LAYER: Final = {"muscularis mucosae": 1, "submucosa": 2, "muscularis propria": 3}
"""Place of the layer of origin among the five."""

ASPECT: Final[dict[str, Range]] = {
    "round": (0.86, 1.0),
    "oval": (0.58, 0.84),
    "spindle": (0.30, 0.50),
    "irregular": (0.6, 0.9),
}
"""Short over long diameter."""
INWARD_FRAC: Final[dict[str, Range]] = {
    "intraluminal": (0.62, 0.9),
    "extraluminal": (0.05, 0.3),
    "mixed": (0.4, 0.6),
}
"""Share of the lesion that bulges towards the lumen."""
LEAST_HALF_THICKNESS_MM: Final = 0.9
TILT_SD_RAD: Final = 0.12
COVERED_PROPRIA_FRAC: Final = 0.8
"""A lesion of the muscularis propria is covered by this much of the three layers inside it: they are stretched."""

PROBE_GAP_MM: Final = 0.8
"""Least distance between probe and lumen surface over the lesion."""
FRAME_MARGIN_MM: Final = 4.0

ROI_SIDE_FRAC: Final[Range] = (1.3, 1.65)
"""Side of the lesion view over the long diameter."""
LEAST_ROI_SIDE_MM: Final = 6.0
ROI_SHIFT_FRAC: Final = 0.07

_FRAME_ROWS, _FRAME_LINES = 320, 720
_ROI_ROWS, _ROI_LINES = (96, 288), (128, 448)
_ROW_PX, _LINE_PX = 1.05, 1.25
"""Distance of samples and of lines in the lesion view, in pixels of the image: the speckle is coarser than either."""
_MARGIN_PX = 8.0
_FULL_CIRCLE_RAD = 2.6
"""A patch that reaches this far on either side is made a whole circle."""


class ProbeGeometry(NamedTuple):
    """What the probe's frequency settles; lengths in mm."""

    radius_mm: float
    depth_mm: float
    """Least radius of the frame."""
    lumen_mm: Range
    """Radius at which the wall lies, if the lesion leaves it there."""


def probe_geometry(probe_mhz: float) -> ProbeGeometry:
    """A miniprobe at 20 MHz in a narrow water-filled lumen, an echoendoscope at 7.5 MHz in a wide one."""
    if probe_mhz > 10:
        return ProbeGeometry(radius_mm=1.3, depth_mm=18.0, lumen_mm=(3.5, 7.0))
    return ProbeGeometry(radius_mm=6.0, depth_mm=45.0, lumen_mm=(9.0, 17.0))


@dataclass(frozen=True)
class Geometry:
    """Sizes and places of one case, in mm and rad; the same in every view."""

    probe_radius_mm: float
    half_length_mm: float
    """Half of the long diameter, along the wall."""
    half_thickness_mm: float
    tilt_rad: float
    layers_mm: tuple[float, ...]
    """Thickness of the five layers, from the lumen outwards."""
    cover_mm: float
    """Wall that lies between lumen and lesion."""
    wall_mm: float
    """Radius of the lumen's surface in the lesion's direction, were there no lesion."""
    lesion_mm: float
    """Radius of the lesion's centre."""
    radius_mm: float
    """Radius of the whole scan."""
    clock_rad: float
    """Direction of the lesion in the picture, from x towards y."""

    @property
    def thickness_mm(self) -> float:
        """Thickness of the whole wall."""
        return sum(self.layers_mm)


def draw_geometry(case: PhantomCase) -> Geometry:
    """Place the lesion of `case` in its layer of a wall around the probe."""
    rng = stream_of(case.seed, Stream.GEOMETRY)
    probe = probe_geometry(case.probe_mhz)
    half_length = case.size_mm / 2
    half_thickness = max(half_length * rng.uniform(*ASPECT[case.shape]), LEAST_HALF_THICKNESS_MM)
    tilt = float(rng.normal(0, TILT_SD_RAD))

    thickness = rng.uniform(*THICKNESS_MM) * (OESOPHAGUS_THICKNESS_FRAC if case.site == "oesophagus" else 1.0)
    fracs = np.array(LAYER_FRACS) * np.exp(LAYER_FRAC_LOG_SD * rng.standard_normal(len(LAYER_FRACS)))
    layers = thickness * fracs / fracs.sum()
    origin = ORIGIN_LAYER[case.layer]
    cover = float(layers[:origin].sum()) * (COVERED_PROPRIA_FRAC if case.layer == "muscularis propria" else 1.0)
    # Where the lesion's centre lies below the surface: in the middle of its layer, or pushed in or out as it grows.
    layer_middle = float(layers[:origin].sum() + layers[origin] / 2)
    inward = rng.uniform(*INWARD_FRAC[case.growth])
    push = (1 - 2 * inward) * max(half_thickness - float(layers[origin]) / 2, 0)
    centre_depth = layer_middle + push

    needed = probe.radius_mm + PROBE_GAP_MM + half_thickness - centre_depth + cover
    wall = max(float(rng.uniform(*probe.lumen_mm)), needed)
    lesion = wall + centre_depth
    return Geometry(
        probe_radius_mm=probe.radius_mm,
        half_length_mm=half_length,
        half_thickness_mm=half_thickness,
        tilt_rad=tilt,
        layers_mm=tuple(float(layer) for layer in layers),
        cover_mm=cover,
        wall_mm=wall,
        lesion_mm=lesion,
        radius_mm=max(probe.depth_mm, lesion + 1.25 * half_thickness + FRAME_MARGIN_MM),
        clock_rad=float(rng.uniform(0, 2 * np.pi)),
    )


@dataclass(frozen=True)
class View:
    """A square window on the scan."""

    name: ViewName
    centre_mm: tuple[float, float]
    """(x, y) of the window's centre from the probe; x to the right, y down."""
    side_mm: float
    size_px: int

    @property
    def mm_per_px(self) -> float:
        """Side of a pixel."""
        return self.side_mm / self.size_px

    def to_polar(self, clock_rad: float) -> tuple[Float32, Float32]:
        """Radius (mm) and angle from the lesion (rad, -pi to pi) of every pixel's centre: float32 [S, S] each."""
        along = (np.arange(self.size_px) + 0.5) * self.mm_per_px - self.side_mm / 2
        x, y = self.centre_mm[0] + along[None, :], self.centre_mm[1] + along[:, None]
        cos, sin = np.cos(clock_rad), np.sin(clock_rad)
        radius, angle = fast_polar((cos * x + sin * y).astype(np.float32), (cos * y - sin * x).astype(np.float32))
        angle[angle > np.pi] -= np.float32(2 * np.pi)
        return radius, angle

    def to_pixels(self, x_mm: np.ndarray, y_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Column and row of points given in mm from the probe; a pixel's centre lies at a whole number and a half."""
        return (
            (x_mm - self.centre_mm[0] + self.side_mm / 2) / self.mm_per_px,
            (y_mm - self.centre_mm[1] + self.side_mm / 2) / self.mm_per_px,
        )


def draw_view(case: PhantomCase, geometry: Geometry, name: ViewName, size_px: int) -> View:
    """The whole scan, or a window on the lesion, a little off its centre."""
    if name == "frame":
        return View(name, (0.0, 0.0), 2 * geometry.radius_mm, size_px)
    rng = stream_of(case.seed, Stream.VIEW)
    side = max(case.size_mm * float(rng.uniform(*ROI_SIDE_FRAC)), LEAST_ROI_SIDE_MM)
    shift_x, shift_y = rng.uniform(-ROI_SHIFT_FRAC, ROI_SHIFT_FRAC, 2) * side
    x = geometry.lesion_mm * np.cos(geometry.clock_rad) + shift_x
    y = geometry.lesion_mm * np.sin(geometry.clock_rad) + shift_y
    return View(name, (float(x), float(y)), side, size_px)


@dataclass(frozen=True)
class PolarGrid:
    """Samples along lines: where the echo is computed before the scan is converted to pixels."""

    r_mm: Float32
    """Ascending, evenly spaced: [nr]."""
    theta_rad: Float32
    """Ascending, evenly spaced: [nt]; over the whole circle without its end where `full_circle`."""
    full_circle: bool

    @property
    def dr_mm(self) -> float:
        """Distance of samples."""
        return float(self.r_mm[1] - self.r_mm[0])

    @property
    def dtheta_rad(self) -> float:
        """Angle between lines."""
        return float(self.theta_rad[1] - self.theta_rad[0])


def polar_grid(view: View, geometry: Geometry, radius_mm: Float32, angle_rad: Float32) -> PolarGrid:
    """The grid that covers a view.

    Args:
        view: the window.
        geometry: the case.
        radius_mm: float32 [S, S], of the view's pixels.
        angle_rad: the same for the angle.
    """
    if view.name == "frame":
        return _grid(0.0, geometry.radius_mm, np.pi, _FRAME_ROWS, _FRAME_LINES)
    pixel = view.mm_per_px
    nearest, farthest, widest = float(radius_mm.min()), float(radius_mm.max()), float(np.abs(angle_rad).max())
    start = max(0.0, nearest - _MARGIN_PX * pixel)
    stop = min(farthest + _MARGIN_PX * pixel, geometry.radius_mm)
    full = nearest < 3 * pixel or widest > _FULL_CIRCLE_RAD
    half_angle = np.pi if full else widest * 1.06
    rows = np.clip((stop - start) / (_ROW_PX * pixel), *_ROI_ROWS)
    # Lines spread with the radius: their distance is set for a circle through the outer part of the lesion.
    typical_radius = 0.62 * geometry.lesion_mm + 0.38 * stop
    lines = np.clip(2 * half_angle * typical_radius / (_LINE_PX * pixel), *_ROI_LINES)
    return _grid(start, stop, half_angle, int(rows), scipy.fft.next_fast_len(int(lines)))


def _grid(start_mm: float, stop_mm: float, half_angle_rad: float, rows: int, lines: int) -> PolarGrid:
    full = half_angle_rad >= np.pi
    theta = np.linspace(-half_angle_rad, half_angle_rad, lines, endpoint=not full, dtype=np.float32)
    return PolarGrid(np.linspace(start_mm, stop_mm, rows, dtype=np.float32), theta, full)
