"""Who must stay together when a cohort is split."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from numpy.typing import NDArray


def joined(size: int, names: Sequence[Sequence[object]], pairs: Sequence[tuple[int, int]] = ()) -> "NDArray[np.int64]":
    """Numbers of groups, int64 [size]: rows with a name in common or tied by a pair are of one group.

    Args:
        size: number of rows.
        names: lists of one name per row, each a reason of its own to stay together (patient, picture, …).
        pairs: rows that belong together.
    """
    edges = [np.empty((0, 2), np.int64), np.array(pairs, np.int64).reshape(-1, 2)]
    nodes = size
    for column in names:
        codes, found = pd.factorize(pd.Series(list(column), dtype=object).astype(str))
        edges.append(np.stack([np.arange(size), nodes + codes], axis=1))
        nodes += len(found)
    ends = np.concatenate(edges)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(nodes, nodes))
    _, part = connected_components(graph, directed=False)
    _, number = np.unique(part[:size], return_inverse=True)
    return np.asarray(number, dtype=np.int64)


def first_names(groups: "NDArray[np.int64]", names: Sequence[str]) -> list[str]:
    """For every row the first of all names of its group, in the order of the alphabet."""
    first: dict[int, str] = {}
    for group, name in zip(groups.tolist(), names, strict=True):
        first[group] = min(name, first.get(group, name))
    return [first[group] for group in groups.tolist()]
