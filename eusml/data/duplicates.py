"""Pictures that are the same but for compression, size, a crop of a few per cent, a flip or annotations.

Three steps, each on fewer pairs. A descriptor of 99 numbers per picture, the low frequencies of a cosine transform as
in a perceptual hash but not cut down to bits, finds the nearest neighbours of a picture and of its three flips. The two
pictures are then laid over one another, first coarsely, then finely, and their fine detail is compared: speckle agrees
in copies of one recording and in nothing else.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from eusml.data.parallel import Counted, cores

if TYPE_CHECKING:
    from numpy.typing import NDArray

SKETCH_SIDE_PX = 128
_FREQUENCIES = 10
_THUMB_SIDE_PX = 32
_EXACT_UP_TO = 4000
"""Pictures up to which every pair's descriptors are compared; beyond, a graph of neighbours (HNSW) is searched."""
_NEIGHBOURS = 6
"""Of a picture in each position; it is one of them itself in the first."""
_LEAST_SIMILARITY = 0.55
"""Of descriptors. One unrelated pair in a thousand is above it, and copies with 6 % cropped off are."""
_LEAST_SIMILARITY_OF_MANY = 0.7
"""The same where a graph is searched: among many unrelated pictures more are alike. Copies with 3 % cropped off have
0.90 and more, nineteen in twenty of those with 6 % have 0.77."""
_COARSE_SIDE_PX = 64
_AT_ONCE = 5000
_LEAST_COARSE_AGREEMENT = 0.4
"""Of fine detail at the smaller size; the least of a true pair in BUSI is 0.60."""
_LEAST_OVERLAP = 0.7
_LEAST_DETAIL_AGREEMENT = 0.36
"""Neighbouring frames of one BUSI recording have 0.41 and more, the most alike of unrelated phantom cases 0.31."""
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

    The time grows with N log N beyond 4,000 pictures: each has six neighbours at most in each of four positions.
    Turns by a quarter are not looked for, as a scanner has none.

    Args:
        sketches: uint8 [N, 128, 128] as `sketch` makes them.
        progress: wraps the pairs that are compared.
    """
    candidates = _candidates(_descriptors(sketches))
    found: dict[tuple[int, int], Pair] = {}

    def compared(candidate: "NDArray[np.int32]") -> Pair:
        first, second, flip = (int(number) for number in candidate)
        how = _FLIP_NAMES[flip]
        return Pair(first, second, _agreement(sketches[first], flipped(sketches[second], how)), how)

    # Threads and not processes: OpenCV lets go of the interpreter, and no picture needs to be sent anywhere.
    with ThreadPoolExecutor(cores()) as pool:
        for pair in progress(Counted(_mapped(pool, compared, candidates), len(candidates))):
            known = found.get((pair.first, pair.second))
            if pair.agreement >= _LEAST_DETAIL_AGREEMENT and (known is None or pair.agreement > known.agreement):
                found[pair.first, pair.second] = pair
    return tuple(found[key] for key in sorted(found))


def _mapped(
    pool: ThreadPoolExecutor, work: "Callable[[NDArray[np.int32]], Pair]", items: "NDArray[np.int32]"
) -> Iterator[Pair]:
    """`pool.map`, some thousand items at a time: it would make an object of every item at once."""
    for start in range(0, len(items), _AT_ONCE):
        yield from pool.map(work, items[start : start + _AT_ONCE])


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


def _candidates(descriptors: "NDArray[np.float32]") -> "NDArray[np.int32]":
    """Pairs and the flip under which their descriptors are alike, int32 [M, 3]; the first is the smaller number."""
    search = _exact if len(descriptors) <= _EXACT_UP_TO else _by_graph
    found = [np.empty((0, 3), np.int32)]
    for flip, pairs in enumerate(search(descriptors)):
        ordered = np.sort(pairs, axis=1)
        ordered = ordered[ordered[:, 0] != ordered[:, 1]]
        found.append(np.column_stack([ordered, np.full(len(ordered), flip)]).astype(np.int32))
    return np.asarray(np.unique(np.concatenate(found), axis=0), dtype=np.int32)


def _exact(descriptors: "NDArray[np.float32]") -> "Iterator[NDArray[np.int64]]":
    """Pairs of alike descriptors for every flip, int64 [M, 2]."""
    for flip in range(len(_FLIPS)):
        yield np.argwhere((descriptors * _signs(flip)) @ descriptors.T >= _LEAST_SIMILARITY)


def _by_graph(descriptors: "NDArray[np.float32]") -> "Iterator[NDArray[np.int64]]":
    """The same among the nearest neighbours of each picture."""
    from usearch.index import Index

    # One thread builds the same graph every time; several do not.
    index = Index(ndim=descriptors.shape[1], metric="ip", dtype="f32", connectivity=16, expansion_add=96)
    index.add(np.arange(len(descriptors)), descriptors, threads=1)
    for flip in range(len(_FLIPS)):
        matches = index.search(descriptors * _signs(flip), _NEIGHBOURS, threads=1)
        places = np.argwhere(1.0 - np.asarray(matches.distances) >= _LEAST_SIMILARITY_OF_MANY)
        keys = np.asarray(matches.keys).astype(np.int64)
        yield np.column_stack([places[:, 0], keys[places[:, 0], places[:, 1]]])


def _agreement(first: "NDArray[np.uint8]", second: "NDArray[np.uint8]") -> float:
    """Correlation of fine detail where the aligned pictures overlap; 0 where they cannot be aligned."""
    if np.array_equal(first, second):
        return 1.0
    warp = np.eye(2, 3, dtype=np.float32)
    smaller = _smaller(first), _smaller(second)
    warp, agreement = _overlaid(*smaller, warp, steps=10)
    if agreement < _LEAST_COARSE_AGREEMENT:
        return 0.0
    warp[:, 2] *= SKETCH_SIDE_PX / _COARSE_SIDE_PX
    return _overlaid(first, second, warp, steps=50)[1]


def _overlaid(
    first: "NDArray[np.uint8]", second: "NDArray[np.uint8]", start: "NDArray[np.float32]", steps: int
) -> "tuple[NDArray[np.float32], float]":
    """Affine map from the first to the second (ECC), and how their detail agrees under it; 0 if there is no map.

    Source: Evangelidis and Psarakis 2008, doi:10.1109/TPAMI.2008.113.
    """
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, steps, 1e-4)
    try:
        _, found = cv2.findTransformECC(first, second, start.copy(), cv2.MOTION_AFFINE, stop)
    except cv2.error:  # does not converge, or a picture has no structure
        return start, 0.0
    warp = np.asarray(found, dtype=np.float32)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    side = (first.shape[1], first.shape[0])
    moved = np.asarray(cv2.warpAffine(second.astype(np.float32), warp, side, flags=how), dtype=np.float32)
    covered = cv2.warpAffine(np.ones(first.shape, np.float32), warp, side, flags=how) > 0.999
    inside = cv2.erode(covered.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    if covered.mean() < _LEAST_OVERLAP:
        return warp, 0.0
    return warp, _correlation(_detail(first.astype(np.float32))[inside], _detail(moved)[inside])


def _smaller(picture: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
    small = cv2.resize(picture, (_COARSE_SIDE_PX, _COARSE_SIDE_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


def _detail(picture: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """What is finer than some pixels, everywhere of about the same strength.

    Without the latter a few bright layers of tissue decide, which lie over one another well in many pictures; clipped,
    lest letters drawn into one of the pictures do.
    """
    band = cv2.GaussianBlur(picture, (0, 0), 0.6) - cv2.GaussianBlur(picture, (0, 0), 2.0)
    strength = np.sqrt(cv2.GaussianBlur(band * band, (0, 0), 3.0))
    even = band / (strength + 1.0)
    limit = float(np.percentile(np.abs(even), 97))
    return np.asarray(np.clip(even, -limit, limit), dtype=np.float32)


def _correlation(x: "NDArray[np.float32]", y: "NDArray[np.float32]") -> float:
    x, y = x - x.mean(), y - y.mean()
    length = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / length if length > 0 else 0.0
