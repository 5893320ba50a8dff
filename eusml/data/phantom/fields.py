"""Smooth random fields over the scan's disc: functions of physical position, the same in every view."""

from dataclasses import dataclass

import numpy as np

from eusml.data.phantom.arrays import Float32, product

_INTERPOLATION_GAIN = 1.25
"""Catmull-Rom averages between nodes; this brings the mean variance of white nodes back to about 1."""


@dataclass(frozen=True)
class DiscField:
    """White Gaussian nodes in polar coordinates, interpolated by Catmull-Rom splines; periodic in angle."""

    nodes: Float32
    """[radial nodes, angular nodes]; radial node i lies at (i - 1) * spacing_mm, angular node j at -pi + j * step."""
    spacing_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator, *, radius_mm: float, radial_mm: float, angular_rad: float) -> "DiscField":
        """A new field of about unit variance.

        Args:
            rng: source of the nodes; how many are drawn depends on the lengths alone.
            radius_mm: radius of the disc.
            radial_mm: correlation length along the radius, which is the distance of the nodes.
            angular_rad: the same along the angle.
        """
        # One node before the centre and two beyond the rim, so that a cubic finds four neighbours everywhere.
        radial = int(np.ceil(radius_mm / radial_mm)) + 4
        angular = max(round(2 * np.pi / angular_rad), 4)
        nodes = rng.standard_normal((radial, angular), dtype=np.float32)
        return cls(nodes * np.float32(_INTERPOLATION_GAIN), radial_mm)

    def at(self, r_mm: Float32, theta_rad: Float32) -> Float32:
        """The field on a polar grid: float32 [len(r_mm), len(theta_rad)].

        Args:
            r_mm: radii, float32 [nr], within the disc.
            theta_rad: angles, float32 [nt]; any range.
        """
        radial, angular = self.nodes.shape
        along_r = _catmull_rom(r_mm / self.spacing_mm + 1, radial)
        along_theta = _catmull_rom((theta_rad + np.pi) * (angular / (2 * np.pi)), angular)
        # A patch touches few of the nodes; the others would only multiply zeros.
        rows, columns = along_r.any(axis=0), along_theta.any(axis=0)
        arcs = product(self.nodes[np.ix_(rows, columns)], np.ascontiguousarray(along_theta[:, columns].T))
        return product(np.ascontiguousarray(along_r[:, rows]), arcs)


def _catmull_rom(position: np.ndarray, count: int) -> Float32:
    """Interpolation matrix, float32 [n, count], for positions in units of the node distance; wraps around `count`."""
    left = np.floor(position).astype(np.int64)
    t = (position - left).astype(np.float32)
    t2 = t * t
    t3 = t2 * t
    taps = (
        0.5 * (-t + 2 * t2 - t3),
        0.5 * (2 - 5 * t2 + 3 * t3),
        0.5 * (t + 4 * t2 - 3 * t3),
        0.5 * (t3 - t2),
    )
    weights = np.zeros((len(t), count), np.float32)
    row = np.arange(len(t))
    for offset, tap in zip((-1, 0, 1, 2), taps, strict=True):
        weights[row, (left + offset) % count] = tap
    return weights
