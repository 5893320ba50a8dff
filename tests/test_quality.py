import json
from collections.abc import Callable
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest

from eusml.data import quality
from eusml.data.likeness import measure_likeness
from eusml.data.quality import (
    MIN_IMAGES,
    QualityReference,
    measure_reference,
    quality_warnings,
    region_size,
    texture_distance,
)
from eusml.data.texture import TEXTURE_FEATURES, texture
from eusml.errors import DataError
from tests.pictures import speckled

SIDE = 64
LARGE = (200, 180)


def speckle(seeds: range) -> np.ndarray:
    return np.stack([speckled(seed, SIDE) for seed in seeds])


@pytest.fixture(scope="module")
def known() -> QualityReference:
    return measure_reference(speckle(range(113)), [LARGE] * 113)


def gradient() -> np.ndarray:
    return np.tile(np.linspace(20, 230, SIDE), (SIDE, 1)).astype(np.uint8)


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIDE, SIDE)).astype(np.uint8)


def writing() -> np.ndarray:
    page = np.full((SIDE, SIDE), 250, np.uint8)
    for line in range(4):
        cv2.putText(page, "Patient", (2, 14 + 15 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 5, 1, cv2.LINE_AA)
    return page


def board() -> np.ndarray:
    return (60 + 120 * (np.indices((SIDE, SIDE)).sum(0) // 8 % 2)).astype(np.uint8)


def photograph() -> np.ndarray:
    from skimage import data

    return np.asarray(cv2.resize(data.camera()[40:360, 120:440], (SIDE, SIDE), interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize("make", [gradient, noise, writing, board, photograph])
def test_what_is_no_ultrasound_is_unlike(make: Callable[[], np.ndarray], known: QualityReference) -> None:
    found = quality_warnings(make(), LARGE, known)
    assert any("not like the images it was trained on" in one for one in found), found


def test_of_many_images_those_that_are_measured_need_be_read_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "MAX_IMAGES", 25)
    images, sides, groups = speckle(range(60)), [(200, 180 + number) for number in range(60)], [*range(30)] * 2
    rows = quality.evenly_spread(60)
    assert len(rows) == 25
    assert (rows[0], rows[-1]) == (0, 59)
    part = measure_reference(images[rows], [sides[row] for row in rows], [groups[row] for row in rows])
    assert part == measure_reference(images, sides, groups)


def test_one_in_a_hundred_of_the_same_source_is_unlike(known: QualityReference) -> None:
    flagged = sum(bool(quality_warnings(image, LARGE, known)) for image in speckle(range(1000, 1400)))
    # 4 of 400 are expected; with that share, more than 12 come once in two thousand times.
    assert flagged <= 12
    # A limit that nothing reaches would keep the promise, too.
    distances = [texture_distance(image, LARGE, known) for image in speckle(range(1000, 1400))]
    assert np.quantile(distances, 0.5) > known.likeness.max_distance / 3


def test_the_sentence_names_figure_and_limit(known: QualityReference) -> None:
    distance = texture_distance(gradient(), LARGE, known)
    assert quality_warnings(gradient(), LARGE, known) == (
        f"not like the images it was trained on: distance {distance:.1f}, 99 % of those are below "
        f"{known.likeness.max_distance:.1f}",
    )


@pytest.mark.parametrize("level", [0, 17, 255])
def test_a_blank_image_is_called_so_and_nothing_else(level: int, known: QualityReference) -> None:
    (found,) = quality_warnings(np.full((SIDE, SIDE), level, np.uint8), LARGE, known)
    assert found.startswith("blank: grey levels deviate by 0.0, expected are more than ")


def test_contrast_is_judged_by_that_of_the_training_images(known: QualityReference) -> None:
    faint = (120 + (speckled(5, SIDE).astype(float) - 120) / 8).astype(np.uint8)
    assert faint.std() > 2, "by the audit's own limit it is not blank"
    assert quality_warnings(faint, LARGE, known)[0].startswith("blank")


@pytest.mark.parametrize(("level", "name"), [(0, "black"), (255, "white")])
def test_clipped_pixels_are_counted(level: int, name: str, known: QualityReference) -> None:
    limit = known.max_black_frac if level == 0 else known.max_white_frac
    for share, expected in ((limit - 0.01, False), (limit + 0.01, True)):
        clipped = np.clip(speckled(5, SIDE), 1, 254)
        clipped.flat[: round(share * clipped.size)] = level
        share = 100 * float((clipped == level).mean())
        sentence = f"saturated: {share:.1f} % of its pixels are {name}, expected are at most {100 * limit:.1f} %"
        assert (sentence in quality_warnings(clipped, LARGE, known)) == expected


def test_black_borders_are_as_good_as_the_training_images_had_them() -> None:
    framed = speckle(range(40))
    framed[:, : SIDE // 4] = 0
    reference = measure_reference(framed, [LARGE] * 40)
    assert 0.25 < reference.max_black_frac < 0.4
    other = speckled(99, SIDE)
    other[: SIDE // 4] = 0
    assert quality_warnings(other, LARGE, reference) == ()


@pytest.mark.parametrize(
    ("trained_on", "asked", "small"),
    [
        (200, (SIDE, 10), False),  # as large as the network's input: nothing is made up
        (200, (SIDE - 1, 40), True),
        (40, (36, 20), False),  # so were the others, but for a tenth
        (40, (35, 35), True),
    ],
)
def test_small_is_less_than_the_input_and_than_the_others(trained_on: int, asked: tuple[int, int], small: bool) -> None:
    images = speckle(range(20))
    reference = measure_reference(images, [(trained_on, trained_on // 2)] * 20)
    found = [one for one in quality_warnings(images[0], asked, reference) if one.startswith("too small")]
    assert bool(found) == small
    if small:
        limit = min(SIDE, 0.9 * trained_on)
        assert f"{asked[0]} x {asked[1]} pixels, its longer side should have at least {limit:.0f}" in found[0]


def test_region_is_the_box_or_the_square_that_is_cut_without_one() -> None:
    assert region_size((5, 6, 30, 20), 300, 200) == (30, 20)
    assert region_size(None, 300, 200) == (200, 200)


def test_json_keeps_it_exactly(known: QualityReference) -> None:
    again = QualityReference.from_dict(json.loads(json.dumps(asdict(known), allow_nan=False)))
    assert again == known
    assert quality_warnings(gradient(), (9, 9), again) == quality_warnings(gradient(), (9, 9), known)


def test_figures_of_another_version_are_refused(known: QualityReference) -> None:
    def changed(**fields: object) -> dict[str, object]:
        return asdict(replace(known, likeness=replace(known.likeness, **fields)))  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="this version knows"):
        QualityReference.from_dict(changed(features=("something else", *TEXTURE_FEATURES[1:])))
    with pytest.raises(ValueError, match=f"{len(TEXTURE_FEATURES)} numbers"):
        QualityReference.from_dict(changed(mean=known.likeness.mean[1:]))
    with pytest.raises(TypeError):
        QualityReference.from_dict(asdict(known) | {"unknown": 1})


def test_few_images_do_and_fewer_are_refused() -> None:
    images = speckle(range(MIN_IMAGES))
    reference = measure_reference(images, [LARGE] * MIN_IMAGES)
    assert reference.count == MIN_IMAGES
    assert texture_distance(noise(), LARGE, reference) > reference.likeness.max_distance
    with pytest.raises(DataError, match=r"19 training images show something; .* needs at least 20"):
        measure_reference(images[1:], [LARGE] * (MIN_IMAGES - 1))
    images[3] = 0
    with pytest.raises(DataError, match="19 training images show something"):
        measure_reference(images, [LARGE] * MIN_IMAGES)


def test_one_odd_training_image_does_not_let_everything_pass(known: QualityReference) -> None:
    images = np.concatenate([speckle(range(112)), board()[None]])
    spoilt = measure_reference(images, [LARGE] * 113)
    assert spoilt.likeness.max_distance < 1.5 * known.likeness.max_distance
    for make in (gradient, noise, writing):
        assert texture_distance(make(), LARGE, spoilt) > spoilt.likeness.max_distance


def test_images_that_are_all_the_same_give_finite_figures() -> None:
    reference = measure_reference(np.repeat(speckled(1, SIDE)[None], 30, axis=0), [LARGE] * 30)
    json.dumps(asdict(reference), allow_nan=False)
    assert quality_warnings(speckled(1, SIDE), LARGE, reference) == ()
    assert texture_distance(noise(), LARGE, reference) > reference.likeness.max_distance


def figures(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (count, len(TEXTURE_FEATURES)))


def test_copies_are_left_out_together() -> None:
    sides, pictures = np.full(160, 100.0), np.repeat(np.arange(40), 4).tolist()
    copies = np.repeat(figures(0, 40), 4, axis=0) + 0.01 * figures(1, 160)
    together, apart = (measure_likeness(copies, sides, groups) for groups in (pictures, [*range(160)]))
    new = together.distances(figures(9, 2000), np.full(2000, 100.0))
    assert (new > together.max_distance).mean() < 0.02
    assert (new > apart.max_distance).mean() > 0.1


def test_one_odd_figure_is_forgiven_and_five_are_not() -> None:
    likeness = measure_likeness(figures(0, 500), np.full(500, 100.0), [*range(500)])
    odd = np.zeros((2, len(TEXTURE_FEATURES)))
    odd[0, 3] = odd[1, 3:8] = 12.0
    one, five = likeness.distances(odd, np.full(2, 100.0))
    assert one < likeness.max_distance < five


@pytest.mark.parametrize("groups", [[7] * 60, [0] * 59 + [1]])
def test_where_there_are_too_few_groups_images_are_left_out_one_by_one(groups: list[int]) -> None:
    sides = np.full(60, 100.0)
    expected = measure_likeness(figures(0, 60), sides, [*range(60)])
    assert measure_likeness(figures(0, 60), sides, groups) == expected


def test_figures_are_compared_with_those_of_regions_of_the_same_size() -> None:
    sides = np.geomspace(30, 300, 200)
    slope = np.linspace(-3, 3, len(TEXTURE_FEATURES))
    likeness = measure_likeness(figures(0, 200) + np.log(sides)[:, None] * slope, sides, [*range(200)])
    assert np.allclose(likeness.slope, slope, atol=0.5)
    asked = np.repeat([30.0, 100.0, 300.0], 500)
    shift = np.log(asked)[:, None] * slope
    own = likeness.distances(figures(1, 1500) + shift, asked)
    others = likeness.distances(figures(1, 1500) + shift, asked[::-1])
    assert (own > likeness.max_distance).mean() < 0.03
    assert (others > likeness.max_distance).mean() > 0.6
    # Beyond the sizes that were seen nothing is known but the nearest.
    assert np.array_equal(
        likeness.distances(figures(2, 5), np.full(5, 9e9)), likeness.distances(figures(2, 5), np.full(5, 300.0))
    )


@pytest.mark.parametrize("side", [8, 9, 48, 224])
@pytest.mark.parametrize("make", [np.zeros, np.ones])
def test_texture_is_finite_whatever_is_seen(side: int, make: Callable[..., np.ndarray]) -> None:
    plain = (255 * make((side, side))).astype(np.uint8)
    dot = plain.copy()
    dot[side // 2, side // 2] ^= 255
    for image in (plain, dot, np.random.default_rng(0).integers(0, 2, (side, side)).astype(np.uint8) * 255):
        figures = texture(image)
        assert figures.shape == (len(TEXTURE_FEATURES),)
        assert np.isfinite(figures).all()


def test_the_same_images_give_the_same_reference_again() -> None:
    images = speckle(range(24))
    assert measure_reference(images, [LARGE] * 24) == measure_reference(images.copy(), [LARGE] * 24)
