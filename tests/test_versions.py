"""Registered versions against a real sqlite store: what was damaged since is refused, to promote and to load."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from eusml.data.images import Preparation, encode_png
from eusml.errors import CheckpointError, PromotionError
from eusml.learning.bundle import ModelSpec, load_bundle, save_bundle
from eusml.learning.model import build_network
from eusml.tracking import history, integrity, registry, runs, versions
from eusml.tracking.integrity import FILES, file_digests, files_digest, sums_text, verified_version
from eusml.tracking.versions import RegisteredVersion
from tests.conftest import two_classes

pytestmark = pytest.mark.usefixtures("half_the_weights")

NAME = "eusml-phantom-resnet34"
HERE = "0123456789abcdef"
TRAINED_ON = pd.DataFrame(
    {"case_id": ["001", "NA"], "patient_id": ["7", "null"], "pixels_sha256": ["a", "b"], "size_mm": [1.0, 2.0]}
)
WEIGHTS = f"artifacts/{registry.BUNDLE}/weights.safetensors"
FLIPS = 200
LOADED = 40
"""In how many of them a server is asked to load the model, too: both rest on one check."""


def bundle(folder: Path, seed: int) -> Path:
    spec = ModelSpec("resnet34", 1, (0.4,), (0.2,), Preparation(32, 0.15), "GIST", "leiomyoma", 0.5, 1, synthetic=True)
    save_bundle(folder, build_network("resnet34", "none", zero_init_residual=False, seed=seed).eval(), spec)
    return folder


@pytest.fixture(scope="module")
def registered(store_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RegisteredVersion:
    folder = bundle(tmp_path_factory.mktemp("trained") / registry.BUNDLE, seed=0)
    weights = load_bundle(folder).spec.weights_sha256
    with runs.entry_run("promote", {}, HERE) as run:
        model = registry.log_model(run, folder, "resnet34", encode_png(two_classes(1, 40, 0)[0][0]))
        logged = versions.inspect(model, weights)
        history.begin(NAME, "champion", run.experiment_id, {}, "text")
        made = versions.register(run, logged, NAME, "resnet34", {"eusml.arm": "resnet34"}, TRAINED_ON)
        again = versions.register(run, logged, NAME, "resnet34", {}, TRAINED_ON)
    assert made.version == again.version == "1"
    assert again.files_sha256 == made.files_sha256 != ""
    return made


@pytest.fixture
def stored(registered: RegisteredVersion) -> Path:
    """Where the store keeps the model, in which MLflow has noted by what name it was fetched."""
    return Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}/1"))


def test_a_version_carries_the_digest_of_its_files_and_its_run_their_list(registered: RegisteredVersion) -> None:
    tags = MlflowClient().get_model_version(NAME, "1").tags
    assert tags[versions.WEIGHTS] == registered.tags[versions.WEIGHTS]
    listed = Path(MlflowClient().download_artifacts(tags[integrity.REGISTERED_BY], "registered/resnet34/SHA256SUMS"))
    assert hashlib.sha256(listed.read_bytes()).hexdigest() == tags[FILES]
    assert {line.split("  ")[1] for line in listed.read_text().splitlines()} >= {
        "MLmodel", "requirements.txt", WEIGHTS, f"artifacts/{registry.BUNDLE}/model.json",
        "code/eusml/tracking/served_model.py", "served_model.py",
    }  # fmt: skip
    known = versions.trained_on(registered)
    assert known is not None
    assert known.to_dict("list") == TRAINED_ON.drop(columns="size_mm").to_dict("list")
    assert versions.trained_on(RegisteredVersion(NAME, "9", {})) is None


def test_a_sound_version_is_loaded_and_says_so(registered: RegisteredVersion, stored: Path) -> None:
    model = mlflow.pyfunc.load_model(f"models:/{NAME}/1")
    assert model.unwrap_python_model().asked.version == "1"
    assert versions.verified_files(registered) == len(file_digests(stored))
    assert versions.verified_bundle(registered).spec.weights_sha256 == registered.tags[versions.WEIGHTS]
    # What MLflow and Python leave in the folder while they load it is no damage.
    (stored / "code" / "__pycache__").mkdir()
    (stored / "code" / "__pycache__" / "x.pyc").write_bytes(b"x")
    assert (stored / integrity.META).is_file()
    assert verified_version(stored) == (NAME, "1")


def truncated(stored: Path) -> None:
    data = (stored / WEIGHTS).read_bytes()
    (stored / WEIGHTS).write_bytes(data[: len(data) // 2])


def emptied(stored: Path) -> None:
    (stored / WEIGHTS).write_bytes(b"")


def missing(stored: Path) -> None:
    (stored / WEIGHTS).unlink()


def added(stored: Path) -> None:
    (stored / "code" / "sitecustomize.py").write_text("print('mine')")


def other_code(stored: Path) -> None:
    with (stored / "code/eusml/data/boxes.py").open("a") as file:
        file.write("\n# changed\n")


def other_threshold(stored: Path) -> None:
    spec = stored / "artifacts" / registry.BUNDLE / "model.json"
    spec.write_text(spec.read_text().replace('"threshold": 0.5', '"threshold": 0.1'))


def another_model(stored: Path) -> None:
    """A sound bundle, whose own digest is right: only what was recorded elsewhere tells."""
    bundle(stored / "artifacts" / registry.BUNDLE, seed=1)
    load_bundle(stored / "artifacts" / registry.BUNDLE)


def swapped(stored: Path) -> None:
    first, second = stored / "requirements.txt", stored / "conda.yaml"
    text = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(text)


DAMAGES: dict[Callable[[Path], None], str] = {
    truncated: f"changed: {WEIGHTS}",
    emptied: f"changed: {WEIGHTS}",
    missing: f"missing: {WEIGHTS}",
    added: "added: code/sitecustomize.py",
    other_code: "changed: code/eusml/data/boxes.py",
    other_threshold: f"changed: artifacts/{registry.BUNDLE}/model.json",
    another_model: f"changed: artifacts/{registry.BUNDLE}/model.json, {WEIGHTS}",
    swapped: "changed: conda.yaml, requirements.txt",
}


def registered_again(version: RegisteredVersion) -> None:
    """As `promote` does when the same model is its candidate again."""
    model_id = MlflowClient().get_model_version(NAME, "1").source.removeprefix("models:/")
    logged = versions.inspect(model_id, version.tags[versions.WEIGHTS])
    with runs.entry_run("promote", {}, HERE) as run:
        versions.register(run, logged, NAME, "resnet34", {}, TRAINED_ON)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_model_is_refused_to_promote_to_roll_back_to_and_to_load(
    damage: Callable[[Path], None], registered: RegisteredVersion, stored: Path
) -> None:
    whole = {place: (stored / place).read_bytes() for place in file_digests(stored)}
    damage(stored)
    try:
        for ask in (versions.verified_bundle, versions.verified_files):
            with pytest.raises(CheckpointError, match="is not what was registered") as caught:
                ask(registered)
            assert DAMAGES[damage] in str(caught.value)
        with pytest.raises(CheckpointError, match="is not what was registered"):
            mlflow.pyfunc.load_model(f"models:/{NAME}/1")
        with pytest.raises(PromotionError, match=r"damaged|not sound|had others"):
            registered_again(registered)
    finally:
        for place in set(file_digests(stored)) - set(whole):
            (stored / place).unlink()
        for place, data in whole.items():
            (stored / place).write_bytes(data)
    assert verified_version(stored) == (NAME, "1")


@pytest.mark.slow
def test_single_bits_flipped_at_200_places_of_the_weights_are_all_refused(
    registered: RegisteredVersion, stored: Path
) -> None:
    rng = np.random.default_rng(0)
    size = (stored / WEIGHTS).stat().st_size
    tags = registered.tags
    ways: dict[str, Callable[[], object]] = {
        "promote": lambda: integrity.check_files("it", stored, tags[FILES], {}),
        "load": lambda: verified_version(stored),
    }
    refused = dict.fromkeys(ways, 0)
    with (stored / WEIGHTS).open("r+b") as file:
        for number, place in enumerate(rng.choice(size, FLIPS, replace=False)):
            bit = 1 << int(rng.integers(8))
            flip(file, int(place), bit)
            for name in ("promote", "load") if number < LOADED else ("promote",):
                try:
                    ways[name]()
                except CheckpointError:
                    refused[name] += 1
            flip(file, int(place), bit)
    assert refused == {"promote": FLIPS, "load": LOADED}
    assert verified_version(stored) == (NAME, "1")


def flip(file: BinaryIO, place: int, bit: int) -> None:
    file.seek(place)
    (value,) = file.read(1)
    file.seek(place)
    file.write(bytes([value ^ bit]))
    file.flush()


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:////nowhere/mlflow.db"])
def test_without_a_registry_to_ask_a_model_does_not_call_itself_verified(
    uri: str, registered: RegisteredVersion, stored: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    mlflow.pyfunc.load_model(f"models:/{NAME}/1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert verified_version(stored) == (NAME, "1 (unverified)")
    assert "no registry could be asked" in caplog.text
    (stored / integrity.META).unlink()
    assert verified_version(stored) == ("unregistered", "none")


def test_a_version_without_a_digest_is_not_called_verified_and_not_promoted(
    registered: RegisteredVersion, stored: Path
) -> None:
    made = MlflowClient().create_model_version(NAME, MlflowClient().get_model_version(NAME, "1").source)
    (stored / integrity.META).write_text(f"model_name: {NAME}\nmodel_version: '{made.version}'\n")
    assert verified_version(stored) == (NAME, f"{made.version} (unverified)")
    bare = versions.version_of(NAME, str(made.version))
    assert bare is not None
    with pytest.raises(CheckpointError, match="no digest"):
        versions.verified_bundle(bare)
    MlflowClient().delete_model_version(NAME, str(made.version))
    assert versions.version_of(NAME, str(made.version)) is None
    assert verified_version(stored) == (NAME, f"{made.version} (unverified)")
    (stored / integrity.META).unlink()


def test_the_digest_is_that_of_names_and_contents() -> None:
    files = {"b": "1", "a": "2"}
    assert sums_text(files) == "2  a\n1  b\n"
    assert files_digest(files) != files_digest({"a": "1", "b": "2"})


def test_an_empty_or_absent_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no file"):
        file_digests(tmp_path)


def test_a_description_too_long_for_the_registry_points_to_the_runs(registered: RegisteredVersion) -> None:
    versions.describe(registered, {"eusml.decision": "refused"}, "line\n" * 2000)
    found = versions.version_of(NAME, "1")
    assert found is not None
    assert len(found.description) <= 5000
    assert found.description.endswith("of the runs that the tags name.")
    assert found.tags["eusml.decision"] == "refused"
