import hashlib
import io
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torchvision import models

from eusml.config import Arch
from eusml.data.images import Preparation
from eusml.errors import CheckpointError, TrainingError
from eusml.learning.bundle import SPEC_FILE, WEIGHTS_FILE, ModelSpec, load_bundle, save_bundle
from eusml.learning.model import build_network
from tests.conftest import two_classes

ARCHS: list[Arch] = ["resnet34", "resnet50"]


@pytest.mark.parametrize("arch", ARCHS)
def test_networks_are_torchvisions_with_two_outputs(arch: Arch) -> None:
    net = build_network(arch, "none", zero_init_residual=True, seed=0)
    reference = getattr(models, arch)(num_classes=2)
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    expected = {name: tuple(tensor.shape) for name, tensor in reference.state_dict().items()}
    assert shapes.pop("conv1.weight") == (64, 1, 7, 7)
    expected.pop("conv1.weight")
    assert shapes == expected
    assert net(torch.zeros(2, 1, 64, 64)).shape == (2, 2)


def test_initial_weights_are_a_function_of_the_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = build_network("resnet34", "none", zero_init_residual=True, seed=3).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    second = build_network("resnet34", "none", zero_init_residual=True, seed=3).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


class TestImageNetWeights:
    def cached(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Where torchvision looks before it downloads."""
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        folder = tmp_path / "hub" / "checkpoints"
        folder.mkdir(parents=True)
        return folder / Path(models.ResNet34_Weights.IMAGENET1K_V1.url).name

    def publish(self, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the content be what torchvision means by its weights, as its name with the SHA-256 says, and cache it."""
        name = f"resnet34-{hashlib.sha256(content).hexdigest()[:8]}.pth"
        monkeypatch.setattr(models.ResNet34_Weights.IMAGENET1K_V1.value, "url", f"https://127.0.0.1:9/{name}")
        self.cached(tmp_path, monkeypatch).write_bytes(content)

    def saved(self, network: torch.nn.Module) -> bytes:
        file = io.BytesIO()
        torch.save(network.state_dict(), file)
        return file.getvalue()

    def test_are_taken_from_torchvisions_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        network = models.resnet34()
        donor = network.state_dict()
        self.publish(self.saved(network), tmp_path, monkeypatch)
        net = build_network("resnet34", "imagenet", zero_init_residual=False, seed=0)
        state = net.state_dict()
        assert state["conv1.weight"].shape[1] == 3
        assert all(torch.equal(state[name], donor[name]) for name in donor if not name.startswith("fc."))
        assert state["fc.weight"].shape == (2, 512)

    def test_that_cannot_be_had_say_what_to_do(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = self.cached(tmp_path, monkeypatch)

        def no_network(*_: object, **__: object) -> None:
            raise URLError("no route to host")

        monkeypatch.setattr("urllib.request.urlopen", no_network)
        monkeypatch.setattr("torch.hub.urlopen", no_network)
        with pytest.raises(TrainingError) as caught:
            build_network("resnet34", "imagenet", zero_init_residual=False, seed=0)
        assert str(path) in str(caught.value)
        assert "-P train.weights=none" in str(caught.value)

    def test_that_differ_from_their_sha256_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # As good as any, but not the file that torchvision names.
        path = self.cached(tmp_path, monkeypatch)
        path.write_bytes(self.saved(models.resnet34()))
        with pytest.raises(TrainingError, match="are damaged: their SHA-256 is") as caught:
            build_network("resnet34", "imagenet", zero_init_residual=False, seed=0)
        assert str(path) in str(caught.value)

    def test_that_are_a_web_page_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.publish(b"<html>403</html>", tmp_path, monkeypatch)
        with pytest.raises(TrainingError, match="cannot be read"):
            build_network("resnet34", "imagenet", zero_init_residual=False, seed=0)

    def test_that_are_a_folder_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cached(tmp_path, monkeypatch).mkdir()
        with pytest.raises(TrainingError, match="cannot be read"):
            build_network("resnet34", "imagenet", zero_init_residual=False, seed=0)

    def test_of_another_network_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.publish(self.saved(models.resnet18()), tmp_path, monkeypatch)
        with pytest.raises(TrainingError, match="do not fit"):
            build_network("resnet34", "imagenet", zero_init_residual=False, seed=0)


SPEC = ModelSpec("resnet34", 1, (0.4,), (0.2,), Preparation(32, 0.15), "GIST", "leiomyoma", 0.5, 1, synthetic=True)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_bundle(tmp_path / "model", build_network("resnet34", "none", zero_init_residual=False, seed=0).eval(), SPEC)
    return tmp_path / "model"


def test_bundle_reads_back_and_holds_no_code(saved: Path) -> None:
    assert sorted(file.name for file in saved.iterdir()) == [SPEC_FILE, WEIGHTS_FILE]
    net = build_network("resnet34", "none", zero_init_residual=False, seed=0)
    loaded = load_bundle(saved)
    assert all(torch.equal(loaded.network.state_dict()[name], tensor) for name, tensor in net.state_dict().items())
    assert (loaded.spec.arch, loaded.spec.mean, loaded.spec.synthetic) == ("resnet34", (0.4,), True)


def test_an_answer_does_not_depend_on_its_neighbours(saved: Path) -> None:
    bundle = load_bundle(saved)
    images, _ = two_classes(5, 32, seed=3)
    together = bundle.scores(images)
    assert together.dtype == np.float64
    assert ((together > 0) & (together < 1)).all()
    assert len(set(together)) == 5
    alone = np.array([bundle.scores(images[[i]])[0] for i in range(5)])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(bundle.scores(images[::-1]), together[::-1])


def test_scores_are_the_softmax_of_the_network(saved: Path) -> None:
    bundle = load_bundle(saved)
    images, _ = two_classes(3, 32, seed=3)
    with torch.inference_mode():
        logits = bundle.network((torch.from_numpy(images).unsqueeze(1) / 255 - 0.4) / 0.2)
    np.testing.assert_allclose(bundle.scores(images), torch.softmax(logits, 1)[:, 1].numpy(), atol=1e-5)


@pytest.mark.parametrize("place", [10, 5_000, -1])
def test_a_changed_byte_in_the_weights_is_refused(saved: Path, place: int) -> None:
    data = bytearray((saved / WEIGHTS_FILE).read_bytes())
    data[place] ^= 1
    (saved / WEIGHTS_FILE).write_bytes(data)
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_bundle(saved)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, SPEC_FILE])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load_bundle(saved)


def test_an_unknown_architecture_is_named(saved: Path) -> None:
    text = (saved / SPEC_FILE).read_text().replace("resnet34", "resnet99")
    (saved / SPEC_FILE).write_text(text)
    with pytest.raises(CheckpointError, match="resnet99"):
        load_bundle(saved)
