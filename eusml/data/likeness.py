"""How far the texture of an image is from that of the images that a network was trained on.

Mahalanobis's distance with a covariance shrunk as by Ledoit and Wolf (2004, doi:10.1016/S0047-259X(03)00096-4), so that
twenty images are enough to have one. A small region that was enlarged is smoother than a large one that was shrunk:
each figure is compared with what is usual for a region of that size.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eusml.data.texture import TEXTURE_FEATURES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_PREDICTED_SHARE = 0.995
"""Rather than 0.99: distances may have a longer tail than the log-normal distribution that the limit is taken from.
With this share up to 1 % of held-out images lay beyond (`benchmarks/README.md`)."""
_TURNS = 20
_LINEAR_UP_TO = 2.0
"""Deviations up to which a figure counts as it is; from there on it counts by its logarithm, lest one odd figure of an
odd but sound image decides alone."""


@dataclass(frozen=True)
class Likeness:
    """What the texture of images is like: plain numbers, which JSON keeps exactly. F figures."""

    features: tuple[str, ...]
    """What the figures measure, [F]."""
    region_range_px: tuple[float, float]
    """Sides between which the size of a region is allowed for; beyond, it counts as the nearer one."""
    region_px: float
    """The size of region that `centre` belongs to."""
    centre: tuple[float, ...]
    """Usual figures, [F]."""
    slope: tuple[float, ...]
    """What is added to them where a region is e (2.718) times as large, [F]."""
    scale: tuple[float, ...]
    """How much they differ from image to image, [F]."""
    mean: tuple[float, ...]
    """Of the figures once centred, scaled and squashed, [F]."""
    precision: tuple[tuple[float, ...], ...]
    """Inverse covariance of those, [F, F]."""
    max_distance: float
    """About one in a hundred such images is further away."""

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Likeness":
        """Back from `dataclasses.asdict`, also by way of JSON, which makes lists of tuples.

        Raises:
            KeyError, TypeError, ValueError: not such a dictionary, or of other figures than this code measures.
        """
        if tuple(fields["features"]) != TEXTURE_FEATURES:
            raise ValueError(f"texture was described by {fields['features']}, this version knows {TEXTURE_FEATURES}")
        vectors = {name: tuple(map(float, fields[name])) for name in ("centre", "slope", "scale", "mean")}
        precision = tuple(tuple(map(float, row)) for row in fields["precision"])
        if any(len(vector) != len(TEXTURE_FEATURES) for vector in (*vectors.values(), precision, *precision)):
            raise ValueError(f"texture needs {len(TEXTURE_FEATURES)} numbers in each vector")
        low, high = map(float, fields["region_range_px"])
        changed = {"features": TEXTURE_FEATURES, "region_range_px": (low, high), "precision": precision}
        return cls(**{**fields, **vectors, **changed})

    def distances(self, figures: "Floats", sides_px: "Floats") -> "Floats":
        """Mahalanobis's distances, float64 [N].

        Args:
            figures: float64 [N, F], as `texture` measures them.
            sides_px: float64 [N], longer side of each region of interest in stored pixels.
        """
        apart = _squashed(self._standard(figures, sides_px)) - np.array(self.mean)
        squares = np.einsum("ij,jk,ik->i", apart, np.array(self.precision), apart)
        return np.asarray(np.sqrt(np.maximum(squares, 0)), dtype=np.float64)

    def _standard(self, figures: "Floats", sides_px: "Floats") -> "Floats":
        larger = np.log(np.clip(sides_px, *self.region_range_px) / self.region_px)
        usual = np.array(self.centre) + larger[:, None] * np.array(self.slope)
        return np.asarray((figures - usual) / np.array(self.scale), dtype=np.float64)


def measure_likeness(figures: "Floats", sides_px: "Floats", groups: Sequence[int]) -> Likeness:
    """What the texture of images is like, and how far from it one in a hundred is.

    The limit is a prediction limit for one image more. It is taken from the distances of images that were left out, all
    of a group together, while the others were measured, in twenty turns; their logarithms are taken as normal. A
    conformal limit assumes nothing, but of a hundred images it is the most distant one, and one odd image would let
    everything pass.

    Args:
        figures: float64 [N, F], as `texture` measures them.
        sides_px: float64 [N], longer side of each region of interest in stored pixels.
        groups: [N], the same number for images of one patient or copies of one picture; passed over where one turn
            would leave out more than half of the images.
    """
    _, numbers = np.unique(np.asarray(groups), return_inverse=True)
    turns = numbers % _TURNS
    if np.bincount(turns).max() > len(figures) / 2:  # too few groups: hardly anything would be left to measure
        turns = np.arange(len(figures)) % _TURNS
    distances = np.empty(len(figures))
    for turn in np.unique(turns):
        left_out = turns == turn
        others = _measured(figures[~left_out], sides_px[~left_out])
        distances[left_out] = others.distances(figures[left_out], sides_px[left_out])
    return _measured(figures, sides_px, _prediction_limit(distances))


def _measured(figures: "Floats", sides_px: "Floats", max_distance: float = math.inf) -> Likeness:
    from sklearn.covariance import ledoit_wolf

    logs = np.log(sides_px)
    larger = logs - logs.mean()
    centre, scale = np.median(figures, axis=0), _spread(figures)
    # Shrunk, lest cohorts of nearly equal sizes give steep slopes; clipped, lest single images do.
    bounded = np.clip((figures - centre) / scale, -4, 4)
    slope = scale * (larger @ bounded) / (larger @ larger + 1)
    rest = figures - centre - larger[:, None] * slope
    scale = _spread(rest)
    known = _squashed(rest / scale)
    covariance, _ = ledoit_wolf(known)
    # Images that are all the same have no covariance to invert.
    precision = np.linalg.inv(covariance + 1e-6 * np.eye(len(centre)))
    return Likeness(
        features=TEXTURE_FEATURES,
        region_range_px=(float(sides_px.min()), float(sides_px.max())),
        region_px=math.exp(float(logs.mean())),
        centre=tuple(centre.tolist()),
        slope=tuple(slope.tolist()),
        scale=tuple(scale.tolist()),
        mean=tuple(known.mean(axis=0).tolist()),
        precision=tuple(tuple(row) for row in precision.tolist()),
        max_distance=max_distance,
    )


def _spread(figures: "Floats") -> "Floats":
    """Between the robust and the usual deviation of each figure; never 0."""
    low, high = np.quantile(figures, (0.16, 0.84), axis=0)
    return np.asarray((high - low) / 4 + figures.std(axis=0) / 2 + 0.01, dtype=np.float64)


def _squashed(standard: "Floats") -> "Floats":
    size = np.abs(standard)
    beyond = np.log1p(np.maximum(size - _LINEAR_UP_TO, 0))
    return np.asarray(np.sign(standard) * (np.minimum(size, _LINEAR_UP_TO) + beyond), dtype=np.float64)


def _prediction_limit(distances: "Floats") -> float:
    """Below which one more distance lies with that share, if logarithms are normal.

    Source: Hahn and Meeker 1991, Statistical Intervals, chapter 4, doi:10.1002/9780470316771.
    """
    from scipy.stats import t

    logs, count = np.log(np.maximum(distances, 1e-9)), len(distances)
    quantile = float(t.ppf(_PREDICTED_SHARE, count - 1))
    return math.exp(float(logs.mean()) + quantile * float(logs.std(ddof=1)) * math.sqrt(1 + 1 / count))
