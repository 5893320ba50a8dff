"""Random streams of one case, apart from each other: neither view nor resolution shifts what a case looks like."""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a stream is drawn for. The numbers are part of every image's identity: never renumber."""

    GEOMETRY = 0
    WALL = 1
    LESION = 2
    TEXTURE = 3
    SPECKLE = 4
    DISPLAY = 5
    VIEW = 6


def stream_of(seed: int, stream: Stream) -> np.random.Generator:
    """A generator at the start of its stream; the same arguments give the same numbers."""
    # SFC64 draws normal numbers a tenth faster than the default, and they are a fifth of the rendering time.
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, int(stream)])))
