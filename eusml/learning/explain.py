"""Where in an image the network found what speaks for a class: Grad-CAM, and the picture that shows it.

Source: Selvaraju et al. 2017, doi:10.1109/ICCV.2017.74. The map has the resolution of the last stage's output (2 × 2
cells for an image of 48 or 64 px, 7 × 7 for one of 224 px) and is interpolated between cells: it says which part of the
image, and never which outline. Nor does it say that the network was right.
"""

import copy
from itertools import chain
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from eusml.learning.batches import Normalisation, to_device, to_grey

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_OVERLAY_SIDE_PX = 256
_HEAT_WEIGHT = 0.5
"""Share of the colour where the heat is 1; it falls to nothing with the heat, so that cold tissue stays grey."""
_LABEL_HEIGHT_FRAC = 0.08
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def grad_cam(
    network: nn.Module, image: "NDArray[np.uint8]", normalisation: Normalisation, target: int
) -> "NDArray[np.float32]":
    """How much each place of the image speaks for a class, relative to the place that does so most.

    In fp32 on the CPU, on a copy that shares the weights: the hooks that read the last stage would otherwise fire for
    whoever asks the same network at the same time. Mode, gradients and answers of `network` stay as they are.

    Args:
        network: a ResNet with a last stage `layer4`, on the CPU.
        image: uint8 [S, S], prepared.
        normalisation: the network's.
        target: column of the logits: 1 is the positive class.

    Returns:
        float32 [S, S], 0-1; all 0 where nothing speaks for the class, as in a network that always says the same.
    """
    # Slow to import, and only who asks for an explanation needs it.
    from captum.attr import LayerGradCam

    twin = _twin(network)
    assert isinstance(twin.layer4, nn.Module)
    with torch.inference_mode(False):
        pixels = normalisation(to_grey(to_device(np.ascontiguousarray(image[None]), torch.device("cpu"))))
        cells = LayerGradCam(twin, twin.layer4).attribute(pixels, target=target, relu_attributions=True).detach()
        heat = functional.interpolate(cells, image.shape, mode="bilinear", align_corners=False)[0, 0]
    peak = float(heat.max())
    if not np.isfinite(peak) or peak <= 0:
        return np.zeros(image.shape, np.float32)
    return np.asarray(np.clip(heat.numpy() / peak, 0, 1), dtype=np.float32)


def overlay(image: "NDArray[np.uint8]", heat: "NDArray[np.float32]", label: str = "") -> "NDArray[np.uint8]":
    """The image in grey with the heat in colour over it, uint8 [H, W, 3].

    Small images are enlarged by a whole number, so that a person sees something. The colours (inferno, by N. Smith and
    S. van der Walt) grow evenly lighter with the heat, also for the colour-blind and in a grey print.

    Args:
        image: uint8 [S, S].
        heat: float32 [S, S], 0-1.
        label: ASCII text burnt into the upper left corner, such as SYNTHETIC.
    """
    assert image.dtype == np.uint8
    assert image.shape == heat.shape
    factor = max(-(-MIN_OVERLAY_SIDE_PX // min(image.shape)), 1)
    size = (image.shape[1] * factor, image.shape[0] * factor)
    # Pixels stay squares, lest detail is seen that was never measured; the heat has no pixels of its own.
    grey = cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)
    warm = np.clip(cv2.resize(heat, size, interpolation=cv2.INTER_LINEAR), 0, 1)
    coloured = cv2.applyColorMap(np.rint(warm * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    weight = _HEAT_WEIGHT * warm[..., None]
    mixed = np.rint((1 - weight) * grey[..., None] + weight * coloured).astype(np.uint8)
    return _labelled(mixed, label)


def _twin(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode around the very same tensors, none of which asks for a gradient."""
    shared: dict[int, object] = {}
    for tensor in chain(network.parameters(), network.buffers()):
        same = tensor.detach()
        shared[id(tensor)] = nn.Parameter(same, requires_grad=False) if isinstance(tensor, nn.Parameter) else same
    return copy.deepcopy(network, shared).eval()


def _labelled(picture: "NDArray[np.uint8]", label: str) -> "NDArray[np.uint8]":
    """The picture, RGB, with white letters on a black bar, which are read on any tissue."""
    if not label:
        return picture
    height, width = picture.shape[:2]
    wanted = _LABEL_HEIGHT_FRAC * height
    (long, tall), _ = cv2.getTextSize(label, _FONT, 1.0, 1)
    scale = min(wanted / tall, 0.94 * width / long)
    (long, tall), below = cv2.getTextSize(label, _FONT, scale, 1)
    marked = np.ascontiguousarray(picture)
    cv2.rectangle(marked, (0, 0), (long + 8, tall + below + 8), (0, 0, 0), cv2.FILLED)
    cv2.putText(marked, label, (4, tall + 4), _FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return marked
