"""Trains, saves, loads and asks a small network, and says which heavy modules that took; then imports torchvision.

`test_torchvision_resnet.py` runs it in a process that has imported nothing else.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from eusml.config import OnlineConfig, TrainConfig
from eusml.data.images import Preparation
from eusml.learning.batches import LabelledImages
from eusml.learning.bundle import ModelSpec, load_bundle, save_bundle
from eusml.learning.torchvision_resnet import torchvision_resnet
from eusml.learning.train import fit

HEAVY = ("torchvision", "torch._dynamo", "torch._inductor", "sympy", "triton", "pandas", "matplotlib", "mlflow")


def main(folder: Path) -> None:
    """Everything between the start of a process and its answers that a network is needed for."""
    images = np.random.default_rng(0).integers(0, 255, (8, 32, 32)).astype(np.uint8)
    cases = LabelledImages(images, np.arange(8, dtype=np.int64) % 2)
    for optimizer in ("adamw", "sgd"):
        settings = TrainConfig(
            optimizer=optimizer, epochs=2, batch_size=8, shallow_frac=0.5, dropout=0.2, threads=1, device="cpu",
            offline=False, online=OnlineConfig(enabled=True), checkpoint_every_s=0.0,
        )  # fmt: skip
        made = fit(cases, cases, settings, job="job", state_path=folder / f"{optimizer}.pt")
        assert fit(cases, cases, settings, job="job", state_path=folder / f"{optimizer}.pt").resumed_after == 2
    normalisation = made.normalisation
    spec = ModelSpec(
        "resnet34", 1, normalisation.mean, normalisation.std, Preparation(32, 0.1), "a", "b", 0.5, 1, synthetic=True
    )
    save_bundle(folder, made.network, spec)
    assert np.isfinite(load_bundle(folder).scores(images)).all()
    print([name for name in HEAVY if name in sys.modules])


def import_torchvision() -> None:
    """All of it is there, as if nothing had been imported before, and its networks are those that were trained."""
    import torchvision

    states = []
    for module in (torchvision_resnet(), torchvision.models):
        torch.manual_seed(0)
        states.append(module.resnet34(num_classes=2).state_dict())
    ours, theirs = states
    assert torchvision_resnet() is not torchvision.models.resnet
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    print(torchvision.models.resnet.resnet34.__name__, torchvision.models.get_model_weights("resnet34").__name__)
    print(torchvision.ops.nms.__name__, torchvision.transforms.Compose.__name__, torchvision.utils.make_grid.__name__)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    import_torchvision()
