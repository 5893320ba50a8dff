"""Pictures of what a network saw: they are what it saw, stand in the store once per epoch, and say what they are."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.tracking import MlflowClient
from PIL import Image

from eusml.commands.seen import EACH_CLASS, EPOCHS, log_seen, seen
from eusml.config import TrainConfig
from eusml.data.manifest import Manifest
from eusml.evaluation.captions import captioned, rows_of_images
from eusml.learning import step as steps
from eusml.learning.batches import LabelledImages, epoch_order
from eusml.learning.train import fit
from eusml.tracking import runs
from tests.conftest import two_classes, weights_sha256
from tests.reported import HERE

IMAGES = LabelledImages(*two_classes(24, 32, 0))
MANIFEST = Manifest(pd.DataFrame(), "phantom", True, "GIST", "leiomyoma")
RED = np.array([0xB0, 0x00, 0x20])


def series(run_id: str, folder: Path, client: MlflowClient | None = None) -> dict[str, dict[int, np.ndarray]]:
    """Key to step to picture, of all that a run has; each once."""
    found: dict[str, dict[int, np.ndarray]] = {}
    client = client or MlflowClient()
    for file in client.list_artifacts(run_id, "images"):
        if file.path.endswith(".png"):
            named = re.fullmatch(r"images/(\w+)\+step\+(\d+)\+timestamp\+.*", file.path)
            assert named is not None
            steps = found.setdefault(named[1], {})
            assert int(named[2]) not in steps
            picture = client.download_artifacts(run_id, file.path, str(folder))
            steps[int(named[2])] = np.asarray(Image.open(picture))
    return found


def test_the_pictures_are_what_the_training_sees_and_making_them_changes_no_weight(
    tiny_settings: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[torch.Tensor] = []
    augment = steps.augment_online

    def watched(grey: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
        batches.append(augment(grey, parameters))
        return batches[-1]

    before = weights_sha256(fit(IMAGES, None, tiny_settings, job="a").network)
    rows = np.array([0, 5, 23])
    shown = [seen(IMAGES, rows, tiny_settings, epoch) for epoch in (1, 2, 3)]
    monkeypatch.setattr(steps, "augment_online", watched)
    assert weights_sha256(fit(IMAGES, None, tiny_settings, job="a").network) == before
    order = [
        row for epoch in (1, 2, 3) for row in np.concatenate(epoch_order(tiny_settings.seed, epoch, 24, 8)) + 24 * epoch
    ]
    all_seen = torch.cat(batches)[:, 0].numpy()
    for epoch in (1, 2, 3):
        for row, picture in zip(rows, shown[epoch - 1], strict=True):
            np.testing.assert_allclose(picture / 255, all_seen[order.index(row + 24 * epoch)], atol=0.5 / 255 + 1e-6)
    assert not np.array_equal(shown[0], shown[1])


def test_the_store_has_one_marked_picture_per_epoch(
    store_folder: Path, tmp_path: Path, tiny_settings: TrainConfig
) -> None:
    for settings, synthetic in ((tiny_settings, True), (tiny_settings.model_copy(update={"epochs": 40}), False)):
        with runs.entry_run("train", {}, HERE) as run:
            log_seen(run, IMAGES, replace(MANIFEST, synthetic=synthetic), settings)
        pictures = series(run.run_id, tmp_path)["augmentation"]
        assert sorted(pictures) == list(range(min(settings.epochs, EPOCHS) + 1))
        classes = np.array([1, 3, 5]), np.array([0, 2, 4])
        assert len(classes[0]) == EACH_CLASS
        for step, picture in pictures.items():
            shown = [seen(IMAGES, rows, settings, step) if step else IMAGES.take(rows) for rows in classes]
            sheet = rows_of_images(*shown)
            np.testing.assert_array_equal(picture[: len(sheet)], np.repeat(sheet[..., None], 3, 2))
            assert (np.abs(picture[len(sheet) :] - RED).sum(-1) < 30).any() == synthetic


def test_a_caption_takes_as_many_lines_as_it_needs() -> None:
    picture = np.zeros((64, 256), np.uint8)
    short, long = captioned(picture, "a", synthetic=False), captioned(picture, "word " * 30, synthetic=False)
    assert short.shape[1:] == long.shape[1:] == (256, 3)
    assert len(long) > len(short) > 64
    assert (long[:64] == 0).all()
    assert long[:, -4:][64:].min() == 255  # nothing runs over the edge
