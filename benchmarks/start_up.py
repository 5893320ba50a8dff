"""What entry points cost that find nothing to do: `python -m benchmarks.start_up`, from the project's folder.

A tiny training is made once; then, in turns, fresh processes: single imports, `--help`, `history`, `data` and `train`
whose stages are all reused, by `python -m eusml` and by `mlflow run`. An entry point cannot be faster than its imports,
so the second table says what they are made of, by Python's own `-X importtime`, which takes a little itself.
"""

import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from benchmarks.in_folder import measure_in_folder

ROUNDS = 3
SHOWN_FROM_S = 0.1
TINY = {
    "data.image_size_px": "32",
    "data.phantom.gist_cases": "12",
    "data.phantom.leiomyoma_cases": "13",
    "data.phantom.selection_cases": "6",
    "data.phantom.fresh_cases": "10",
    "train.epochs": "1",
    "tune.enabled": "false",
}
IMPORTS = ("torch", "torch, torchvision", "mlflow", "torch, torchvision, mlflow, pandas")


def seconds(words: list[str], environment: Mapping[str, str]) -> float:
    """Of one process."""
    began = time.perf_counter()
    # `history` ends with an error here, as nothing is registered: it has looked into the store all the same.
    subprocess.run(words, check=False, env=environment, capture_output=True)
    return time.perf_counter() - began


def items(words: list[str], environment: Mapping[str, str]) -> dict[str, float]:
    """Seconds of one process by package that is imported, and of all else."""
    began = time.perf_counter()
    timed = [words[0], "-X", "importtime", *words[1:]]
    done = subprocess.run(timed, check=True, env=environment, capture_output=True, text=True)
    whole = time.perf_counter() - began
    found: defaultdict[str, float] = defaultdict(float)
    for line in done.stderr.splitlines():
        if line.startswith("import time:") and "[us]" not in line:
            own_us, _, name = line.removeprefix("import time:").split("|")
            found[name.strip().partition(".")[0]] += int(own_us) / 1e6
    found["all that is no import"] = whole - sum(found.values())
    return found


def main(work: Path) -> None:
    """Print one row per command."""
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": f"sqlite:///{work}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    settings = {**TINY, "work_dir": str(work / "work")}
    python, mlflow = sys.executable, str(Path(sys.executable).with_name("mlflow"))

    def ours(name: str) -> list[str]:
        return [python, "-m", "eusml", name, *(f"--{key}={value}" for key, value in settings.items())]

    def project(name: str) -> list[str]:
        given = [word for key, value in settings.items() for word in ("-P", f"{key}={value}")]
        return [mlflow, "run", ".", "-e", name, "--env-manager", "local", *given]

    subprocess.run(ours("train"), check=True, env=environment, capture_output=True)
    commands = {f"`import {name}`": [python, "-c", f"import {name}"] for name in IMPORTS}
    commands["`python -m eusml --help`"] = [python, "-m", "eusml", "--help"]
    for name in ("history", "data", "train"):
        commands[f"`python -m eusml {name}`"] = ours(name)
    commands["`mlflow run . -e history`"] = project("history")
    for words in commands.values():
        seconds(words, environment)  # bytecode, and pages of files
    found: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, words in commands.items():
            found[name].append(seconds(words, environment))
    print("| command | seconds, median | fastest-slowest |\n|---|---|---|")
    for name, times in found.items():
        print(f"| {name} | {statistics.median(times):.2f} | {min(times):.2f}-{max(times):.2f} |")
    rounds = [items(ours("train"), environment) for _ in range(ROUNDS)]
    medians = {name: statistics.median(one.get(name, 0.0) for one in rounds) for name in rounds[0]}
    large = {name: value for name, value in medians.items() if value >= SHOWN_FROM_S}
    print("\n| of `python -m eusml train` | seconds, median |\n|---|---|")
    for name, value in sorted(large.items(), key=lambda item: -item[1]):
        print(f"| {name} | {value:.2f} |")
    print(f"| {len(medians) - len(large)} other packages | {sum(medians.values()) - sum(large.values()):.2f} |")


if __name__ == "__main__":
    measure_in_folder(main)
