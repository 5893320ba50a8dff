"""A network that was trained: where it is recorded, and what an earlier start left of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from eusml.config import TrainConfig
from eusml.errors import CheckpointError, TrackingError
from eusml.learning.batches import Normalisation
from eusml.learning.bundle import Bundle, ModelSpec, load_bundle, load_spec
from eusml.learning.epoch import EpochResult
from eusml.learning.train import FitResult
from eusml.tables import read_csv
from eusml.tracking import registry, runs
from eusml.tracking.lookup import FinishedRun

CURVES = "curves.csv"
ANSWERS = "eusml.model_digest"
"""Tag of a training run: `ModelSpec.digest`, of all that decides what the model answers."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained network and where it is recorded."""

    arm: str
    spec: ModelSpec
    folder: Path
    """Where its files are."""
    run_id: str
    model_id: str | None
    """MLflow's logged model; None for a network that is not kept."""
    settings: TrainConfig
    """How it was trained."""
    history: pd.DataFrame
    """One row per epoch: epoch, lr, train_loss, train_accuracy, test_loss, test_accuracy, seconds."""

    @cached_property
    def bundle(self) -> Bundle:
        """The network itself, read when it is first asked."""
        found = load_bundle(self.folder)
        assert found.spec.weights_sha256 == self.spec.weights_sha256, self.folder
        # The folder is that of a training: another arm that shares it may have written how *it* is served.
        return replace(found, spec=self.spec)


def finished_fit(folder: Path) -> FitResult | None:
    """The end of a training that an earlier start did not live to record, or recorded to be served otherwise."""
    try:
        bundle = load_bundle(folder / registry.BUNDLE)
        history = read_csv(folder / CURVES)
    except (CheckpointError, OSError, ValueError):
        return None
    rows = tuple(EpochResult(**{str(k): v for k, v in row.items()}) for row in history.to_dict("records"))
    return FitResult(bundle.network, Normalisation(bundle.spec.mean, bundle.spec.std), rows, resumed_after=0)


def finished_model(finished: FinishedRun, arm: str, settings: TrainConfig, folder: Path) -> TrainedModel | None:
    """The model from the work folder or else from the store; None when neither is sound."""
    model_id, expected = finished.tags.get("eusml.model_id"), finished.tags.get(ANSWERS)
    if expected is None:
        return None
    places: list[Callable[[], Path]] = [lambda: folder / registry.BUNDLE]
    if model_id is not None:
        places.append(lambda: registry.fetch_bundle(model_id, folder / "fetched"))
    try:
        history = read_csv(runs.fetch(finished.run_id, CURVES, folder / "fetched"))
    except TrackingError:
        return None
    for place in places:
        try:
            spec = load_spec(where := place())
        except (CheckpointError, TrackingError):
            continue
        if spec.digest == expected:
            return TrainedModel(arm, spec, where, finished.run_id, model_id, settings, history)
    return None
