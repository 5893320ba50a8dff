"""Pictures that are no ultrasound, for `benchmarks/quality.py`: of libraries, in their packages, and made here."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from eusml.data.images import decode

OF_SCIKIT_IMAGE = (
    *(
        "camera",
        "coins",
        "brick",
        "page",
        "checkerboard",
        "grass",
        "coffee",
        "retina",
        "horse",
        "clock",
        "moon",
        "text",
    ),
    *("gravel", "astronaut", "chelsea", "rocket", "hubble_deep_field", "immunohistochemistry", "cell", "colorwheel"),
    *("logo", "shepp_logan_phantom", "microaneurysms", "stereo_motorcycle"),
)
PATCHES = 10


def as_grey(picture: np.ndarray) -> np.ndarray:
    """Any picture, float or integer, with or without colours, to uint8 [H, W]."""
    if picture.ndim == 3:
        picture = picture[..., :3].mean(axis=2)
    if picture.dtype == np.uint8:
        return picture
    picture = picture.astype(np.float64)
    if picture.max() > 255 or picture.max() <= 1:
        picture = (picture - picture.min()) / np.ptp(picture) * 255.0
    return np.clip(picture, 0, 255).astype(np.uint8)


def of_scikit_image() -> Iterator[np.ndarray]:
    """Pictures inside the package."""
    from skimage import data

    for name in OF_SCIKIT_IMAGE:
        picture = getattr(data, name)()
        yield as_grey(picture[0] if name == "stereo_motorcycle" else picture)


def of_scikit_learn() -> Iterator[np.ndarray]:
    """Two photographs."""
    from sklearn.datasets import load_sample_images

    yield from (as_grey(picture) for picture in load_sample_images().images)


def of_others() -> Iterator[np.ndarray]:
    """Faces, digits, two maps of heights, a portrait and an advertisement, from three packages."""
    from matplotlib.cbook import get_sample_data
    from matplotlib.image import imread
    from skimage.data import lfw_subset
    from sklearn.datasets import load_digits

    faces, digits = lfw_subset(), load_digits().images
    yield from (as_grey(np.hstack([np.vstack(faces[i + 10 * k : i + 10 * k + 10]) for k in range(5)])) for i in (0, 50))
    yield as_grey(np.hstack([np.vstack(digits[16 * k : 16 * k + 16]) for k in range(16)]))
    for name in ("grace_hopper.jpg", "Minduka_Present_Blue_Pack.png"):
        with get_sample_data(name) as file:
            yield as_grey(np.asarray(imread(file, format=Path(name).suffix[1:])) * 1.0)
    yield as_grey(get_sample_data("jacksboro_fault_dem.npz")["elevation"] * 1.0)
    yield as_grey(get_sample_data("topobathy.npz")["topo"] * 1.0)


def screenshots_and_plots() -> Iterator[np.ndarray]:
    """Those in two packages."""
    import mlflow
    import networkx

    folders = [
        (Path(mlflow.__file__).parent / "server/js/build/static/media", "demo-tracing-screenshot*.png"),
        (Path(networkx.__file__).parent / "drawing/tests/baseline", "*.png"),
    ]
    for folder, names in folders:
        for file in sorted(folder.glob(names)):
            yield decode(file.read_bytes(), file.name)


def textures() -> Iterator[np.ndarray]:
    """Clouds, cells of the nearest of some points, overlapping leaves."""
    rng, side = np.random.default_rng(6), 400
    y, x = np.mgrid[0:side, 0:side]
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)) + 1 / side
    for power in (1.0, 1.5, 2.0):
        waves = np.fft.rfft2(rng.normal(0, 1, (side, side))) / frequency**power
        yield as_grey(1000 + 100 * np.fft.irfft2(waves) / np.fft.irfft2(waves).std())
    points = rng.integers(0, side, (60, 2))
    apart = np.sort(np.hypot(y[..., None] - points[:, 0], x[..., None] - points[:, 1]), axis=2)
    yield as_grey(1000 + apart[..., 0])
    yield as_grey(1000 + np.minimum(apart[..., 1] - apart[..., 0], 12))
    leaves = np.full((side, side), 128, np.uint8)
    for _ in range(3000):
        centre, axes = (
            rng.integers(0, side, 2).tolist(),
            np.ceil(rng.pareto(2, 2) * 5 + 2).clip(2, 80).astype(int).tolist(),
        )
        cv2.ellipse(leaves, centre, axes, int(rng.integers(180)), 0, 360, int(rng.integers(10, 245)), cv2.FILLED)
    yield cv2.GaussianBlur(leaves, (0, 0), 0.7)


def patches(pictures: Iterator[np.ndarray], seed: int) -> Iterator[np.ndarray]:
    """Squares of 0.35 to 1 of a picture's shorter side, turned by a multiple of 90 degrees."""
    rng = np.random.default_rng(seed)
    for picture in pictures:
        height, width = picture.shape
        for _ in range(PATCHES):
            side = max(int(rng.uniform(0.35, 1) * min(height, width)), 48)
            y, x = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
            yield np.ascontiguousarray(np.rot90(picture[y : y + side, x : x + side], rng.integers(4)))


def noise(rng: np.random.Generator, side: int) -> Iterator[np.ndarray]:
    """White, Gaussian and smooth noise."""
    yield rng.integers(0, 256, (side, side)).astype(np.uint8)
    level, deviation = rng.uniform(60, 180), rng.uniform(10, 60)
    yield np.clip(rng.normal(level, deviation, (side, side)), 0, 255).astype(np.uint8)
    yield as_grey(1000 + cv2.GaussianBlur(rng.normal(0, 1, (side, side)), (0, 0), rng.uniform(1, 6)))


def gradients(rng: np.random.Generator, side: int) -> Iterator[np.ndarray]:
    """From left to right at any angle, from a centre outwards, and a plain surface."""
    y, x = np.mgrid[0:side, 0:side] * 1.0
    angle = rng.uniform(0, 2 * np.pi)
    yield as_grey(1000 + np.cos(angle) * x + np.sin(angle) * y)
    yield as_grey(1000 - np.hypot(x - side * rng.random(), y - side * rng.random()))
    yield np.full((side, side), rng.integers(0, 256), np.uint8)


def screens(rng: np.random.Generator, side: int) -> Iterator[np.ndarray]:
    """Lines of text, black on white or the reverse; a window with buttons."""
    letters = list("ABCDEFabcdefgh 0123456789")
    dark, light = sorted(rng.permutation([0, 255]).tolist(), reverse=bool(rng.integers(2)))
    page = np.full((side, side), light, np.uint8)
    for line in range(8):
        words = "".join(rng.choice(letters, 20))
        cv2.putText(page, words, (3, 15 + line * side // 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, dark, 1, cv2.LINE_AA)
    yield page
    window = np.full((side, side), 240, np.uint8)
    cv2.rectangle(window, (0, 0), (side, side // 8), 60, -1)
    for row in range(6):
        y = side // 8 + 5 + row * side // 7
        cv2.rectangle(window, (5, y), (side // 3, y + side // 9), int(rng.integers(150, 230)), -1)
        cv2.rectangle(window, (5, y), (side // 3, y + side // 9), 120, 1)
        place = (side // 3 + 5, y + side // 12)
        words = "".join(rng.choice(letters, 12))
        cv2.putText(window, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.35, 30, 1, cv2.LINE_AA)
    yield window


def drawings(rng: np.random.Generator, side: int) -> Iterator[np.ndarray]:
    """Circles and lines on white; a chequered board."""
    sheet = np.full((side, side), 255, np.uint8)
    for _ in range(6):
        ends = [tuple(int(v) for v in rng.integers(0, side, 2)) for _ in range(3)]
        cv2.circle(sheet, ends[0], int(rng.integers(5, side // 3)), int(rng.integers(0, 200)), 2)
        cv2.line(sheet, ends[1], ends[2], 0, 2)
    yield sheet
    y, x = np.mgrid[0:side, 0:side] // int(rng.integers(4, 20))
    yield ((x + y) % 2 * int(rng.integers(100, 256))).astype(np.uint8)


def no_ultrasound() -> dict[str, list[np.ndarray]]:
    """Pictures uint8 [H, W] by kind."""
    made = {"noise": noise, "gradients, plain surfaces": gradients, "text, a window": screens, "drawings": drawings}
    kinds = {
        "pictures that the figures were chosen by": [
            *patches(of_scikit_image(), 1),
            *patches(of_scikit_learn(), 2),
            *patches(of_others(), 3),
        ],
        "screenshots and plots, not looked at": list(patches(screenshots_and_plots(), 4)),
        "clouds, cells, leaves, not looked at": list(patches(textures(), 5)),
    }
    for name, make in made.items():
        rng = np.random.default_rng(5)
        kinds[name] = [picture for _ in range(20) for picture in make(rng, int(rng.integers(100, 300)))]
    return kinds
