"""From received intensity to a picture: compression, scan conversion, and what is drawn into a frame."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from eusml.data.phantom.arrays import Float32, UInt8, fast_log
from eusml.data.phantom.geometry import Geometry, PolarGrid

DYNAMIC_RANGE_DB: Final = (46.0, 56.0)
GAIN_SD_DB: Final = 2.2
GAMMA: Final = (1.1, 1.4)
WHITE_DB: Final = 14.0
"""Level that is shown white at a gain of 0 dB."""
_LEAST_INTENSITY = 1e-9

STAMP: Final = "SYNTHETIC"
_TEXT_GREY, _MARK_GREY = 200, 230
_TEXT_MARGIN_PX = 6


@dataclass(frozen=True)
class DisplaySettings:
    """How the machine was set; drawn once per case."""

    dynamic_range_db: float
    gain_db: float
    gamma: float


def draw_display(rng: np.random.Generator) -> DisplaySettings:
    """Draw an examination's settings from the case's display stream."""
    return DisplaySettings(
        dynamic_range_db=float(rng.uniform(*DYNAMIC_RANGE_DB)),
        gain_db=float(rng.normal(0, GAIN_SD_DB)),
        gamma=float(rng.uniform(*GAMMA)),
    )


def compress(intensity: Float32, settings: DisplaySettings) -> Float32:
    """Brightness before gamma, 0 to 1: the dynamic range below white, linear in dB. float32, as `intensity`."""
    # log() of exactly 0 is no number; far below black it makes no difference.
    brightness = fast_log(intensity + np.float32(_LEAST_INTENSITY))
    brightness *= np.float32(10 / np.log(10) / settings.dynamic_range_db)
    brightness += np.float32(1 + (settings.gain_db - WHITE_DB) / settings.dynamic_range_db)
    return np.clip(brightness, 0, 1, out=brightness)


def scan_convert(brightness: Float32, grid: PolarGrid, radius_mm: Float32, angle_rad: Float32) -> Float32:
    """Resample lines to pixels, bilinearly; black beyond the grid's last radius.

    Args:
        brightness: float32 [nr, nt] on `grid`.
        grid: the samples.
        radius_mm: float32 [S, S], of every pixel.
        angle_rad: the same for the angle, -pi to pi.

    Returns:
        float32 [S, S], 0 to 1.
    """
    row = (radius_mm - grid.r_mm[0]) * np.float32(1 / grid.dr_mm)
    line = (angle_rad - grid.theta_rad[0]) * np.float32(1 / grid.dtheta_rad)
    if grid.full_circle:
        brightness = np.concatenate([brightness, brightness[:, :1]], axis=1)
    return np.asarray(cv2.remap(brightness, line, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0))


def to_grey(brightness: Float32, settings: DisplaySettings) -> UInt8:
    """Apply gamma and quantise: uint8, as `brightness`."""
    grey = cv2.pow(brightness, settings.gamma)
    return (grey * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def draw_overlay(image: UInt8, geometry: Geometry, probe_mhz: float) -> UInt8:
    """Draw depth marks, the frequency and the word SYNTHETIC into a frame: uint8 [S, S]."""
    side = image.shape[0]
    canvas = Image.fromarray(image)
    pen = ImageDraw.Draw(canvas)
    centre, step_mm = side // 2, 5 if geometry.radius_mm < 30 else 10
    for depth_mm in range(step_mm, int(geometry.radius_mm) + 1, step_mm):
        away = round(depth_mm * side / (2 * geometry.radius_mm))
        for x, y in ((away, 0), (-away, 0), (0, away), (0, -away)):
            pen.rectangle((centre + x - 1, centre + y - 1, centre + x + 1, centre + y + 1), fill=_MARK_GREY)
    font = ImageFont.load_default_imagefont()
    pen.text((_TEXT_MARGIN_PX, _TEXT_MARGIN_PX), STAMP, fill=_TEXT_GREY, font=font)
    frequency = f"{probe_mhz:g} MHz"
    height = pen.textbbox((0, 0), frequency, font=font)[3]
    pen.text((_TEXT_MARGIN_PX, side - height - _TEXT_MARGIN_PX), frequency, fill=_TEXT_GREY, font=font)
    return np.array(canvas)
