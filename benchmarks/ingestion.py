"""How ingestion and the search for duplicates grow with the number of images.

    uv run python -m benchmarks.ingestion [IMAGES …]

Images are synthetic speckle, 192 x 192 pixels in JPEG, one in a hundred a changed copy of another one. Each size is
measured in a program of its own: images per second, and the most memory that it held, with its decoding processes.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from eusml.config import DataConfig
from eusml.data.duplicates import similar_pairs
from eusml.data.ingest import ingest
from eusml.data.manifest import Cases
from tests.pictures import everything

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
SIDE_PX = 192
COPY_EVERY = 100


def write_images(folder: Path, count: int) -> None:
    """`count` JPEG files; the last of every hundred is the first of them, changed in all ways at once."""
    rng = np.random.default_rng(0)
    first = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    field = cv2.GaussianBlur(rng.normal(0, 1, (4096, 4096)).astype(np.float32), (0, 0), 1.6)
    for number in range(count):
        if number % COPY_EVERY == COPY_EVERY - 1:
            picture = everything(first)
        else:
            y, x = rng.integers(0, 4096 - SIDE_PX, 2)
            coarse = rng.normal(0, 1, (7, 7)).astype(np.float32)
            large = cv2.resize(coarse, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
            grain = field[y : y + SIDE_PX, x : x + SIDE_PX] * rng.choice([-1, 1])
            picture = np.clip(90 + 35 * large + 90 * grain, 0, 255).astype(np.uint8)
            if number % COPY_EVERY == 0:
                first = picture
        cv2.imwrite(str(folder / f"{number:06}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 85])


def memory_mb() -> tuple[float, float]:
    """What this process and its children hold now: their own memory, and with pages of files that can be dropped."""
    own = whole = 0
    for process in [Path("/proc/self"), *_children()]:
        try:
            lines = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        except OSError:
            continue
        own += int(lines.get("RssAnon", "0 kB").split()[0])
        whole += int(lines.get("VmRSS", "0 kB").split()[0])
    return own / 1024, whole / 1024


def _children() -> list[Path]:
    ids = Path("/proc/self/task").glob("*/children")
    return [Path("/proc") / name for file in ids for name in file.read_text().split()]


def measure(folder: Path, count: int) -> dict[str, float]:
    """Seconds of each step and the largest memory seen."""
    peak = [0.0, 0.0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            peak[:] = [max(old, new) for old, new in zip(peak, memory_mb(), strict=True)]

    threading.Thread(target=watch, daemon=True).start()
    names = [f"{number:06}.jpg" for number in range(count)]
    table = pd.DataFrame({"case_id": names, "patient_id": names, "image": names, "label": "a"})
    cases = Cases(folder, table, "benchmark", synthetic=True)
    settings = DataConfig(source="folder", path=folder, image_size_px=64)
    with tempfile.TemporaryDirectory(dir=folder.parent) as kept:
        times = [time.perf_counter()]
        ingested = ingest(cases, settings, Path(kept))
        times.append(time.perf_counter())
        ingest(cases, settings, Path(kept))
        times.append(time.perf_counter())
    pairs = similar_pairs(ingested.sketches)
    times.append(time.perf_counter())
    done.set()
    first, again, search = np.diff(times).tolist()
    wanted = {(number, number + COPY_EVERY - 1) for number in range(0, count - COPY_EVERY + 1, COPY_EVERY)}
    found = {(pair.first, pair.second) for pair in pairs}
    return {
        "images": count, "ingest_s": first, "again_s": again, "search_s": search, "own_mb": peak[0], "all_mb": peak[1],
        "found": len(found & wanted), "copies": len(wanted), "wrong": len(found - wanted),
    }  # fmt: skip


def main(sizes: list[int]) -> None:
    """Print a row per size."""
    columns = "images", "images/s", "again, images/s", "search, s", "images/s", "own memory, MB", "with files", "copies"
    print(f"| {' | '.join(columns)} |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "images"
        folder.mkdir()
        write_images(folder, max(sizes))
        for size in sizes:
            words = [sys.executable, "-m", "benchmarks.ingestion", "--one", str(folder), str(size)]
            row = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
            print(
                f"| {size:,} | {size / row['ingest_s']:.0f} | {size / row['again_s']:.0f} | {row['search_s']:.1f} | "
                f"{size / row['search_s']:.0f} | {row['own_mb']:.0f} | {row['all_mb']:.0f} | "
                f"{row['found']}/{row['copies']}, {row['wrong']} wrong |",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(Path(sys.argv[2]), int(sys.argv[3]))))
    else:
        main([int(word) for word in sys.argv[1:]] or list(SIZES))
