"""Echo level and attenuation of everything on the polar grid: wall, surroundings and lesion put together."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from eusml.data.phantom.arrays import Float32, UInt8
from eusml.data.phantom.cohort import PhantomCase
from eusml.data.phantom.fields import DiscField
from eusml.data.phantom.geometry import Geometry, PolarGrid
from eusml.data.phantom.lesion import Lesion, LesionEcho, draw_lesion, lesion_echo
from eusml.data.phantom.streams import Stream, stream_of
from eusml.data.phantom.wall import Wall, build_wall

LEVELS_DB: Final = (-60.0, 2.0, -13.0, 3.5, -14.0, 4.0, -2.0)
"""Lumen, mucosa, muscularis mucosae, submucosa, muscularis propria, serosa, surroundings."""
LEVEL_SD_DB: Final = 1.2
LEVEL_SD_FACTORS: Final = (0.0, 1.0, 1.0, 1.0, 0.6, 1.0, 2.0)
MUSCULARIS_PROPRIA: Final = 4
"""Place in `LEVELS_DB`."""

SPECULAR_DB: Final = 4.0
"""The lumen's surface reflects as a mirror does."""
SPECULAR_HALF_WIDTH_FRAC: Final = 0.06
"""Of the wall's thickness."""

FINE_MM: Final = (2.2, 3.5)
"""Correlation lengths of the tissue's fine texture: along the radius, and along the wall at the lesion."""
COARSE_MM: Final = (7.0, 9.0)
WALL_FINE_DB: Final = 1.2
AROUND_FINE_DB, AROUND_COARSE_DB, AROUND_SHIFT_DB = 2.5, 5.0, -3.0
"""The surroundings hold fat, vessels and other organs: more variation, darker on average."""


@dataclass(frozen=True)
class Anatomy:
    """Everything that is drawn about a case's tissue; functions of position, so that views of it agree."""

    case: PhantomCase
    geometry: Geometry
    wall: Wall
    lesion: Lesion
    levels_db: tuple[float, ...]
    """As `LEVELS_DB`, for this patient."""
    fine: DiscField
    coarse: DiscField
    lesion_texture: DiscField


@dataclass(frozen=True)
class TissueMap:
    """An anatomy evaluated on a polar grid."""

    level_db: Float32
    """Echo level, [nr, nt]."""
    fine: Float32
    """Fine texture of unit variance, [nr, nt]."""
    lesion: LesionEcho


def draw_anatomy(case: PhantomCase, geometry: Geometry) -> Anatomy:
    """Draw the wall, the lesion and the textures of `case`."""
    rng = stream_of(case.seed, Stream.TEXTURE)
    lesion = draw_lesion(case, geometry)

    def field(radial_mm: float, tangential_mm: float) -> DiscField:
        angle = tangential_mm / geometry.lesion_mm
        return DiscField.draw(rng, radius_mm=geometry.radius_mm, radial_mm=radial_mm, angular_rad=angle)

    jitter = LEVEL_SD_DB * rng.standard_normal(len(LEVELS_DB)) * np.array(LEVEL_SD_FACTORS)
    return Anatomy(
        case,
        geometry,
        build_wall(case, geometry),
        lesion,
        levels_db=tuple(float(level) for level in np.array(LEVELS_DB) + jitter),
        fine=field(*FINE_MM),
        coarse=field(*COARSE_MM),
        lesion_texture=field(lesion.correlation_mm, lesion.correlation_mm),
    )


def map_tissue(anatomy: Anatomy, grid: PolarGrid) -> TissueMap:
    """Echo level everywhere on `grid`, before anything happens to the sound on its way."""
    r = grid.r_mm[:, None]
    surfaces = anatomy.wall.at(grid.theta_rad)
    layer = np.zeros((len(grid.r_mm), len(grid.theta_rad)), np.uint8)
    for surface in surfaces:
        layer += r > surface
    level = _look_up(anatomy.levels_db, layer)
    specular = max(SPECULAR_HALF_WIDTH_FRAC * anatomy.geometry.thickness_mm, grid.dr_mm)
    level += np.float32(SPECULAR_DB) * (np.abs(r - surfaces[0]) < specular)

    fine = anatomy.fine.at(grid.r_mm, grid.theta_rad)
    coarse = anatomy.coarse.at(grid.r_mm, grid.theta_rad)
    around = np.float32(AROUND_FINE_DB) * fine + np.float32(AROUND_COARSE_DB) * coarse + np.float32(AROUND_SHIFT_DB)
    level += np.where(layer == len(surfaces), around, np.float32(WALL_FINE_DB) * fine)

    lesion = lesion_echo(
        anatomy.case,
        anatomy.geometry,
        anatomy.lesion,
        grid,
        surface_mm=surfaces[0],
        muscle_db=anatomy.levels_db[MUSCULARIS_PROPRIA],
        texture=anatomy.lesion_texture,
    )
    window = level[lesion.rows, lesion.lines]
    window += lesion.coverage * (lesion.level_db - window)
    return TissueMap(level, fine, lesion)


def _look_up(levels_db: tuple[float, ...], layer: UInt8) -> Float32:
    """The level of every sample's layer: float32, as `layer`."""
    table = np.zeros((1, 256), np.float32)  # OpenCV's lookup wants an entry for every uint8
    table[0, : len(levels_db)] = levels_db
    return np.asarray(cv2.LUT(layer, table), dtype=np.float32)
