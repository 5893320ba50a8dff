"""Models as they are logged, registered and asked, against a real sqlite store."""

import base64
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from eusml.data.images import Preparation, encode_png, prepare_image
from eusml.errors import PromotionError
from eusml.learning.bundle import ModelSpec, load_bundle, save_bundle
from eusml.learning.model import build_network
from eusml.tracking import history, registry, runs, versions
from tests.conftest import two_classes
from tests.dicom_files import dataset, written

TAGS = {"eusml.stage": "train"}
HERE = "0123456789abcdef"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / registry.BUNDLE
    spec = ModelSpec("resnet34", 1, (0.4,), (0.2,), Preparation(32, 0.15), "GIST", "leiomyoma", 0.5, 1, synthetic=True)
    save_bundle(folder, build_network("resnet34", "none", zero_init_residual=False, seed=0).eval(), spec)
    return folder


@pytest.fixture(scope="module")
def logged(store_folder: Path, bundle: Path) -> str:
    with pytest.MonkeyPatch.context() as patch, runs.entry_run("train", TAGS, HERE) as run:
        patch.setattr(sys, "dont_write_bytecode", False)  # as it is unless PYTHONDONTWRITEBYTECODE is set
        return registry.log_model(run, bundle, "resnet34", encode_png(two_classes(1, 40, 0)[0][0]))


def test_logged_model_holds_no_pickle_and_its_own_code(logged: str, store_folder: Path) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{logged}", dst_path=str(store_folder / "model")))
    files = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    assert "artifacts/bundle/weights.safetensors" in files
    assert "code/eusml/tracking/served_model.py" in files
    assert not [file for file in files if file.endswith((".pkl", ".pt", ".pth", ".pyc"))]
    requirements = (folder / "requirements.txt").read_text()
    assert "torch==" in requirements


def test_registered_and_answering(logged: str, bundle: Path, store_folder: Path) -> None:
    name = registry.registered_name("resnet34", synthetic=True)
    assert name == "eusml-phantom-resnet34"
    assert registry.registered_name("resnet50", synthetic=False) == "eusml-resnet50"
    assert registry.is_synthetic_name(name)
    assert not registry.is_synthetic_name("eusml-resnet50")
    trained_on = pd.DataFrame({"case_id": ["a"], "patient_id": ["a"], "pixels_sha256": ["a"]})
    with runs.entry_run("promote", {}, HERE) as run:
        history.begin(name, "champion", run.experiment_id, {}, "text")
        model = versions.inspect(logged, load_bundle(bundle).spec.weights_sha256)
        version = versions.register(run, model, name, "resnet34", {"eusml.synthetic": "true"}, trained_on)
    versions.set_alias(version, "champion")

    model = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    images, _ = two_classes(3, 40, seed=1)
    rows = pd.DataFrame({"image": [base64.b64encode(encode_png(image)).decode() for image in images]})
    answer = pd.DataFrame(model.predict(rows))
    prepared = [prepare_image(image, None, size_px=32, margin_frac=0.15, name="") for image in images]
    expected = [load_bundle(bundle).scores(image[None])[0] for image in prepared]
    assert answer["probability"].tolist() == expected
    assert set(answer["model"]) == {"eusml-phantom-resnet34"}
    assert set(answer["version"]) == {"1"}
    assert answer["label"].tolist() == ["GIST" if p >= 0.5 else "leiomyoma" for p in expected]
    assert answer["synthetic"].all()
    assert answer["notice"].str.contains("SYNTHETIC").all()

    dicom = [base64.b64encode(written(dataset(image))).decode() for image in images]
    assert [row["probability"] for row in model.predict(pd.DataFrame({"image": dicom}))] == expected

    boxed = rows.assign(box=[[4.0, 4.0, 20.0, 20.0]] * len(rows))
    cut = prepare_image(images[0], (4, 4, 20, 20), size_px=32, margin_frac=0.15, name="")
    assert model.predict(boxed)[0]["probability"] == load_bundle(bundle).scores(cut[None])[0]


def test_a_model_whose_weights_were_exchanged_is_not_registered(logged: str) -> None:
    with pytest.raises(PromotionError, match="the evaluated one had others"):
        versions.inspect(logged, "0" * 64)
