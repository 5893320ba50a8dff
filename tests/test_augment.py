import zlib
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import pytest
from skimage import exposure

from eusml.config import OPERATIONS, AugmentConfig, OnlineConfig, Operation
from eusml.data.augment import Expanded, expand, load_expanded, online_parameters, save_expanded
from eusml.data.transforms import log_contrast, sigmoid_contrast
from eusml.errors import DataError

RNG = np.random.default_rng(0)
IMAGES = cv2.GaussianBlur(RNG.integers(0, 256, (3 * 48, 48), dtype=np.uint8), (5, 5), 1).reshape(3, 48, 48)
CASES = ["a", "b", "c"]
ALL_LEVELS = np.arange(256, dtype=np.uint8)


def block(expanded: Expanded, operation: str) -> np.ndarray:
    return expanded.images[expanded.operation == operation]


def test_the_study_grows_from_113_to_678() -> None:
    images = RNG.integers(0, 256, (113, 32, 32), dtype=np.uint8)
    y_true = np.repeat([1, 0], [55, 58])
    expanded = expand(images, [f"c{i}" for i in range(113)], AugmentConfig())
    assert expanded.images.shape == (678, 32, 32)
    labels = y_true[expanded.parent]
    assert ((labels == 1).sum(), (labels == 0).sum()) == (330, 348)
    np.testing.assert_array_equal(block(expanded, "original"), images)
    for operation in OPERATIONS:
        assert len(block(expanded, operation)) == 113
        np.testing.assert_array_equal(expanded.parent[expanded.operation == operation], np.arange(113))
        assert not np.array_equal(block(expanded, operation), images)


@pytest.mark.parametrize("gain", [0.7, 1.0])
def test_log_contrast_is_scikit_images(gain: float) -> None:
    found, expected = log_contrast(gain), exposure.adjust_log(ALL_LEVELS, gain)
    assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("cutoff", "gain"), [(0.5, 10.0), (0.3, 5.0)])
def test_sigmoid_contrast_is_scikit_images(cutoff: float, gain: float) -> None:
    found, expected = sigmoid_contrast(cutoff, gain), exposure.adjust_sigmoid(ALL_LEVELS, cutoff, gain)
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_contrast_copies_are_scikit_images() -> None:
    grown = expand(IMAGES, CASES, AugmentConfig())
    for operation, adjust in (("log", exposure.adjust_log), ("sigmoid", exposure.adjust_sigmoid)):
        expected = np.stack([adjust(image) for image in IMAGES])
        assert np.abs(block(grown, operation).astype(int) - expected).max() <= 1


def test_turned_copies_are_those_of_albumentations() -> None:
    turned = block(expand(IMAGES, CASES, AugmentConfig(rotation_limit_deg=30.0)), "rotation")
    for image, case, found in zip(IMAGES, CASES, turned, strict=True):
        rng = np.random.default_rng([0, zlib.crc32(b"rotation"), zlib.crc32(case.encode())])
        angle = float(rng.uniform(-30.0, 30.0))
        rotate = A.Rotate(limit=(angle, angle), border_mode=cv2.BORDER_REFLECT_101, p=1.0)
        np.testing.assert_array_equal(found, rotate(image=image)["image"])


def test_flips_mirror_one_axis() -> None:
    for image, flipped in zip(IMAGES, block(expand(IMAGES, CASES, AugmentConfig()), "flip"), strict=True):
        assert any(np.array_equal(flipped, mirrored) for mirrored in (image[::-1], image[:, ::-1]))


def test_clahe_is_opencvs() -> None:
    clahe = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8))
    expected = np.stack([clahe.apply(image) for image in IMAGES])
    np.testing.assert_array_equal(block(expand(IMAGES, CASES, AugmentConfig()), "clahe"), expected)


def test_rotation_turns_by_at_most_its_limit() -> None:
    centre = np.zeros((1, 48, 48), np.uint8)
    centre[0, 20:28, 4:44] = 255  # a bar: its direction is its angle
    for case in "abcdef":
        turned = block(expand(centre, [case], AugmentConfig(rotation_limit_deg=20.0)), "rotation")[0]
        moments = cv2.moments(turned[4:44, 4:44])
        angle = 0.5 * np.rad2deg(np.arctan2(2 * moments["mu11"], moments["mu20"] - moments["mu02"]))
        assert 0.2 < abs(angle) <= 21


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_copy_depends_on_its_case_and_seed_alone(operation: Operation) -> None:
    settings = AugmentConfig(operations=(operation,))
    together = block(expand(IMAGES, CASES, settings), operation)
    alone = block(expand(IMAGES[[2]], ["c"], settings), operation)
    np.testing.assert_array_equal(together[2], alone[0])
    with_others = block(expand(IMAGES, CASES, AugmentConfig()), operation)
    np.testing.assert_array_equal(together, with_others)


def test_another_seed_draws_other_angles() -> None:
    a, b = (block(expand(IMAGES, CASES, AugmentConfig(seed=seed)), "rotation") for seed in (0, 1))
    assert not np.array_equal(a, b)


def test_expanded_images_read_back(tmp_path: Path) -> None:
    expanded = expand(IMAGES, CASES, AugmentConfig())
    save_expanded(expanded, tmp_path / "deep" / "e.npz")
    found = load_expanded(tmp_path / "deep" / "e.npz")
    for name in ("images", "parent", "operation"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expanded, name))
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["e.npz"]


def test_damaged_expanded_images_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.npz"
    save_expanded(expand(IMAGES, CASES, AugmentConfig()), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"e\.npz cannot be read"):
        load_expanded(path)


ONLINE = OnlineConfig(enabled=True, rotation_limit_deg=90.0, contrast_frac=0.2, brightness=0.1, tilt=0.3)


def test_online_parameters_are_a_function_of_seed_epoch_and_sample() -> None:
    drawn = online_parameters(1, 2, 10, ONLINE)
    np.testing.assert_array_equal(online_parameters(1, 2, 4, ONLINE), drawn[:4])
    assert not np.array_equal(online_parameters(1, 3, 10, ONLINE), drawn)
    assert not np.array_equal(online_parameters(2, 2, 10, ONLINE), drawn)


def test_online_parameters_keep_within_their_limits_and_fill_them() -> None:
    angle, flip, scale, x, y, gamma, contrast, brightness, tilt_x, tilt_y = online_parameters(0, 1, 5000, ONLINE).T
    for values, low, high in (
        (np.rad2deg(angle), -90, 90), (scale, 0.85, 1.15), (x, -0.1, 0.1), (y, -0.1, 0.1), (gamma, 0.8, 1.25),
        (contrast, 0.8, 1.2), (brightness, -0.1, 0.1), (tilt_x, -0.3, 0.3), (tilt_y, -0.3, 0.3),
    ):  # fmt: skip
        assert low - 1e-5 <= values.min() < low + 0.05 * (high - low)
        assert high + 1e-5 >= values.max() > high - 0.05 * (high - low)
    assert set(flip) == {-1.0, 1.0}
    assert 0.45 < (flip == 1).mean() < 0.55
    # In every direction alike, and independent of how much.
    assert np.hypot(tilt_x, tilt_y).max() <= 0.3 + 1e-6
    assert abs(np.corrcoef(tilt_x, tilt_y)[0, 1]) < 0.05
    assert tilt_x.std() == pytest.approx(tilt_y.std(), rel=0.05)
    # What the display does has nothing to do with where the probe was.
    drawn = np.stack([angle, flip, scale, x, y, gamma, contrast, brightness, tilt_x])
    assert np.abs(np.corrcoef(drawn) - np.eye(len(drawn))).max() < 0.06


def test_switched_off_online_parameters_change_nothing() -> None:
    still = OnlineConfig(rotation_limit_deg=0.0, flip=False, scale_frac=0.0, shift_frac=0.0, gamma_frac=0.0)
    np.testing.assert_array_equal(online_parameters(0, 1, 5, still), np.tile([0, 1, 1, 0, 0, 1, 1, 0, 0, 0], (5, 1)))
