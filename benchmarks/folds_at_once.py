"""Networks of folds made by two processes, against one after another: `python -m benchmarks.folds_at_once`.

Four outer folds of the phantom's 142 cases, ResNet-34 at 64 px for a few epochs, each fold trained, recorded and asked
about; in turns. The start of the processes is included, and so is going through all folds afterwards, to find them.
"""

import statistics
import time
from pathlib import Path

from benchmarks.in_folder import measure_in_folder
from eusml.commands.at_once import make_folds_at_once
from eusml.commands.cross_validate import make_folds, out_of_fold_answers
from eusml.commands.data import cross_validation_data
from eusml.commands.job import open_job
from eusml.config import load_config

ROUNDS = 2
WAYS = (1, 2)
"""Processes; the cores are shared among them."""
FOLDS = 4
SETTINGS = {
    "name": "folds", "data.image_size_px": "64", "data.phantom.selection_cases": "0", "data.phantom.fresh_cases": "0",
    "protocol.kind": "nested_cv", "protocol.folds": str(FOLDS), "train.epochs": "12", "train.offline": "false",
    "train.online.enabled": "true",
}  # fmt: skip


def seconds(work: Path, processes: int, seed: int) -> float:
    """Of all folds; another seed makes other networks, so none is taken over."""
    given = {"train.seed": str(seed), "networks_at_once": str(processes), "work_dir": str(work / "work")}
    config = load_config(None, {**SETTINGS, **given})
    with open_job("folds", config) as job:
        data = cross_validation_data(job)
        began = time.perf_counter()
        of_folds = make_folds_at_once(job, make_folds, {"resnet34": config}, FOLDS)
        out_of_fold_answers(job, data, "resnet34", of_folds["resnet34"])
        return time.perf_counter() - began


def main(work: Path) -> None:
    """Print one row per number of processes."""
    found: dict[int, list[float]] = {way: [] for way in WAYS}
    for number in range(ROUNDS):
        for place, way in enumerate(WAYS):
            found[way].append(seconds(work, way, number * len(WAYS) + place))
    print("| processes | seconds, median | fastest-slowest | against one |\n|---|---|---|---|")
    for way, times in found.items():
        ratio = statistics.median(one / own for one, own in zip(found[WAYS[0]], times, strict=True))
        print(f"| {way} | {statistics.median(times):.0f} | {min(times):.0f}-{max(times):.0f} | {ratio:.2f} x |")


if __name__ == "__main__":
    measure_in_folder(main)
