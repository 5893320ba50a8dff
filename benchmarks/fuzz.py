"""Damaged files through the decoder, for as long as one likes: nothing but our own errors may come out.

    uv run python -m benchmarks.fuzz MINUTES [SEED]

Seeds are one small file of each kind; bytes are changed, cut out, doubled and put in from other files.
"""

import sys
import time
import warnings

import numpy as np

from eusml.data.images import read_picture
from eusml.errors import DataError
from tests.test_hostile import FILES, SEEDS

_LARGEST_SEED = 100_000


def changed(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """The file with one to eight changes."""
    result = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        at, length = int(rng.integers(0, len(result) + 1)), int(rng.integers(1, 16))
        what = rng.integers(0, 5)
        if what == 0:
            result[at : at + 1] = bytes([int(rng.integers(0, 256))])
        elif what == 1:
            del result[at : at + length]
        elif what == 2:
            result[at:at] = result[at : at + length]
        elif what == 3:
            start = int(rng.integers(0, len(other) + 1))
            result[at : at + length] = other[start : start + length]
        else:
            result[at : at + 4] = int(rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 65_535])).to_bytes(4, "big")
    return bytes(result)


def main(minutes: float, seed: int) -> None:
    """Print how many files were tried, and how many of them were read."""
    warnings.simplefilter("error")  # the decoder must silence what it causes
    rng = np.random.default_rng(seed)
    seeds = [*SEEDS.values(), *(data for data, _ in FILES.values() if 0 < len(data) <= _LARGEST_SEED)]
    tried = read = 0
    slowest = 0.0
    until = time.monotonic() + 60 * minutes
    while time.monotonic() < until:
        first, other = (seeds[int(place)] for place in rng.integers(0, len(seeds), 2))
        data = changed(first, other, rng)
        began = time.perf_counter()
        try:
            picture = read_picture(data, "file")
        except DataError as error:
            assert "file" in str(error)  # noqa: PT017
        except BaseException:
            print(f"found after {tried} files: {data.hex()}", file=sys.stderr)
            raise
        else:
            assert picture.grey.dtype == np.uint8
            read += 1
        slowest = max(slowest, time.perf_counter() - began)
        tried += 1
    print(f"{tried} files in {minutes:g} minutes: {read} read, {tried - read} refused; slowest {slowest:.2f} s")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
