"""Pictures with large structure and speckle, as ultrasound has them."""

from collections.abc import Callable

import cv2
import numpy as np


def speckled(seed: int, side: int = 160) -> np.ndarray:
    """uint8 [side, side]; another seed is another picture in every detail."""
    rng = np.random.default_rng(seed)
    large = cv2.resize(rng.normal(0, 1, (7, 7)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    grain = cv2.GaussianBlur(rng.normal(0, 1, (side, side)).astype(np.float32), (0, 0), 1.6)
    level = 90 + 35 * large + 90 * grain
    return np.clip(level, 0, 255).astype(np.uint8)


def recompressed(picture: np.ndarray) -> np.ndarray:
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))


def resized(picture: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.resize(picture, None, fx=0.8, fy=0.7, interpolation=cv2.INTER_AREA))


def cropped(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape
    return picture[: round(height * 0.97), round(width * 0.05) :].copy()


def annotated(picture: np.ndarray) -> np.ndarray:
    marked = picture.copy()
    height, width = marked.shape
    cv2.putText(marked, "RT 3.2 cm", (width // 8, height * 7 // 8), cv2.FONT_HERSHEY_PLAIN, 1.0, 255, 1)
    for x, y in ((0.25, 0.38), (0.69, 0.38), (0.47, 0.19), (0.47, 0.62)):
        cv2.drawMarker(marked, (round(x * width), round(y * height)), 255, cv2.MARKER_CROSS, 10, 1)
    return marked


def darkened(picture: np.ndarray) -> np.ndarray:
    return (255 * (picture / 255.0) ** 1.3).astype(np.uint8)


def everything(picture: np.ndarray) -> np.ndarray:
    return recompressed(annotated(cropped(picture[:, ::-1])))


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda picture: picture,
    "compression": recompressed,
    "size": resized,
    "crop": cropped,
    "left to right": lambda picture: picture[:, ::-1],
    "top to bottom": lambda picture: picture[::-1],
    "half a turn": lambda picture: picture[::-1, ::-1],
    "annotations": annotated,
    "gamma": darkened,
    "all at once": everything,
}
