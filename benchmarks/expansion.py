"""The study's off-line expansion beside the same operations of scikit-image: `python -m benchmarks.expansion`.

113 images of 224 px to 678, in turns, so that a noisy neighbour meets both. scikit-image does as its documentation
shows, image by image: `rotate`, a mirror image, `equalize_adapthist` (CLAHE), `adjust_log`, `adjust_sigmoid`.
"""

import statistics
import time

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import exposure, transform

from eusml.config import AugmentConfig
from eusml.data.augment import expand

ROUNDS = 5
IMAGES, SIDE_PX = 113, 224

Images = npt.NDArray[np.uint8]


def with_scikit_image(images: Images, rng: np.random.Generator) -> Images:
    """The originals and five copies of each."""
    copies = [images]
    for image in images:
        turned = transform.rotate(image, rng.uniform(-180, 180), mode="reflect")
        floats = [turned, exposure.equalize_adapthist(image)]
        copies.append(np.stack([np.rint(255 * np.clip(copy, 0, 1)).astype(np.uint8) for copy in floats]))
        copies.append(np.stack([image[:, ::-1], exposure.adjust_log(image), exposure.adjust_sigmoid(image)]))
    return np.concatenate(copies)


def main() -> None:
    """Print seconds of both and the median of the ratios."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(IMAGES, SIDE_PX, SIDE_PX))
    images = np.clip(90 + 120 * ndimage.gaussian_filter(noise, (0, 2, 2)), 0, 255).astype(np.uint8)
    cases = [str(number) for number in range(IMAGES)]
    expand(images[:2], cases[:2], AugmentConfig())
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        theirs = with_scikit_image(images, rng)
        between = time.perf_counter()
        ours = expand(images, cases, AugmentConfig()).images
        seconds.append((between - began, time.perf_counter() - between))
        assert ours.shape == theirs.shape
    before, after = (statistics.median(column) for column in zip(*seconds, strict=True))
    print("| scikit-image | eusml | ratio |\n|---|---|---|")
    print(f"| {before:.2f} s | {after:.3f} s | {statistics.median(a / b for a, b in seconds):.1f} |")


if __name__ == "__main__":
    main()
