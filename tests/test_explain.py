import threading

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from eusml.config import Arch
from eusml.data.images import Preparation
from eusml.learning.batches import Normalisation
from eusml.learning.bundle import Bundle, ModelSpec
from eusml.learning.explain import MIN_OVERLAY_SIDE_PX, grad_cam, overlay
from eusml.learning.model import build_network, empty_network

NORMALISATION = Normalisation((0.4,), (0.2,))
SPEC = ModelSpec(
    arch="resnet34",
    channels=1,
    mean=NORMALISATION.mean,
    std=NORMALISATION.std,
    preparation=Preparation(size_px=64, margin_frac=0.0),
    positive_class="GIST",
    negative_class="leiomyoma",
    threshold=0.5,
    views=4,
    synthetic=True,
)


def network(arch: Arch = "resnet34") -> nn.Module:
    return build_network(arch, "none", zero_init_residual=False, seed=0).eval().to(memory_format=torch.channels_last)


def picture(side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side)).astype(np.uint8)


class Quadrants(nn.Module):
    """Stages of the right names whose last one keeps the picture's place: class 1 looks at the upper right alone."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 1, 8, stride=8, bias=False)
        self.layer4 = nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.ReLU())
        self.fc = nn.Linear(4, 2, bias=False)
        with torch.no_grad():
            self.stem.weight.fill_(1 / 64)
            self.layer4[0].weight.fill_(1.0)
            self.fc.weight.copy_(torch.tensor([[0.0, 0, 1, 0], [0, 1, 0, 0]]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        cells = self.layer4(self.stem(images))
        mask = torch.zeros_like(cells)
        rows, columns = cells.shape[2] // 2, cells.shape[3] // 2
        mask[:, 0, :rows, :columns] = mask[:, 1, :rows, columns:] = 1
        mask[:, 2, rows:, :columns] = mask[:, 3, rows:, columns:] = 1
        return self.fc((cells * mask).mean((2, 3)))


def quarter(side: int, down: int, across: int) -> tuple[slice, slice]:
    half = side // 2
    return slice(down * half, (down + 1) * half), slice(across * half, (across + 1) * half)


def bright_in(side: int, *quarters: tuple[int, int]) -> np.ndarray:
    image = np.full((side, side), 102, np.uint8)  # 0.4, which the normalisation takes to 0
    for place in quarters:
        image[quarter(side, *place)] = 230
    return image


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_heat_lies_where_the_only_bright_quarter_is(place: tuple[int, int]) -> None:
    heat = grad_cam(Quadrants(), bright_in(64, place), NORMALISATION, 1)
    assert heat.dtype == np.float32
    assert heat.shape == (64, 64)
    assert heat[quarter(64, *place)].sum() > 0.85 * heat.sum() > 0


def half_blind() -> nn.Module:
    """A ResNet-34 whose filters pass on grey levels, so that its last stage is bright where the image is."""
    net = empty_network("resnet34", 1)
    with torch.no_grad():
        for name, module in net.named_modules():
            if isinstance(module, nn.Conv2d):
                module.weight.zero_()
                middle = module.kernel_size[0] // 2
                if name == "conv1" or "downsample" in name:
                    module.weight[:, : module.in_channels, middle, middle] = 1 / module.in_channels
        net.fc.weight.zero_()
        net.fc.weight[1] = 1.0
        net.fc.bias.zero_()
    return net.eval()


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_heat_of_a_resnet_lies_in_the_quarter_that_its_answer_depends_on(place: tuple[int, int]) -> None:
    net, side = half_blind(), 256
    image = np.full((side, side), 20, np.uint8)
    image[quarter(side, *place)][8:-8, 8:-8] = 230  # pooling looks over the border of a quarter

    def logit(picture: np.ndarray) -> float:
        with torch.inference_mode():
            return float(net(NORMALISATION(torch.from_numpy(picture)[None, None] / 255))[0, 1])

    darkened = image.copy()
    darkened[quarter(side, *place)] = 20
    assert logit(darkened) < 0.1 * logit(image), "the answer depends on that quarter alone"
    heat = grad_cam(net, image, NORMALISATION, 1)
    assert heat.max() == 1
    assert heat[quarter(side, *place)].sum() > 0.75 * heat.sum()


def test_what_speaks_for_one_class_speaks_against_the_other() -> None:
    net = Quadrants()
    with torch.no_grad():
        net.fc.weight[0] = -net.fc.weight[1]
    image = bright_in(64, (0, 1))
    assert grad_cam(net, image, NORMALISATION, 1).max() == 1
    assert np.array_equal(grad_cam(net, image, NORMALISATION, 0), np.zeros((64, 64)))


def test_what_speaks_against_a_class_cools_nothing_beside_it() -> None:
    net = Quadrants()
    net.layer4[1] = nn.Identity()
    image = bright_in(64, (0, 1), (1, 1))
    image[:, :32] = 20
    row = grad_cam(net, image, NORMALISATION, 1)[16]
    # Cells are 8 px wide: pixel 31 lies 3.5 px from the centre of a cold one and 4.5 px from that of a hot one.
    assert row[31] == pytest.approx(3.5 / 8, abs=1e-5)
    assert row[27] == 0


@pytest.mark.parametrize(("arch", "side"), [("resnet34", 48), ("resnet34", 64), ("resnet50", 64), ("resnet34", 96)])
def test_heat_is_between_0_and_1(arch: Arch, side: int) -> None:
    net = network(arch)
    for target in (0, 1):
        heat = grad_cam(net, picture(side), NORMALISATION, target)
        assert heat.shape == (side, side)
        assert heat.dtype == np.float32
        assert heat.min() >= 0
        assert heat.max() <= 1
    assert max(grad_cam(net, picture(side), NORMALISATION, target).max() for target in (0, 1)) > 0.5


@pytest.mark.parametrize("weight", [0.0, float("nan"), float("inf")])
def test_a_network_that_always_says_the_same_gives_a_flat_map(weight: float) -> None:
    net = network()
    with torch.no_grad():
        net.fc.weight.fill_(weight)
    heat = grad_cam(net, picture(64), NORMALISATION, 1)
    assert np.array_equal(heat, np.zeros((64, 64), np.float32))


def test_colour_networks_are_explained_too() -> None:
    colour = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert np.isfinite(grad_cam(empty_network("resnet34", 3).eval(), picture(64), colour, 1)).all()


def test_leaves_no_trace_in_the_network() -> None:
    net = build_network("resnet34", "none", zero_init_residual=False, dropout=0.3, seed=0)
    net.train()
    net.fc.begin_epoch(0, 0)  # a generator of its own
    net.layer1.eval()
    modes = [module.training for module in net.modules()]
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    grad_cam(net, picture(64), NORMALISATION, 1)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in state.items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in net.modules())


def test_gradients_that_were_there_stay() -> None:
    net = network()
    net(torch.ones(2, 1, 64, 64)).sum().backward()
    before = [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]
    grad_cam(net, picture(64), NORMALISATION, 1)
    after = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
    assert len(before) == len(list(net.parameters()))
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("context", [torch.inference_mode, torch.no_grad])
def test_is_explained_where_gradients_are_off(context: type[torch.no_grad]) -> None:
    net = network()
    expected = grad_cam(net, picture(64), NORMALISATION, 1)
    with context():
        assert np.array_equal(grad_cam(net, picture(64), NORMALISATION, 1), expected)


def test_scores_are_bit_equal_afterwards() -> None:
    bundle, images = Bundle(network(), SPEC), np.stack([picture(64, seed) for seed in range(4)])
    scores = bundle.scores(images)
    for image in images:
        grad_cam(bundle.network, image, NORMALISATION, 1)
    assert np.array_equal(bundle.scores(images), scores)


def test_who_asks_and_who_explains_at_the_same_time_do_not_see_one_another() -> None:
    """All scores are asked for between the explainer's last stage and its answer."""
    bundle, images = Bundle(network(), SPEC), np.stack([picture(64, seed) for seed in range(4)])
    scores, heat = bundle.scores(images), grad_cam(bundle.network, images[0], NORMALISATION, 1)
    explaining, asked = threading.Event(), threading.Event()
    found: list[object] = []

    def hold(*_: object) -> None:
        if threading.current_thread() is thread:
            explaining.set()
            assert asked.wait(60)

    def explain() -> None:
        try:
            found.append(grad_cam(bundle.network, images[0], NORMALISATION, 1))
        except Exception as error:
            found.append(error)

    bundle.network.fc.register_forward_pre_hook(hold)
    thread = threading.Thread(target=explain)
    thread.start()
    assert explaining.wait(60)
    beside = bundle.scores(images)
    asked.set()
    thread.join()
    assert np.array_equal(beside, scores)
    assert isinstance(found[0], np.ndarray), found[0]
    assert np.array_equal(found[0], heat)


@pytest.mark.parametrize(("side", "shown"), [(48, 288), (64, 256), (224, 448), (256, 256), (300, 300)])
def test_overlay_is_large_enough_to_be_seen(side: int, shown: int) -> None:
    assert overlay(picture(side), np.zeros((side, side), np.float32)).shape == (shown, shown, 3)
    assert shown >= MIN_OVERLAY_SIDE_PX


def test_overlay_without_heat_is_the_image() -> None:
    image = picture(128)
    shown = overlay(image, np.zeros(image.shape, np.float32))
    assert np.array_equal(shown[::2, ::2], np.repeat(image[..., None], 3, axis=2))


def test_overlay_colours_what_is_hot() -> None:
    heat = np.zeros((256, 256), np.float32)
    heat[:100, 150:] = 1
    shown = overlay(np.full((256, 256), 128, np.uint8), heat).astype(int)
    colourful = np.ptp(shown, axis=2) > 20
    assert colourful[:99, 151:].all()
    assert not colourful[102:].any()
    # Half of inferno's lightest, a yellow, and half of the grey.
    assert (shown[50, 200, :2] > 128 + 50).all()


def test_overlay_says_that_it_is_synthetic() -> None:
    image, heat = picture(64), np.zeros((64, 64), np.float32)
    plain, marked = overlay(image, heat), overlay(image, heat, "SYNTHETIC")
    changed = (plain != marked).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert rows.max() < 0.2 * len(plain)
    assert columns.max() > 0.3 * len(plain)
    letters = marked[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].min(axis=2)
    count = cv2.connectedComponentsWithStats((letters > 120).astype(np.uint8))[2]
    assert (count[1:, cv2.CC_STAT_HEIGHT] >= 10).sum() == len("SYNTHETIC")


def test_a_long_label_is_made_to_fit() -> None:
    marked = overlay(np.full((64, 64), 200, np.uint8), np.zeros((64, 64), np.float32), "SYNTHETIC " * 4)
    assert (marked[:3, -4:] == 200).all()
