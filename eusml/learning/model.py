"""ResNet-34 and ResNet-50 with two outputs, for grey images (He et al. 2016, doi:10.1109/CVPR.2016.90)."""

import hashlib
from pathlib import Path
from typing import Literal
from urllib.error import URLError

import numpy as np
import torch
from torch import nn

from eusml.config import Arch
from eusml.errors import TrainingError
from eusml.learning.small_maps import ease_last_stage
from eusml.learning.torchvision_resnet import torchvision_resnet

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_DROPOUT_STREAM = 0x0F


class DropoutLinear(nn.Linear):
    """The last layer, which blanks a share of its inputs while training; its weights are named as a plain layer's.

    Source: Srivastava et al. 2014, JMLR 15:1929. What is blanked is drawn from a generator of its own, seeded at the
    start of every epoch: a training that goes on after a kill draws what it would have drawn.
    """

    def __init__(self, plain: nn.Linear, share: float) -> None:
        super().__init__(plain.in_features, plain.out_features)
        self.load_state_dict(plain.state_dict())
        self.share = share
        self.generator: torch.Generator | None = None

    def begin_epoch(self, seed: int, epoch: int, rank: int = 0) -> None:
        """Seed what this epoch blanks; of several processes, each blanks something else."""
        if self.generator is None or self.generator.device != self.weight.device:
            self.generator = torch.Generator(self.weight.device)  # one for all epochs: captured steps know it
        own = (rank,) if rank else ()
        words = np.random.SeedSequence([seed, epoch, _DROPOUT_STREAM], spawn_key=own).generate_state(1, np.uint64)
        self.generator.manual_seed(int(words[0] >> np.uint64(1)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Float [B, F] to logits [B, 2]."""
        if self.training:
            assert self.generator is not None, "begin_epoch was not called"
            kept = torch.empty_like(features).bernoulli_(1 - self.share, generator=self.generator)
            features = features * kept / (1 - self.share)
        return super().forward(features)


def build_network(
    arch: Arch, weights: Literal["none", "imagenet"], *, zero_init_residual: bool, dropout: float = 0.0, seed: int
) -> nn.Module:
    """A network that maps float32 [B, C, S, S] to logits float32 [B, 2]; column 1 is the positive class.

    From scratch C is 1: the images are grey. With ImageNet weights C is 3, because those filters look at colour
    and were trained on channels with means and deviations of their own.

    Raises:
        TrainingError: ImageNet weights are neither on this machine nor to be downloaded, or are damaged.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net: nn.Module = getattr(torchvision_resnet(), arch)(num_classes=2, zero_init_residual=zero_init_residual)
        if weights == "none":
            net.conv1 = _grey_stem()
        else:
            _load_backbone(net, _imagenet_state(arch), source=f"torchvision's ImageNet weights of {arch}")
        _drop_out(net, dropout)
    ease_last_stage(net)
    return net


def empty_network(arch: Arch, channels: int, dropout: float = 0.0) -> nn.Module:
    """The same architecture for weights that are about to be loaded."""
    with torch.random.fork_rng(devices=[]):
        net: nn.Module = getattr(torchvision_resnet(), arch)(num_classes=2)
        if channels == 1:
            net.conv1 = _grey_stem()
        _drop_out(net, dropout)
    ease_last_stage(net)
    return net


def _drop_out(net: nn.Module, share: float) -> None:
    if share:
        assert isinstance(net.fc, nn.Linear)
        net.fc = DropoutLinear(net.fc, share)


def _grey_stem() -> nn.Conv2d:
    stem = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    return stem


def _imagenet_state(arch: Arch) -> dict[str, torch.Tensor]:
    from torchvision import models

    weights = models.get_model_weights(arch).IMAGENET1K_V1
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    _check_cached(cached, arch)
    try:
        state: dict[str, torch.Tensor] = weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (URLError, OSError) as error:
        raise TrainingError(
            f"train.weights is imagenet, but {arch}'s ImageNet weights are not on this machine and cannot be "
            f"downloaded ({error}). Put torchvision's file at {cached}, or train from scratch with "
            "-P train.weights=none"
        ) from None
    except Exception as error:  # the restricted unpickler raises its own kinds
        raise TrainingError(f"{arch}'s ImageNet weights in {cached} cannot be read ({error}); delete it") from None
    return state


def _check_cached(path: Path, arch: Arch) -> None:
    """Torchvision names a file after the start of its SHA-256, and compares the two on downloading only."""
    expected = path.stem.rpartition("-")[2]
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return
    except OSError as error:
        raise TrainingError(f"{arch}'s ImageNet weights in {path} cannot be read ({error})") from None
    if not found.startswith(expected):
        raise TrainingError(
            f"{arch}'s ImageNet weights in {path} are damaged: their SHA-256 is {found}, and the name says that it "
            f"begins with {expected}; delete the file"
        )


def _load_backbone(net: nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    """Everything but the 1000-class head."""
    backbone = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    missing, unexpected = net.load_state_dict(backbone, strict=False)
    if set(missing) != {"fc.weight", "fc.bias"} or unexpected:
        raise TrainingError(f"{source} do not fit: missing {missing}, unexpected {unexpected}")
