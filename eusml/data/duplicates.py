"""Pictures that are the same but for compression, size, a crop of a few per cent, a flip or annotations.

Three steps, each on fewer pairs. A descriptor of 99 numbers per picture, the low frequencies of a cosine transform as
in a perceptual hash but not cut down to bits, finds the nearest neighbours of a picture and of its three flips. The two
pictures are then laid over one another, first coarsely, then finely, and their fine detail is compared: speckle agrees
in copies of one recording and in nothing else.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SKETCH_SIDE_PX = 128
_FREQUENCIES = 10
_THUMB_SIDE_PX = 32
_EXACT_UP_TO = 4000
"""Pictures up to which every pair's descriptors are compared; beyond, a graph of neighbours (HNSW) is searched."""
_NEIGHBOURS = 10
_LEAST_SIMILARITY = 0.55
"""Of descriptors. One unrelated pair in a thousand is above it, and copies with 6 % cropped off are."""
_COARSE_SIDE_PX = 64
_LEAST_COARSE_AGREEMENT = 0.80
_LEAST_OVERLAP = 0.7
_LEAST_DETAIL_AGREEMENT = 0.4
_FLIPS = ((False, False), (True, False), (False, True), (True, True))
_FLIP_NAMES = ("", "mirrored left to right", "mirrored top to bottom", "turned by 180 degrees")


@dataclass(frozen=True)
class Pair:
    """Two pictures that show the same recording."""

    first: int
    """Number of a picture; smaller than `second`."""
    second: int
    agreement: float
    """Correlation of fine detail after one was laid over the other; 1 for identical pictures."""
    flip: str
    """How the second must be turned to lie over the first; empty for not at all."""


def sketch(grey: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
    """The whole picture, squeezed into a small square: uint8 [H, W] to uint8 [128, 128]."""
    small = cv2.resize(grey, (SKETCH_SIDE_PX, SKETCH_SIDE_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


def flipped(picture: "NDArray[np.uint8]", flip: str) -> "NDArray[np.uint8]":
    """The picture as a `Pair` says that it must be turned."""
    across, down = _FLIPS[_FLIP_NAMES.index(flip)]
    return np.ascontiguousarray(picture[:: -1 if down else 1, :: -1 if across else 1])


def similar_pairs(
    sketches: "NDArray[np.uint8]", progress: Callable[[Iterable[Any]], Iterable[Any]] = iter
) -> tuple[Pair, ...]:
    """All pairs of pictures that show the same recording, ordered by their numbers.

    The time grows with N log N beyond 4,000 pictures: each has ten neighbours at most in each of four positions.
    Turns by a quarter are not looked for, as a scanner has none.

    Args:
        sketches: uint8 [N, 128, 128] as `sketch` makes them.
        progress: wraps the pairs that are compared.
    """
    found: dict[tuple[int, int], Pair] = {}
    for first, second, flip in progress(list(_candidates(_descriptors(sketches)))):
        how = _FLIP_NAMES[flip]
        agreement = _agreement(sketches[first], flipped(sketches[second], how))
        known = found.get((first, second))
        if agreement >= _LEAST_DETAIL_AGREEMENT and (known is None or agreement > known.agreement):
            found[first, second] = Pair(first, second, agreement, how)
    return tuple(found[key] for key in sorted(found))


def _descriptors(sketches: "NDArray[np.uint8]") -> "NDArray[np.float32]":
    """Unit vectors, float32 [N, 100]: cosine coefficients, weighted by frequency so that all count about alike."""
    steps = np.arange(_FREQUENCIES, dtype=np.float32)
    weights = np.hypot(steps[:, None], steps[None, :])  # pictures have about 1/f of amplitude at frequency f
    result = np.empty((len(sketches), _FREQUENCIES**2), np.float32)
    for at, picture in enumerate(sketches):
        small = cv2.resize(picture, (_THUMB_SIDE_PX, _THUMB_SIDE_PX), interpolation=cv2.INTER_AREA)
        result[at] = (cv2.dct(small.astype(np.float32))[:_FREQUENCIES, :_FREQUENCIES] * weights).ravel()
    result /= np.maximum(np.linalg.norm(result, axis=1, keepdims=True), 1e-6)
    return result


def _signs(flip: int) -> "NDArray[np.float32]":
    """What a flip does to the descriptor: the odd frequencies of the mirrored axis change their sign."""
    across, down = _FLIPS[flip]
    odd = np.where(np.arange(_FREQUENCIES) % 2 == 1, -1.0, 1.0).astype(np.float32)
    even = np.ones_like(odd)
    return np.outer(odd if down else even, odd if across else even).ravel()


def _candidates(descriptors: "NDArray[np.float32]") -> Iterator[tuple[int, int, int]]:
    """Pairs and the flip under which their descriptors are alike; blank pictures are like nothing."""
    search = _exact if len(descriptors) <= _EXACT_UP_TO else _by_graph
    seen: set[tuple[int, int, int]] = set()
    for flip, first, second in search(descriptors):
        key = (min(first, second), max(first, second), flip)
        if first != second and key not in seen:
            seen.add(key)
            yield key


def _exact(descriptors: "NDArray[np.float32]") -> Iterator[tuple[int, int, int]]:
    for flip in range(len(_FLIPS)):
        similarity = (descriptors * _signs(flip)) @ descriptors.T
        for first, second in np.argwhere(np.triu(similarity, 1) >= _LEAST_SIMILARITY):
            yield flip, int(first), int(second)


def _by_graph(descriptors: "NDArray[np.float32]") -> Iterator[tuple[int, int, int]]:
    from usearch.index import Index

    # One thread builds the same graph every time; several do not.
    index = Index(ndim=descriptors.shape[1], metric="ip", dtype="f32", connectivity=16, expansion_add=96)
    index.add(np.arange(len(descriptors)), descriptors, threads=1)
    for flip in range(len(_FLIPS)):
        matches = index.search(descriptors * _signs(flip), _NEIGHBOURS, threads=0)
        near = 1.0 - np.asarray(matches.distances) >= _LEAST_SIMILARITY
        for first, place in np.argwhere(near):
            yield flip, int(first), int(matches.keys[first, place])


def _agreement(first: "NDArray[np.uint8]", second: "NDArray[np.uint8]") -> float:
    """Correlation of fine detail where the aligned pictures overlap; 0 where they cannot be aligned."""
    if np.array_equal(first, second):
        return 1.0
    whole = np.eye(2, 3, dtype=np.float32)
    coarse = _aligned(_smaller(first), _smaller(second), whole, steps=20)
    if coarse is None or coarse[1] < _LEAST_COARSE_AGREEMENT:
        return 0.0
    warp = coarse[0]
    warp[:, 2] *= SKETCH_SIDE_PX / _COARSE_SIDE_PX
    fine = _aligned(first, second, warp, steps=50)
    if fine is None:
        return 0.0
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    side = (SKETCH_SIDE_PX, SKETCH_SIDE_PX)
    moved = np.asarray(cv2.warpAffine(second.astype(np.float32), fine[0], side, flags=how), dtype=np.float32)
    covered = cv2.warpAffine(np.ones(side, np.float32), fine[0], side, flags=how) > 0.999
    inside = cv2.erode(covered.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    if covered.mean() < _LEAST_OVERLAP:
        return 0.0
    return _correlation(_detail(first.astype(np.float32))[inside], _detail(moved)[inside])


def _smaller(picture: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
    small = cv2.resize(picture, (_COARSE_SIDE_PX, _COARSE_SIDE_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


def _aligned(
    first: "NDArray[np.uint8]", second: "NDArray[np.uint8]", start: "NDArray[np.float32]", steps: int
) -> "tuple[NDArray[np.float32], float] | None":
    """Affine map from the first to the second and their correlation under it (ECC); None when there is none.

    Source: Evangelidis and Psarakis 2008, doi:10.1109/TPAMI.2008.113.
    """
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, steps, 1e-4)
    try:
        agreement, warp = cv2.findTransformECC(first, second, start.copy(), cv2.MOTION_AFFINE, stop)
    except cv2.error:  # does not converge, or a picture has no structure
        return None
    return np.asarray(warp, dtype=np.float32), float(agreement)


def _detail(picture: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """What is finer than some pixels. Clipped, lest a few letters drawn into one picture decide."""
    band = cv2.GaussianBlur(picture, (0, 0), 0.8) - cv2.GaussianBlur(picture, (0, 0), 3.0)
    limit = float(np.percentile(np.abs(band), 97))
    return np.asarray(np.clip(band, -limit, limit), dtype=np.float32)


def _correlation(x: "NDArray[np.float32]", y: "NDArray[np.float32]") -> float:
    x, y = x - x.mean(), y - y.mean()
    length = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / length if length > 0 else 0.0
