"""The lesion: its outline, its echo level and what it does to the sound that passes through it."""

from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

import numpy as np

from eusml.data.phantom.arrays import Float32, Float64, fast_exp, fast_polar
from eusml.data.phantom.cohort import PhantomCase
from eusml.data.phantom.fields import DiscField
from eusml.data.phantom.geometry import Geometry, PolarGrid
from eusml.data.phantom.streams import Stream, stream_of

SPINDLE_POWER: Final = 1.45
"""x**2 + |y|**1.45 = 1 instead of an ellipse: 2 is round, 1 a lens with sharp ends."""
RIPPLE: Final = {"round": 0.025, "oval": 0.03, "spindle": 0.03, "irregular": 0.11}
"""Amplitude of the outline's second harmonic, as a fraction of its radius; harmonic k has it over sqrt(k - 1)."""
UNCLEAR_RIPPLE: Final = 0.02
RIPPLE_HARMONICS: Final = range(2, 7)
LOBE_FRAC, LOBE_OFFSET_FRAC = 0.13, -0.08
LOBES: Final = (3, 5)

EDGE_HALF_WIDTH: Final = {"clear": 0.03, "unclear": 0.16}
"""In lesion radii."""
LEVEL_ABOVE_MUSCLE_DB: Final = 1.0
HETEROGENEITY_LIMIT_DB: Final = 7.0
CORRELATION_FRAC: Final = (0.11, 0.24)
"""Correlation length of the heterogeneity, in lesion diameters."""
SKEW: Final = 0.35
"""With probability `SKEW_PROBABILITY` the heterogeneity has bright islands rather than being symmetric."""
SKEW_PROBABILITY: Final = 0.4

HALO_DB: Final = (5.0, 8.0)
HALO_WIDTH_FRAC: Final = (0.06, 0.10)

ANECHOIC_DB: Final = -42.0
ANECHOIC_ATTENUATION: Final = -0.45
"""Fluid hardly attenuates: relative to the tissue's 0.5 dB/cm/MHz."""
CALCIFICATION_DB: Final = 30.0
SHADOW_DB: Final = 25.0
"""Loss behind the middle of a calcification, there and back."""
MAX_ATTENUATION: Final = 12.0
FOCUS_DB: Final = (7.0, 14.0)

_ANGLES = 512
_NEGLIGIBLE_SIGMAS = 3.0


class Blob(NamedTuple):
    """A Gaussian spot in the lesion's frame; the half-widths are those at which it has fallen to 1/e."""

    x_mm: float
    y_mm: float
    half_width_mm: float
    half_height_mm: float
    strength: float
    """What it adds at its middle, dB; 0 where the kind of blob settles that."""


@dataclass(frozen=True)
class Lesion:
    """One case's lesion, drawn once and the same in every view."""

    outline: Float32
    """[512], radius over that of the ellipse, at angles -pi + 2 pi j / 512 of the ellipse's own frame."""
    correlation_mm: float
    skew: float
    halo_db: float
    """0 without a halo."""
    halo_width: float
    foci: tuple[Blob, ...]
    anechoic: tuple[Blob, ...]
    calcifications: tuple[Blob, ...]


class LesionEcho(NamedTuple):
    """What the lesion changes, in a window of the polar grid that holds all of it."""

    rows: slice
    lines: slice
    coverage: Float32
    """0 outside to 1 inside: [rows, lines], as the other two."""
    level_db: Float32
    """Echo level of the lesion itself."""
    attenuation_db_cm_mhz: Float32
    """Above that of the surrounding tissue; may be negative."""


def draw_lesion(case: PhantomCase, geometry: Geometry) -> Lesion:
    """Draw outline and contents of the lesion of `case`."""
    rng = stream_of(case.seed, Stream.LESION)
    size = case.size_mm

    def spot(reach: float, half_height: float, elongation: float, strength: float = 0.0) -> Blob:
        """A blob somewhere within `reach` of the ellipse, evenly over its area."""
        radius, angle = reach * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
        x = float(geometry.half_length_mm * radius * np.cos(angle))
        y = float(geometry.half_thickness_mm * radius * np.sin(angle))
        return Blob(x, y, half_height * elongation, half_height, strength)

    outline = _draw_outline(case, rng)
    correlation = float(rng.uniform(*CORRELATION_FRAC)) * size
    skew = SKEW if rng.random() < SKEW_PROBABILITY else 0.0
    halo_db = float(rng.uniform(*HALO_DB)) if case.halo else 0.0
    halo_width = float(rng.uniform(*HALO_WIDTH_FRAC))
    foci = tuple(
        spot(0.8, size * rng.uniform(0.022, 0.04) + 0.05, rng.uniform(1, 2.2), rng.uniform(*FOCUS_DB))
        for _ in range(case.foci)
    )
    anechoic = tuple(
        spot(0.6, size * rng.uniform(0.07, 0.15), rng.uniform(0.9, 1.6))
        for _ in range(int(rng.integers(1, 4)) if case.anechoic_area else 0)
    )
    # Flat plates rather than balls, with a little more width than height.
    calcifications = tuple(
        spot(0.6, 0.7 * (size * rng.uniform(0.03, 0.06) + 0.08), 1.5 / 0.7)
        for _ in range(int(rng.integers(1, 4)) if case.calcification else 0)
    )
    return Lesion(outline, correlation, skew, halo_db, halo_width, foci, anechoic, calcifications)


def _draw_outline(case: PhantomCase, rng: np.random.Generator) -> Float32:
    angle = _outline_angles()
    amplitude = RIPPLE[case.shape] + (UNCLEAR_RIPPLE if case.border == "unclear" else 0.0)
    ripple = np.zeros(_ANGLES)
    for k in RIPPLE_HARMONICS:
        ripple += rng.normal(0, amplitude / np.sqrt(k - 1)) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    if case.lobulated:
        lobes = int(rng.integers(LOBES[0], LOBES[1] + 1))
        # |cos| of half the angle has one notch per lobe and is periodic for odd numbers of lobes as well.
        ripple += LOBE_FRAC * np.abs(np.cos(lobes * angle / 2 + rng.uniform(0, 2 * np.pi))) + LOBE_OFFSET_FRAC
    shape = _spindle() if case.shape == "spindle" else np.ones(_ANGLES)
    return (shape * (1 + ripple)).astype(np.float32)


def _outline_angles() -> Float64:
    return np.linspace(-np.pi, np.pi, _ANGLES, endpoint=False)


@cache
def _spindle() -> Float64:
    """Radius of x**2 + |y|**p = 1 at every outline angle, by bisection."""
    cos, sin = np.cos(_outline_angles()), np.abs(np.sin(_outline_angles()))
    low, high = np.zeros(_ANGLES), np.full(_ANGLES, 1.5)
    for _ in range(40):
        middle = (low + high) / 2
        outside = (middle * cos) ** 2 + (middle * sin) ** SPINDLE_POWER > 1
        low, high = np.where(outside, low, middle), np.where(outside, middle, high)
    return low


def outline_mm(lesion: Lesion, geometry: Geometry, scale: float = 1.0) -> tuple[Float64, Float64]:
    """Points of the lesion's edge in its own frame: x along the wall and y outwards, float64 [512] each, mm."""
    angle, radius = _outline_angles(), scale * lesion.outline.astype(np.float64)
    along = geometry.half_length_mm * radius * np.cos(angle)
    across = geometry.half_thickness_mm * radius * np.sin(angle)
    cos, sin = np.cos(geometry.tilt_rad), np.sin(geometry.tilt_rad)
    return cos * along - sin * across, sin * along + cos * across


def lesion_echo(
    case: PhantomCase,
    geometry: Geometry,
    lesion: Lesion,
    grid: PolarGrid,
    *,
    surface_mm: Float32,
    muscle_db: float,
    texture: DiscField,
) -> LesionEcho:
    """Evaluate the lesion where it lies on a polar grid.

    Args:
        case: the patient.
        geometry: where the lesion lies.
        lesion: its drawn contents.
        grid: the samples.
        surface_mm: radius of the lumen's surface at every line, float32 [nt]: the lesion stays beneath.
        muscle_db: echo level of the muscularis propria.
        texture: field of unit variance that makes the lesion heterogeneous.
    """
    half_width = EDGE_HALF_WIDTH[case.border]
    rows, lines = _window(lesion, geometry, grid, 1 + half_width)
    r, theta = grid.r_mm[rows], grid.theta_rad[lines]
    x = r[:, None] * np.sin(theta)
    y = r[:, None] * np.cos(theta) - np.float32(geometry.lesion_mm)
    depth = _relative_radius(lesion, geometry, x, y)

    edge = np.clip((1 - depth) / np.float32(2 * half_width) + np.float32(0.5), 0, 1)
    beneath = (r[:, None] - surface_mm[lines] - np.float32(0.75 * geometry.cover_mm)) / np.float32(
        0.2 * geometry.cover_mm
    )
    coverage = edge * edge * (3 - 2 * edge) * np.clip(beneath, 0, 1)

    field = texture.at(r, theta)
    if lesion.skew:
        field += np.float32(lesion.skew) * (field * field - 1)
    field *= np.float32(case.heterogeneity_db / HETEROGENEITY_LIMIT_DB)
    level = np.float32(HETEROGENEITY_LIMIT_DB) * np.tanh(field)
    level += np.float32(muscle_db + LEVEL_ABOVE_MUSCLE_DB + case.echo_above_muscle_db)
    if lesion.halo_db:
        width = np.float32(lesion.halo_width)
        level -= np.float32(lesion.halo_db) * fast_exp(-(((depth - (1 - width)) / width) ** 2))
    attenuation = coverage * np.float32(case.attenuation_excess_db_cm_mhz)
    _add_contents(lesion, case.probe_mhz, x, y, level, attenuation)
    return LesionEcho(rows, lines, coverage, level, attenuation)


def _window(lesion: Lesion, geometry: Geometry, grid: PolarGrid, scale: float) -> tuple[slice, slice]:
    """Rows and lines of the grid that the lesion, enlarged by `scale`, can touch; at least one of each."""
    x, y = outline_mm(lesion, geometry, scale)
    radius, angle = np.hypot(x, y + geometry.lesion_mm), np.arctan2(x, y + geometry.lesion_mm)

    def span(axis: Float32, low: float, high: float) -> slice:
        start, stop = np.searchsorted(axis, [low, high])
        return slice(min(max(int(start) - 1, 0), len(axis) - 1), min(int(stop) + 1, len(axis)))

    return span(grid.r_mm, radius.min(), radius.max()), span(grid.theta_rad, angle.min(), angle.max())


def _relative_radius(lesion: Lesion, geometry: Geometry, x: Float32, y: Float32) -> Float32:
    """Distance from the lesion's centre over that of its edge in the same direction: 1 on the edge."""
    cos, sin = np.float32(np.cos(geometry.tilt_rad)), np.float32(np.sin(geometry.tilt_rad))
    along = (cos * x + sin * y) * np.float32(1 / geometry.half_length_mm)
    across = (cos * y - sin * x) * np.float32(1 / geometry.half_thickness_mm)
    radius, angle = fast_polar(along, across)
    # OpenCV's angles start at 0, the outline's at -pi; the modulo also catches an angle of exactly 2 pi.
    place = (angle * np.float32(_ANGLES / (2 * np.pi)) + np.float32(_ANGLES / 2 + 0.5)).astype(np.int32) % _ANGLES
    return np.asarray(radius / lesion.outline[place])


def _add_contents(
    lesion: Lesion, probe_mhz: float, x: Float32, y: Float32, level_db: Float32, attenuation: Float32
) -> None:
    """Add foci, anechoic areas and calcifications to both maps, in place."""
    for blob in lesion.foci:
        near, spot = _evaluate(blob, x, y)
        level_db[near] += np.float32(blob.strength) * spot
    for blob in lesion.anechoic:
        near, spot = _evaluate(blob, x, y)
        inside = np.clip(np.float32(2.2) * spot - np.float32(0.4), 0, 1)  # a cyst has an edge, a Gaussian has none
        level_db[near] += inside * (np.float32(ANECHOIC_DB) - level_db[near])
        attenuation[near] += inside * np.float32(ANECHOIC_ATTENUATION)
    for blob in lesion.calcifications:
        near, spot = _evaluate(blob, x, y)
        level_db[near] += np.float32(CALCIFICATION_DB) * spot
        # dB = attenuation · 2 · MHz · cm, integrated along the ray through the middle of the Gaussian.
        path_cm = np.sqrt(np.pi) * blob.half_height_mm / 10
        peak = np.float32(SHADOW_DB / (2 * probe_mhz * path_cm))
        attenuation[near] += np.minimum(peak * spot, np.float32(MAX_ATTENUATION))


def _evaluate(blob: Blob, x: Float32, y: Float32) -> tuple[tuple[slice, slice], Float32]:
    """A blob of height 1, and the window of the map beyond which it is negligible (possibly empty)."""
    reach = _NEGLIGIBLE_SIGMAS
    inside = (np.abs(x - np.float32(blob.x_mm)) < reach * blob.half_width_mm) & (
        np.abs(y - np.float32(blob.y_mm)) < reach * blob.half_height_mm
    )
    rows, lines = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.float32)
    near = (slice(rows[0], rows[-1] + 1), slice(lines[0], lines[-1] + 1))
    across = (x[near] - np.float32(blob.x_mm)) / np.float32(blob.half_width_mm)
    down = (y[near] - np.float32(blob.y_mm)) / np.float32(blob.half_height_mm)
    return near, fast_exp(-(across * across + down * down))
