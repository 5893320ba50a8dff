"""Pictures with large structure and speckle, as ultrasound has them."""

import cv2
import numpy as np


def speckled(seed: int, side: int = 160) -> np.ndarray:
    """uint8 [side, side]; another seed is another picture in every detail."""
    rng = np.random.default_rng(seed)
    large = cv2.resize(rng.normal(0, 1, (7, 7)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    grain = cv2.GaussianBlur(rng.normal(0, 1, (side, side)).astype(np.float32), (0, 0), 1.6)
    level = 90 + 35 * large + 90 * grain
    return np.clip(level, 0, 255).astype(np.uint8)
