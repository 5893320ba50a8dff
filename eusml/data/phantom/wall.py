"""The five-layered wall: its surfaces as functions of the angle, pushed aside by the lesion."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter1d

from eusml.data.phantom.arrays import Float32, Float64
from eusml.data.phantom.cohort import HIGH_MHZ, PhantomCase
from eusml.data.phantom.geometry import Geometry
from eusml.data.phantom.streams import Stream, stream_of

WOBBLE_MM: Final = 0.5
"""Standard deviation of the wall's k-th harmonic, times k."""
WOBBLE_HARMONICS: Final = (2, 3, 5)
NARROW_LUMEN_WOBBLE_FRAC: Final = 0.4
"""The lumen around a miniprobe is narrow and wobbles less."""
OUT_OF_ROUND_FRAC: Final = (-0.1, 0.5)
"""How much farther the wall lies opposite the lesion, as half of this share of its radius."""

PROBE_CLEARANCE_MM: Final = 0.3
BLEND_FRAC: Final = 0.25
"""Radius of the smooth minimum between wall and lesion, in wall thicknesses."""
ULCER_DEPTH: Final = {"ulcer": 1.1, "erosion": 0.45}
"""Depth of a surface defect, in thicknesses of the cover over the lesion."""
ULCER_HALF_WIDTH_FRAC: Final = (0.25, 0.4)
ULCER_SHIFT_FRAC: Final = 0.2

_NODES = 1024
_FAR_MM = 1e3


@dataclass(frozen=True)
class Wall:
    """Radii of the six surfaces, from the lumen's to the outer one, around the whole circle."""

    surfaces_mm: Float64
    """[6, 1024], at angles -pi + 2 pi j / 1024."""

    def at(self, theta_rad: Float32) -> Float32:
        """Surfaces at any angles from -pi to pi: float32 [6, nt], mm."""
        nodes = np.linspace(-np.pi, np.pi, _NODES + 1)
        closed = np.concatenate([self.surfaces_mm, self.surfaces_mm[:, :1]], axis=1)
        return np.stack([np.interp(theta_rad, nodes, row) for row in closed]).astype(np.float32)


def build_wall(case: PhantomCase, geometry: Geometry) -> Wall:
    """Draw the wall of `case` and let the lesion bulge into its surfaces.

    Everything is computed on one fine circle of angles whatever the view, so that every view sees the same wall.
    """
    rng = stream_of(case.seed, Stream.WALL)
    theta = np.linspace(-np.pi, np.pi, _NODES, endpoint=False)
    base = _undisturbed(case, geometry, theta, rng)
    near, far = _ray_ellipse(theta, geometry)
    blend = BLEND_FRAC * geometry.thickness_mm
    smooth_rad = max(0.8 * geometry.cover_mm, 0.10 * geometry.half_length_mm) / geometry.lesion_mm

    surface = _smooth_min(base, near - geometry.cover_mm, blend)
    surface = np.maximum(_smooth(surface, smooth_rad), geometry.probe_radius_mm + PROBE_CLEARANCE_MM)
    if case.surface != "smooth":
        surface = surface + _defect(case, geometry, theta, rng)
    boundaries = _below(case, geometry, base, surface, far, blend, smooth_rad)
    return Wall(np.stack([surface, *boundaries]))


def _undisturbed(case: PhantomCase, geometry: Geometry, theta: Float64, rng: np.random.Generator) -> Float64:
    """The lumen's surface without a lesion; at angle 0 it lies at `geometry.wall_mm`."""
    wobble = np.zeros_like(theta)
    for k in WOBBLE_HARMONICS:
        amplitude, phase = rng.normal(0, WOBBLE_MM / k), rng.uniform(0, 2 * np.pi)
        wobble += amplitude * (np.cos(k * theta + phase) - np.cos(phase))
    if case.probe_mhz == HIGH_MHZ:
        wobble *= NARROW_LUMEN_WOBBLE_FRAC
    return geometry.wall_mm + wobble + (1 - np.cos(theta)) * rng.uniform(*OUT_OF_ROUND_FRAC) * geometry.wall_mm


def _ray_ellipse(theta: Float64, geometry: Geometry) -> tuple[Float64, Float64]:
    """Radii at which the ray at each angle enters and leaves the lesion's ellipse; +-1000 mm where it misses."""
    sin, cos = np.sin(theta), np.cos(theta)
    long2, short2 = geometry.half_length_mm**2, geometry.half_thickness_mm**2
    a = sin**2 / long2 + cos**2 / short2
    b = -2 * geometry.lesion_mm * cos / short2
    c = geometry.lesion_mm**2 / short2 - 1
    discriminant = b * b - 4 * a * c
    hit = (discriminant > 0) & (cos > 0)
    root = np.sqrt(np.maximum(discriminant, 0))
    return np.where(hit, (-b - root) / (2 * a), _FAR_MM), np.where(hit, (-b + root) / (2 * a), -_FAR_MM)


def _below(
    case: PhantomCase,
    geometry: Geometry,
    base: Float64,
    surface: Float64,
    far: Float64,
    blend: float,
    smooth_rad: float,
) -> tuple[Float64, ...]:
    """The five boundaries under the surface: the layers below the lesion are pushed outwards, the others follow it."""
    mucosa, muscularis_mucosae, submucosa, propria, serosa = geometry.layers_mm
    below_mucosa = surface + mucosa
    below_muscularis = below_mucosa + muscularis_mucosae
    if case.layer == "muscularis propria":
        below_submucosa = below_muscularis + submucosa
        least = np.maximum(base + geometry.thickness_mm, below_submucosa + 0.2 * propria + serosa)
        outer = _smooth(_smooth_max(least, far + 0.25 * propria + serosa, blend), 0.7 * smooth_rad)
        return below_mucosa, below_muscularis, below_submucosa, outer - serosa, outer
    if case.layer == "muscularis mucosae":
        below_muscularis = _smooth_max(below_muscularis, far, blend)
        below_submucosa = below_muscularis + submucosa
    else:
        below_submucosa = _smooth_max(below_muscularis + submucosa, far + 0.3 * submucosa, blend)
    outer = _smooth(below_submucosa + propria + serosa, 0.7 * smooth_rad)
    smoothed = (_smooth(boundary, 0.7 * smooth_rad) for boundary in (below_muscularis, below_submucosa))
    return below_mucosa, *smoothed, outer - serosa, outer


def _defect(case: PhantomCase, geometry: Geometry, theta: Float64, rng: np.random.Generator) -> Float64:
    """How much deeper the surface lies in an ulcer or erosion over the lesion."""
    half_width = geometry.half_length_mm * rng.uniform(*ULCER_HALF_WIDTH_FRAC)
    shift = geometry.half_length_mm * rng.uniform(-ULCER_SHIFT_FRAC, ULCER_SHIFT_FRAC)
    depth = geometry.cover_mm * ULCER_DEPTH[case.surface]
    # A fourth power gives the flat floor and steep rim of an ulcer.
    return np.asarray(depth * np.exp(-(((geometry.lesion_mm * theta - shift) / half_width) ** 4)))


def _smooth(surface: Float64, sigma_rad: float) -> Float64:
    return np.asarray(gaussian_filter1d(surface, sigma_rad * _NODES / (2 * np.pi), mode="wrap"))


def _smooth_min(a: Float64, b: Float64, radius: float) -> Float64:
    """Polynomial smooth minimum: a rounded corner where the two are nearer than `radius`."""
    share = np.clip(0.5 + 0.5 * (b - a) / radius, 0, 1)
    return np.asarray(b + (a - b) * share - radius * share * (1 - share))


def _smooth_max(a: Float64, b: Float64, radius: float) -> Float64:
    return -_smooth_min(-a, -b, radius)
