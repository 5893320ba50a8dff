r"""Faster engines for the served network, and whether they would answer the same.

    uv run --with onnxruntime --with onnx --with onnxscript --with openvino \
        python -m benchmarks.serving_options MODEL DATA

MODEL is the folder of a trained bundle (`work/train/…/bundle`), DATA that of prepared cases that it was not trained on
(`work/data/…`, 400 fresh ones of the main job). One forward pass of 1 and of 8 normalised images by the network as it
is served (torch, fp32), with batch normalisation folded into the convolutions, that in bf16, ONNX Runtime and OpenVINO,
in turns. Beside it the largest difference of a probability from the served one's, and AUROC.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.fx.experimental.optimization import fuse
from torchvision import models

from eusml.data.prepare import load
from eusml.learning.batches import Normalisation, to_device, to_grey
from eusml.learning.bundle import load_bundle

Engine = Callable[[torch.Tensor], torch.Tensor]
"""Normalised images float32 [B, C, S, S] to logits [B, 2]."""
ROUNDS, CALLS = 5, 20


def engines(network: nn.Module, arch: str, example: torch.Tensor, folder: Path) -> dict[str, Engine]:
    """Ways to compute the same network."""
    import onnxruntime
    import openvino

    plain = _torchvisions(network, arch, example.shape[1])
    folded, half = fuse(plain), fuse(plain).bfloat16().to(memory_format=torch.channels_last)
    path = folder / "network.onnx"
    batch = torch.export.Dim("batch", min=1, max=64)
    torch.onnx.export(
        plain, (example.repeat(2, 1, 1, 1),), path, dynamo=True, dynamic_shapes={"x": {0: batch}}, verbose=False
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    compiled = openvino.compile_model(path, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    exact = openvino.compile_model(path, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"})
    return {
        "served (torch, fp32)": network,
        "folded, fp32": folded,
        "folded, bf16": lambda images: half(images.bfloat16()).float(),
        "ONNX Runtime, fp32": lambda images: torch.from_numpy(session.run(None, {name: images.numpy()})[0]),
        "OpenVINO, fp32": lambda images: torch.from_numpy(exact(images.numpy())[0]),
        "OpenVINO, its own precision": lambda images: torch.from_numpy(compiled(images.numpy())[0]),
    }


def _torchvisions(network: nn.Module, arch: str, channels: int) -> nn.Module:
    """The same weights in torchvision's own layers, which can be traced and exported."""
    made: nn.Module = getattr(models, arch)(num_classes=2)
    made.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    made.load_state_dict(network.state_dict())
    return made.eval()


def answers(engine: Engine, batches: list[torch.Tensor]) -> np.ndarray:
    """Probability of the positive class, uncalibrated, image by image."""
    return np.concatenate([torch.softmax(engine(batch).double(), 1)[:, 1].numpy() for batch in batches])


def milliseconds(ways: dict[str, Engine], images: torch.Tensor) -> dict[str, tuple[float, float]]:
    """Median and 95th percentile of a call, the ways in turns."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, engine in ways.items():
            engine(images)
            for _ in range(CALLS):
                began = time.perf_counter()
                engine(images)
                found[name].append(1000 * (time.perf_counter() - began))
    return {name: (statistics.median(times), float(np.quantile(times, 0.95))) for name, times in found.items()}


@torch.inference_mode()
def main() -> None:
    """Print one row per engine."""
    bundle, data = load_bundle(Path(sys.argv[1])), load(Path(sys.argv[2]))
    normalise = Normalisation(bundle.spec.mean, bundle.spec.std)
    images = normalise(to_grey(to_device(np.array(data.images), torch.device("cpu"))))
    one_by_one, y_true = list(images.split(1)), data.manifest.y_true
    with tempfile.TemporaryDirectory() as folder:
        ways = engines(bundle.network, bundle.spec.arch, images[:1], Path(folder))
    used = ", ".join(f"{name} {version(name)}" for name in ("torch", "onnxruntime", "openvino"))
    side = data.images.shape[1]
    print(f"{used}; {torch.get_num_threads()} threads; {bundle.spec.arch}, {side} px, {len(y_true)} cases\n")
    print("| engine | 1 image, ms (95th) | 8 images, ms (95th) | largest difference | AUROC |\n|---|---|---|---|---|")
    single, eight = milliseconds(ways, images[:1]), milliseconds(ways, images[:8])
    reference = answers(bundle.network, one_by_one)
    for name, engine in ways.items():
        scores = answers(engine, one_by_one)
        times = [f"{middle:.1f} ({late:.1f})" for middle, late in (single[name], eight[name])]
        difference = np.abs(scores - reference).max()
        print(f"| {name} | {times[0]} | {times[1]} | {difference:.1e} | {roc_auc_score(y_true, scores):.4f} |")


if __name__ == "__main__":
    main()
