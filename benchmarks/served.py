"""A served model for measurements: a network with random weights, in a store and behind a server of its own."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd

from eusml.data.images import Preparation, encode_png, prepare_image
from eusml.data.quality import measure_reference
from eusml.learning.bundle import Bundle, ModelSpec, load_bundle, save_bundle
from eusml.learning.model import build_network
from eusml.learning.temperature import calibrate
from eusml.tracking import history, registry, runs, store, versions
from tests.integration.conftest import BIN, Place
from tests.integration.serving import Server, served_model
from tests.pictures import speckled

NAME = "eusml-phantom-resnet34"


@dataclass(frozen=True)
class RandomModel:
    """A registered ResNet-34 that was never trained, and its weights here."""

    bundle: Bundle
    place: Place
    uri: str

    @contextmanager
    def served(self) -> Iterator[Server]:
        """`mlflow models serve` of it."""
        with served_model(self.place, self.uri) as server:
            yield server


@contextmanager
def random_model(size_px: int, views: int) -> Iterator[RandomModel]:
    """A model that does all that a trained one does: calibrated, and with a reference for warnings."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        os.environ["MLFLOW_EXPERIMENT_ID"] = mlflow.create_experiment("served", str(folder / "artifacts"))
        store.connect()
        _save(folder / registry.BUNDLE, size_px, views)
        with runs.entry_run("train", {"eusml.stage": "train"}, "0" * 16) as run:
            model = registry.log_model(run, folder / registry.BUNDLE, "resnet34", encode_png(speckled(0)))
        bundle = load_bundle(folder / registry.BUNDLE)
        made = _registered(model, bundle)
        environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        yield RandomModel(bundle, Place(folder, environment), f"models:/{made.name}/{made.version}")


def _registered(model: str, bundle: Bundle) -> versions.RegisteredVersion:
    nobody = pd.DataFrame(columns=["case_id", "patient_id", "pixels_sha256"])
    with runs.entry_run("promote", {"eusml.stage": "promote"}, "0" * 16) as run:
        history.begin(NAME, "champion", run.experiment_id, {}, "random weights")
        logged = versions.inspect(model, bundle.spec.weights_sha256)
        return versions.register(run, logged, NAME, "resnet34", {}, nobody)


def _save(folder: Path, size_px: int, views: int) -> None:
    pictures = [speckled(seed) for seed in range(40)]
    images = [prepare_image(one, None, size_px=size_px, margin_frac=0.15, name="speckle") for one in pictures]
    y_true = np.arange(40) % 2
    spec = ModelSpec(
        "resnet34", 1, (0.4,), (0.2,), Preparation(size_px, 0.15), "GIST", "leiomyoma", 0.5, views, synthetic=True,
        calibration=calibrate(y_true, 0.3 + 0.4 * y_true + 0.2 * np.sin(np.arange(40)), "40 made-up answers"),
        quality=measure_reference(np.stack(images), [(160, 160)] * len(images)),
    )  # fmt: skip
    save_bundle(folder, build_network("resnet34", "none", zero_init_residual=False, seed=0).eval(), spec)
