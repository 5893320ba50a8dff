"""How many copies of a picture the audit finds, and how many unrelated pictures it takes for copies.

    uv run python -m benchmarks.duplicates [FOLDER]

Every picture of the folder (by default 400 synthetic ones) gets a copy changed in one way; a pair counts as found when
the audit pairs the two. Pairs among the originals are looked at first and are no mistakes when they are copies
themselves, so only pairs of a changed copy with another picture, which the originals are no pair of, count as wrong.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from eusml.config import DataConfig
from eusml.data.duplicates import similar_pairs, sketch
from eusml.data.images import SUFFIXES, decode
from eusml.data.sources import phantom_cohort
from eusml.evaluation.intervals import proportion_interval
from tests.pictures import CHANGES


def pictures(folder: str | None) -> list[np.ndarray]:
    """All pictures below the folder, uint8 [H, W]; or the synthetic cohort that results are reported on."""
    with tempfile.TemporaryDirectory() as work:
        root = Path(folder) if folder else phantom_cohort(DataConfig(), Path(work), "fresh").root
        files = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)
        return [decode(path.read_bytes(), str(path)) for path in files]


def main(folder: str | None) -> None:
    """Print a row per change."""
    originals = pictures(folder)
    size = len(originals)
    sketches = np.stack([sketch(picture) for picture in originals])
    known = {(pair.first, pair.second) for pair in similar_pairs(sketches)}
    print(f"{size} pictures, {len(known)} pairs among them\n")
    print("| change | found | recall | wrong pairs | precision |\n|---|---|---|---|---|")
    for name, change in CHANGES.items():
        copies = np.stack([sketch(np.ascontiguousarray(change(picture))) for picture in originals])
        pairs = {
            (p.first, p.second - size) for p in similar_pairs(np.concatenate([sketches, copies])) if p.first < size
        }
        pairs = {pair for pair in pairs if pair[1] >= 0}
        found = sum(first == second for first, second in pairs)
        wrong = sum(a != b and (min(a, b), max(a, b)) not in known for a, b in pairs)
        low, high = proportion_interval(found, size, "adjusted_wald", 0.95)
        precision = found / (found + wrong) if found + wrong else float("nan")
        print(f"| {name} | {found}/{size} | {found / size:.3f} ({low:.3f}-{high:.3f}) | {wrong} | {precision:.3f} |")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
