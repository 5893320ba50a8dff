"""A trained network as two files that hold no code: `weights.safetensors` and `model.json`.

Evaluation and the served model both ask the network through `Bundle.scores`, so that what is served is what was
evaluated.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from eusml.config import ARCHS, Arch
from eusml.data.images import Preparation
from eusml.data.quality import QualityReference
from eusml.errors import CheckpointError
from eusml.files import written_whole
from eusml.learning.batches import Normalisation, to_device, to_grey
from eusml.learning.model import empty_network
from eusml.learning.predict import turned
from eusml.learning.temperature import Calibration, tempered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

WEIGHTS_FILE = "weights.safetensors"
SPEC_FILE = "model.json"


@dataclass(frozen=True)
class ModelSpec:
    """What one must know, beside the weights, to ask the network about an image."""

    arch: Arch
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    preparation: Preparation
    """How a file becomes the image that the network takes."""
    positive_class: str
    negative_class: str
    threshold: float
    views: int
    """Orientations that an answer is the mean of: 1, 2, 4 or 8."""
    synthetic: bool
    """Trained on synthetic images: says nothing about patients."""
    weights_sha256: str = ""
    calibration: Calibration | None = None
    """What makes the network's answers into probabilities that hold; None leaves them as they are."""
    quality: QualityReference | None = None
    """What the training images are like, to warn of others; None where that was not measured."""

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides what is answered, weights included."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Bundle:
    """A network ready to be asked."""

    network: nn.Module
    spec: ModelSpec

    @torch.inference_mode()
    def scores(
        self, images: "NDArray[np.uint8]", progress: "Callable[[Iterable[Any]], Iterable[Any]]" = iter
    ) -> "NDArray[np.float64]":
        """Probability of the positive class for prepared images uint8 [N, S, S]; float64 [N], 0-1.

        In fp32 on the CPU and one image at a time: convolution kernels are chosen by batch size, and an answer
        must not depend on which other images were asked about. Calibrated, where the model is.
        """
        assert images.shape[1:] == (self.spec.preparation.size_px,) * 2, images.shape
        normalise, views = Normalisation(self.spec.mean, self.spec.std), self.spec.views
        answers = [
            torch.softmax(self.network(normalise(torch.cat(turned(to_grey(image[None]), views)))).double(), 1)[:, 1]
            .mean()
            .item()
            for image in progress(to_device(np.ascontiguousarray(images), torch.device("cpu")))
        ]
        scores = np.array(answers, dtype=np.float64)
        calibration = self.spec.calibration
        return scores if calibration is None else tempered(scores, calibration.temperature)


def save_bundle(folder: Path, network: nn.Module, spec: ModelSpec) -> ModelSpec:
    """Write both files into `folder` (made if absent), each in one step; returns the spec with the weights' SHA-256."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    data = save(tensors, metadata={"synthetic": str(spec.synthetic).lower()})
    spec = replace(spec, weights_sha256=hashlib.sha256(data).hexdigest())
    for name, content in ((WEIGHTS_FILE, data), (SPEC_FILE, (json.dumps(asdict(spec), indent=2) + "\n").encode())):
        with written_whole(folder / name) as file:
            file.write(content)
    return spec


def load_bundle(folder: Path) -> Bundle:
    """Read both files and check the weights against their SHA-256.

    Raises:
        CheckpointError: a file is missing, damaged or does not fit the other.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    spec, data = _read_checked(folder)
    with torch.device("meta"), _Undrawn():  # for weights that are about to be replaced
        network = empty_network(spec.arch, spec.channels)
    try:
        network.load_state_dict(load(data), assign=True)
    except (SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"model weights {folder / WEIGHTS_FILE} do not fit a {spec.arch}: {error}") from None
    return Bundle(network.eval().to(memory_format=torch.channels_last), spec)


class _Undrawn(TorchFunctionMode):
    """Draws no normal variates: those of weights without memory, torch would have its compiler imported for."""

    def __torch_function__(
        self, func: "Callable[..., Any]", types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return args[0] if func is torch.Tensor.normal_ else func(*args, **kwargs or {})


def load_spec(folder: Path) -> ModelSpec:
    """The description alone, of weights that were checked against their SHA-256.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    return _read_checked(folder)[0]


def _read_checked(folder: Path) -> tuple[ModelSpec, bytes]:
    spec = _read_spec(folder / SPEC_FILE)
    path = folder / WEIGHTS_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"model weights {path} cannot be read: {error}") from None
    found = hashlib.sha256(data).hexdigest()
    if found != spec.weights_sha256:
        raise CheckpointError(f"model weights {path} are damaged: SHA-256 is {found}, expected {spec.weights_sha256}")
    return spec, data


def _read_spec(path: Path) -> ModelSpec:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        how = fields["preparation"]
        read = {
            "mean": tuple(fields["mean"]),
            "std": tuple(fields["std"]),
            "preparation": Preparation(**{**how, "grey_range": tuple(how["grey_range"])}),
            "calibration": None if fields["calibration"] is None else Calibration.from_dict(fields["calibration"]),
            "quality": None if fields["quality"] is None else QualityReference.from_dict(fields["quality"]),
        }
        spec = ModelSpec(**{**fields, **read})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"model description {path} cannot be read: {error!r}") from None
    if spec.arch not in ARCHS:
        raise CheckpointError(f"model description {path} names the unknown architecture {spec.arch!r}")
    return spec
