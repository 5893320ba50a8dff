import cv2
import numpy as np
import pytest

from eusml.data import duplicates
from eusml.data.duplicates import similar_pairs, sketch
from eusml.data.overlays import inpaint, overlay_mask
from tests.pictures import CHANGES, annotated, cropped, everything, speckled

BASE = [speckled(seed) for seed in range(12)]


@pytest.mark.parametrize("change", CHANGES)
def test_copies_are_found_and_nothing_else_is(change: str) -> None:
    copies = [CHANGES[change](picture) for picture in BASE]
    pairs = similar_pairs(np.stack([sketch(np.ascontiguousarray(picture)) for picture in BASE + copies]))
    assert [(pair.first, pair.second) for pair in pairs] == [(i, i + 12) for i in range(12)]
    if change == "none":
        assert all(pair.agreement == 1.0 and pair.flip == "" for pair in pairs)
    if change == "left to right":
        assert {pair.flip for pair in pairs} == {"mirrored left to right"}


def test_one_structure_with_another_speckle_is_another_picture() -> None:
    rng = np.random.default_rng(0)
    large = cv2.GaussianBlur(BASE[0], (0, 0), 8).astype(np.float32)
    again = [np.clip(large + 90 * cv2.GaussianBlur(rng.normal(0, 1, large.shape), (0, 0), 1.6), 0, 255) for _ in "ab"]
    assert similar_pairs(np.stack([sketch(picture.astype(np.uint8)) for picture in again])) == ()


def test_the_same_bright_layers_over_another_speckle_are_another_picture() -> None:
    # Layers of the wall lie over one another well in many pictures of EUS.
    y, x = np.mgrid[:160, :160]
    depth = y + 12 * np.sin(x / 25)
    layers = np.where((depth % 80 > 20) & (depth % 80 < 27), 120, 0)
    pictures = [np.clip(0.8 * speckled(seed).astype(int) + layers, 0, 255).astype(np.uint8) for seed in (0, 1)]
    assert similar_pairs(np.stack([sketch(picture) for picture in pictures])) == ()
    assert len(similar_pairs(np.stack([sketch(picture) for picture in (pictures[0], cropped(pictures[0]))]))) == 1


def test_pictures_that_hardly_overlap_are_not_compared() -> None:
    wide = speckled(3, side=320)
    first, second = (sketch(wide[:160, left : left + 160]) for left in (0, 90))
    start = np.array([[1, 0, -72], [0, 1, 0]], np.float32)  # 90 of 160 pixels, at 128
    assert duplicates._overlaid(first, second, start, steps=5)[1] == 0.0


def test_blank_pictures_are_like_nothing() -> None:
    assert similar_pairs(np.zeros((3, 128, 128), np.uint8)[[0]]) == ()
    flat = np.stack([np.full((128, 128), level, np.uint8) for level in (10, 20, 30)])
    assert similar_pairs(flat) == ()


def test_the_graph_finds_what_all_pairs_find(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = [everything(picture) for picture in BASE]
    others = [speckled(seed) for seed in range(100, 300)]
    sketches = np.stack([sketch(picture) for picture in BASE + copies + others])
    exact = similar_pairs(sketches)
    assert len(exact) == 12
    monkeypatch.setattr(duplicates, "_EXACT_UP_TO", 0)
    assert [(p.first, p.second) for p in similar_pairs(sketches)] == [(p.first, p.second) for p in exact]
    assert similar_pairs(sketches) == similar_pairs(sketches)


def test_marks_are_told_from_tissue_and_painted_over() -> None:
    plain = speckled(5) // 2
    marked = annotated(plain)
    drawn = marked != plain
    mask = overlay_mask(marked)
    assert overlay_mask(plain).sum() == 0
    assert (mask & drawn).sum() > 0.4 * drawn.sum()  # soft edges of letters are dimmer than what is looked for
    assert (mask & ~cv2.dilate(drawn.astype(np.uint8), np.ones((3, 3))).astype(bool)).sum() == 0
    painted = inpaint(marked, mask)
    assert np.abs(painted.astype(int) - plain)[mask].mean() < 0.5 * np.abs(marked.astype(int) - plain)[mask].mean()
    assert (painted == plain)[~cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))).astype(bool) & ~drawn].all()


def test_a_bright_layer_is_no_mark() -> None:
    layered = speckled(6) // 2
    layered[50:53, 10:150] = 250
    layered[90:92, 40:60] = 250
    layered[110:116, 40:56] = 250  # as high as a letter, but without an upright stroke
    assert overlay_mask(layered).sum() == 0


def test_coloured_pixels_are_marks() -> None:
    coloured = np.zeros((160, 160), bool)
    coloured[3, 4] = True
    assert overlay_mask(speckled(7) // 2, coloured).sum() == 1
