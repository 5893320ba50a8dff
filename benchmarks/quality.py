"""How many images the warnings of `eusml/data/quality.py` flag: ultrasound that was held out, and what is none.

    uv run python -m benchmarks.quality [FOLDER]

References are measured on 113 phantom images and asked about 400 fresh ones; and, for a folder of real images with
`manifest.csv`, on one half and asked about the other, then the other way round, copies of a picture kept together.
What is no ultrasound are patches of pictures that come with libraries (nothing is downloaded) and pictures made here.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.other_pictures import no_ultrasound
from eusml.config import DataConfig
from eusml.data.duplicates import similar_pairs
from eusml.data.groups import joined
from eusml.data.images import prepare_image
from eusml.data.ingest import Ingested, ingest
from eusml.data.manifest import Cases, box_of
from eusml.data.quality import QualityReference, measure_reference, quality_warnings, region_size
from eusml.data.sources import phantom_cohort, read_cases
from eusml.evaluation.intervals import proportion_interval

SIZES_PX = (48, 64, 224)
TRAINING = 113

Prepared = tuple[np.ndarray, list[tuple[int, int]]]
"""uint8 [N, S, S] and the sides of the regions of interest."""


def prepared(pictures: list[np.ndarray], size_px: int) -> Prepared:
    """As the served model would."""
    images = [prepare_image(picture, None, size_px=size_px, margin_frac=0.0, name="picture") for picture in pictures]
    return np.stack(images), [region_size(None, *picture.shape[::-1]) for picture in pictures]


def of_cases(cases: Cases, found: Ingested) -> Prepared:
    """Images and regions of a cohort."""
    rows, sizes = cases.table.to_dict("records"), found.measures[["width_px", "height_px"]].to_numpy().astype(int)
    regions = [region_size(box_of(row), *size) for row, size in zip(rows, sizes.tolist(), strict=True)]
    return np.asarray(found.images), regions


def chosen(some: Prepared, places: np.ndarray) -> Prepared:
    """Those of them."""
    return some[0][places], [some[1][place] for place in places]


def flagged(some: Prepared, reference: QualityReference) -> tuple[int, int]:
    """How many get a warning, and how many get that of texture."""
    warnings = [quality_warnings(image, region, reference) for image, region in zip(*some, strict=True)]
    return sum(map(bool, warnings)), sum(any("not like" in one for one in found) for found in warnings)


def row(reference: str, size_px: int, kind: str, counts: list[tuple[int, int]], total: int) -> None:
    """Print one line of the table."""
    any_of_them, texture = (sum(column) for column in zip(*counts, strict=True))
    low, high = proportion_interval(any_of_them, total, "adjusted_wald", 0.95)
    share = f"{any_of_them}/{total} = {any_of_them / total:.3f} ({low:.3f}-{high:.3f})"
    print(f"| {reference} | {size_px} px | {kind} | {share} | {texture / total:.3f} |", flush=True)


def report(
    name: str, size_px: int, asked: list[tuple[QualityReference, Prepared]], others: dict[str, Prepared]
) -> None:
    """Rows for references of the same source, each asked about what was held out from it; they share the others."""
    references = [reference for reference, _ in asked]
    counts = [flagged(held, reference) for reference, held in asked]
    row(name, size_px, "held out", counts, sum(len(held[0]) for _, held in asked))
    everything: list[tuple[int, int]] = []
    for kind, some in others.items():
        counts = [flagged(some, reference) for reference in references]
        everything += counts
        row(name, size_px, kind, counts, len(references) * len(some[0]))
    row(
        name,
        size_px,
        "**all that is none**",
        everything,
        len(references) * sum(len(some[0]) for some in others.values()),
    )


def halves(found: Ingested) -> tuple[list[np.ndarray], np.ndarray]:
    """Places of two halves, copies of a picture in the same one; and which images are copies of each other."""
    pairs = [(pair.first, pair.second) for pair in similar_pairs(found.sketches)]
    groups = joined(len(found.images), [], pairs)
    names = np.random.default_rng(0).permutation(np.unique(groups))
    second = np.isin(groups, names[: len(names) // 2])
    return [np.flatnonzero(~second), np.flatnonzero(second)], np.asarray(groups)


def main(folder: str | None) -> None:
    """Print the table, and what a warning costs."""
    kinds = no_ultrasound()
    print("| reference | side | images | flagged | by texture |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as work:
        for size_px in SIZES_PX:
            others = {kind: prepared(pictures, size_px) for kind, pictures in kinds.items()}
            settings = DataConfig(image_size_px=size_px)
            study, fresh = (
                of_cases(cases, ingest(cases, settings))
                for cases in (phantom_cohort(settings, Path(work), which) for which in ("study", "fresh"))
            )
            training = np.sort(np.random.default_rng(0).permutation(len(study[0]))[:TRAINING])
            report("phantom", size_px, [(measure_reference(*chosen(study, training)), fresh)], others)
            few = measure_reference(*chosen(study, training[:: len(training) // 20][:20]))
            report("20 of phantom", size_px, [(few, fresh)], others)
            if folder:
                own = DataConfig(source="folder", path=Path(folder), image_size_px=size_px)
                cases = read_cases(own, Path(work))
                found = ingest(cases, own)
                real, (parts, groups) = of_cases(cases, found), halves(found)
                references = [measure_reference(*chosen(real, part), groups[part].tolist()) for part in parts]
                held = [chosen(real, part) for part in parts[::-1]]
                report("folder", size_px, list(zip(references, held, strict=True)), others)
            reference = measure_reference(*study)
            start = time.process_time()
            flagged(fresh, reference)
            print(f"{1000 * (time.process_time() - start) / len(fresh[0]):.2f} ms per image of {size_px} px")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
