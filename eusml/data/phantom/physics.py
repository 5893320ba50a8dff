"""Sound on its way: losses, speckle, the beam's point spread function, noise and the probe's ring-down."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import scipy.fft

from eusml.data.phantom.arrays import Float32, fast_exp
from eusml.data.phantom.cohort import PhantomCase
from eusml.data.phantom.geometry import Geometry, PolarGrid
from eusml.data.phantom.lesion import LesionEcho
from eusml.data.phantom.streams import Stream, stream_of
from eusml.data.phantom.tissue import TissueMap

SPEED_MM_US: Final = 1.54
"""Speed of sound, mm per microsecond; over MHz it gives the wavelength in mm."""
FWHM_PER_SIGMA: Final = 2.355

AXIAL_SIGMA_WAVELENGTHS: Final = 0.36
LEAST_AXIAL_SIGMA_SAMPLES: Final = 0.62
LEAST_LATERAL_SIGMA_LINES: Final = 0.6
FOCAL_DEPTH_FRAC: Final = 0.8
"""Distance from the focus at which the beam is 1.4 times as wide, over the focal radius."""

LOSS_RANGE_DB: Final = (-12.0, 40.0)
"""Least (enhancement) and greatest (shadow) effect of the lesion on what lies behind it."""
TGC_ERROR_SD: Final = 0.035
"""Error of the time-gain compensation, dB/cm/MHz."""
TGC_LIMIT_DB: Final = 8.0

NOISE_DB: Final = (34.0, 42.0)
"""Noise below the display's reference, on the probe; at the rim of the scan it is 4 times as strong."""
NOISE_RISE: Final = 3.0
MEAN_INTENSITY: Final = 0.5
"""Mean intensity of speckle at an echo level of 0 dB."""

RINGDOWN_INTENSITY: Final = 0.15
_LEAST_LATERAL_RADIUS_MM = 0.5


@dataclass(frozen=True)
class Beam:
    """A probe's focus."""

    f_number: float
    focus_mm: float


BEAMS: Final = {7.5: Beam(2.6, 18.0), 20.0: Beam(3.6, 7.0)}


@dataclass(frozen=True)
class Acquisition:
    """How one examination was set up; drawn once per case."""

    tgc_error_db_cm_mhz: float
    penetration_mm: float
    """Radius beyond which the echo fades."""
    fading_db_mm: float
    noise_intensity: float


def draw_acquisition(case: PhantomCase, rng: np.random.Generator) -> Acquisition:
    """Draw an examination's losses and noise from the case's display stream."""
    high = case.probe_mhz > 10
    return Acquisition(
        tgc_error_db_cm_mhz=float(rng.normal(0, TGC_ERROR_SD)),
        penetration_mm=float(rng.uniform(*((9, 13) if high else (30, 42)))),
        fading_db_mm=float(rng.uniform(*((0.9, 1.6) if high else (0.3, 0.6)))),
        noise_intensity=float(10 ** (-rng.uniform(*NOISE_DB) / 10)),
    )


def echo_intensity(
    case: PhantomCase, geometry: Geometry, grid: PolarGrid, tissue: TissueMap, acquisition: Acquisition
) -> Float32:
    """Intensity that the probe receives from every sample: float32 [nr, nt], 0.5 on average at 0 dB.

    The speckle is drawn for this grid: views of one case share anatomy and settings, not single speckles.
    """
    rng = stream_of(case.seed, Stream.SPECKLE)
    level = tissue.level_db
    _attenuate(level, tissue.lesion, grid, case.probe_mhz)
    level += _depth_gain_db(case.probe_mhz, geometry, grid, acquisition)[:, None]
    intensity = speckle_intensity(
        level,
        lateral_sigma_lines=lateral_sigma_lines(case.probe_mhz, grid),
        axial_sigma_samples=max(
            AXIAL_SIGMA_WAVELENGTHS * SPEED_MM_US / case.probe_mhz / grid.dr_mm, LEAST_AXIAL_SIGMA_SAMPLES
        ),
        rng=rng,
    )
    noise = acquisition.noise_intensity * (1 + NOISE_RISE * (grid.r_mm / geometry.radius_mm) ** 2)
    thermal = rng.standard_exponential(level.shape, dtype=np.float32)
    thermal *= noise.astype(np.float32)[:, None]
    intensity += thermal
    _add_ringdown(intensity, geometry, grid, tissue.fine)
    intensity[grid.r_mm <= geometry.probe_radius_mm] = 0
    return intensity


def _attenuate(level_db: Float32, lesion: LesionEcho, grid: PolarGrid, probe_mhz: float) -> None:
    """Take from `level_db`, in place, what the lesion costs the sound on its way there and back.

    Only the difference to the surrounding tissue counts: the machine compensates the rest.
    """
    per_sample = np.float32(2 * probe_mhz * grid.dr_mm / 10)  # dB per dB/cm/MHz
    loss = np.cumsum(lesion.attenuation_db_cm_mhz, axis=0)
    loss *= per_sample
    np.clip(loss, *LOSS_RANGE_DB, out=loss)
    level_db[lesion.rows, lesion.lines] -= loss
    level_db[lesion.rows.stop :, lesion.lines] -= loss[-1]


def _depth_gain_db(probe_mhz: float, geometry: Geometry, grid: PolarGrid, acquisition: Acquisition) -> Float32:
    """What depth alone does to the level, float32 [nr]: an ill-set compensation, and the end of penetration."""
    tgc = acquisition.tgc_error_db_cm_mhz * 2 * probe_mhz * (grid.r_mm - geometry.wall_mm) / 10
    fading = acquisition.fading_db_mm * np.maximum(grid.r_mm - acquisition.penetration_mm, 0)
    return np.asarray(-np.clip(tgc, -TGC_LIMIT_DB, TGC_LIMIT_DB) - fading, dtype=np.float32)


def lateral_sigma_lines(probe_mhz: float, grid: PolarGrid) -> Float32:
    """Standard deviation of the beam's profile across the lines, float32 [nr], in lines.

    Its full width at half maximum is wavelength times F-number at the focus and widens as a hyperbola.
    """
    beam = BEAMS[probe_mhz]
    defocus = (grid.r_mm - beam.focus_mm) / (FOCAL_DEPTH_FRAC * beam.focus_mm)
    width_mm = SPEED_MM_US / probe_mhz * beam.f_number * np.sqrt(1 + defocus**2)
    line_mm = np.maximum(grid.r_mm, _LEAST_LATERAL_RADIUS_MM) * grid.dtheta_rad
    return np.asarray(np.maximum(width_mm / FWHM_PER_SIGMA / line_mm, LEAST_LATERAL_SIGMA_LINES), dtype=np.float32)


def speckle_intensity(
    level_db: Float32, *, lateral_sigma_lines: Float32, axial_sigma_samples: float, rng: np.random.Generator
) -> Float32:
    """Fully developed speckle: random scatterers seen through a Gaussian point spread function.

    The complex baseband signal is white circular Gaussian noise of the local amplitude, convolved along the lines and
    across them. Where the level is constant the envelope is Rayleigh distributed (signal-to-noise ratio 1.91, standard
    deviation 5.57 dB; Burckhardt 1978, IEEE Trans Sonics Ultrason 25:1).

    Args:
        level_db: echo level, float32 [nr, nt].
        lateral_sigma_lines: width of the beam at each radius, float32 [nr], in lines; the lines wrap around.
        axial_sigma_samples: width of the pulse, in samples.
        rng: source of the scatterers.

    Returns:
        Intensity, float32 [nr, nt]; 0.5 on average where the level is 0 dB, whatever the widths.
    """
    rows, lines = level_db.shape
    signal = rng.standard_normal((rows, 2 * lines), dtype=np.float32).view(np.complex64)
    signal *= fast_exp(level_db * np.float32(np.log(10) / 20))

    # Both filters keep the mean power of white noise: a Gaussian's energy is 1 / (2 sqrt(pi) sigma).
    wave_number = (2 * np.pi * scipy.fft.fftfreq(lines)).astype(np.float32)
    sigma = lateral_sigma_lines[:, None]
    transfer = fast_exp(np.float32(-0.5) * (sigma * wave_number) ** 2)
    transfer *= np.sqrt(np.float32(2 * np.sqrt(np.pi)) * sigma)
    signal = scipy.fft.fft(signal, axis=1, overwrite_x=True)
    signal *= transfer
    signal = scipy.fft.ifft(signal, axis=1, overwrite_x=True)

    # Real and imaginary parts lie side by side, and a filter along the columns treats them alike.
    parts = cv2.sepFilter2D(
        np.ascontiguousarray(signal).view(np.float32), -1, np.ones(1, np.float32), _unit_energy(axial_sigma_samples)
    )
    intensity = parts[:, 0::2] ** 2 + parts[:, 1::2] ** 2
    intensity *= np.float32(MEAN_INTENSITY / 2)  # each part has a mean square of 1
    return intensity


def _unit_energy(sigma: float) -> Float32:
    """A Gaussian filter whose squares sum to 1: float32 [odd]."""
    half = int(np.ceil(3.5 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    return np.asarray(kernel / np.sqrt((kernel**2).sum()), dtype=np.float32)


def _add_ringdown(intensity: Float32, geometry: Geometry, grid: PolarGrid, texture: Float32) -> None:
    """Add the rings of a probe that still vibrates, in place."""
    distance = grid.r_mm - geometry.probe_radius_mm
    decay_mm, period_mm = 0.12 * geometry.wall_mm, 0.16 * geometry.wall_mm
    # After five decay lengths the rings lie below the noise.
    rows = np.flatnonzero((distance >= 0) & (distance < 5 * decay_mm))
    if not len(rows):
        return
    near = slice(rows[0], rows[-1] + 1)
    ring = np.exp(-distance[near] / decay_mm) * (0.6 + 0.4 * np.cos(2 * np.pi * distance[near] / period_mm))
    unevenness = 1 + np.float32(0.2) * texture[near]
    intensity[near] += (RINGDOWN_INTENSITY * ring**2).astype(np.float32)[:, None] * unevenness * unevenness
