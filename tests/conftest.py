"""What several tests share: small images that can be told apart, and settings that train in a second."""

import gc
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

# One thread per process keeps parallel tests from fighting over two cores, and sums in one order.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import settings
from torch import nn

from eusml.config import OnlineConfig, TrainConfig
from eusml.learning.torchvision_resnet import torchvision_resnet
from tests.stores import empty_store

# Read when Triton is first imported. Without a GPU its interpreter runs the kernels.
os.environ.setdefault("TRITON_INTERPRET", str(int(not torch.cuda.is_available())))


@pytest.fixture(scope="module", autouse=True)
def _nothing_imported_is_garbage() -> None:
    """Optuna, for one, looks for some after every trial, which takes a second among all that tests have imported."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Else nanobind takes what is still there at the end for a leak of triton's."""
    gc.unfreeze()


settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _waits_for_no_disk() -> Iterator[None]:
    """Only a loss of power could show whether something lies on the disk, and a checkpoint takes half a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def tiny_settings() -> TrainConfig:
    """Three epochs of three batches."""
    return TrainConfig(
        epochs=3, batch_size=8, threads=1, checkpoint_every_s=0.0, device="cpu", online=OnlineConfig(enabled=True)
    )


@pytest.fixture(scope="module")
def half_the_weights() -> Iterator[None]:
    """A ResNet-34 is a ResNet-18, for tests of training as such: half the weights to draw, step and save."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchvision_resnet(), "resnet34", torchvision_resnet().resnet18)
        yield


@pytest.fixture(scope="module")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One empty store for a whole file."""
    import mlflow

    from eusml.tracking import store

    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        # Not by `set_tracking_uri`, which would outlive this file and override the environment of later tests.
        patch.setenv("MLFLOW_TRACKING_URI", empty_store(folder))
        experiment = mlflow.create_experiment("test", artifact_location=str(folder / "artifacts"))
        patch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
        store.connect()
        yield folder


def two_classes(count: int, size_px: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, brighter in one half for class 1: images uint8 [N, S, S] and y_true int64 [N]."""
    rng = np.random.default_rng(seed)
    y_true = np.arange(count, dtype=np.int64) % 2
    images = rng.integers(0, 120, (count, size_px, size_px))
    images[y_true == 1, : size_px // 2] += 100
    return images.astype(np.uint8), y_true


def weights_sha256(network: nn.Module) -> str:
    """Of all weights and statistics, to the bit."""
    found = hashlib.sha256()
    for tensor in network.state_dict().values():
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def answers(seed: int, count: int = 30) -> pd.DataFrame:
    """What a fair network says of cases 000, 001, … of classes in turn, each of a patient of its own."""
    rng = np.random.default_rng(seed)
    y_true = np.arange(count) % 2
    y_score = np.clip(rng.normal(0.35 + 0.3 * y_true, 0.2), 0, 1)
    names = [f"{i:03}" for i in range(count)]
    return pd.DataFrame(
        {"case_id": names, "patient_id": names, "y_true": y_true, "y_score": y_score, "y_pred": (y_score >= 0.5) * 1}
    )
