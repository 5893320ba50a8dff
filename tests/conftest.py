"""What several tests share: small images that can be told apart, and settings that train in a second."""

import os

# One thread per process keeps parallel tests from fighting over two cores, and sums in one order.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import numpy as np
import pytest

from eusml.config import OnlineConfig, TrainConfig


@pytest.fixture
def tiny_settings() -> TrainConfig:
    """Three epochs of three batches."""
    return TrainConfig(
        epochs=3, batch_size=8, threads=1, checkpoint_every_s=0.0, device="cpu", online=OnlineConfig(enabled=True)
    )


def two_classes(count: int, size_px: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, brighter in one half for class 1: images uint8 [N, S, S] and y_true int64 [N]."""
    rng = np.random.default_rng(seed)
    y_true = np.arange(count, dtype=np.int64) % 2
    images = rng.integers(0, 120, (count, size_px, size_px))
    images[y_true == 1, : size_px // 2] += 100
    return images.astype(np.uint8), y_true
