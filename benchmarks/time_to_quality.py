"""Seconds from the start of a process to a network that tells held-out cases apart with an AUROC of 0.90.

    uv run --with timm python -m benchmarks.time_to_quality choose [FOLDER] ["eusml, 64 px, 32 a step"[=EPOCHS] …]
    … measure [FOLDER] "eusml, 64 px, 32 a step"=EPOCHS … [KEPT.jsonl]

Synthetic lesions, half of each class, from a folder of PNG files; contestants of `benchmarks/peers/` in their best
setting for a CPU unless named `default`, each training a process of its own. `choose` looks, on lesions that are not
measured later, for the shortest training of each, from EPOCHS on, whose mean AUROC on held-out cases reaches the aim:
the learning rate's schedule ends with the training, so a shorter one is another training. `measure` then trains five
times, each time from other lesions and another seed, in turns, and asks every network about fresh lesions. Asking is
not timed, and nothing is chosen by it. With a file, every measurement is kept in it, and one that it holds is not made
again: it is for one machine, one version of the libraries and of what is measured.

With a folder of real images, a fifth of them is held out from all five trainings, and `choose` looks at three inner
folds of the others.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torchvision import models

from benchmarks.peers.cohorts import SEEDS, Cohort, Folder, Phantom
from benchmarks.peers.measuring import CONTESTANTS, OURS, WEIGHTS, Contestant, Entry, Failure, rotated, train_into
from benchmarks.peers.work import GREY_MEAN, GREY_STD, RGB_MEAN, RGB_STD, Answer, Setting, Work

AIM = 0.90
LADDER = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96)
"""Epochs."""


@dataclass(frozen=True)
class Way:
    """A contestant at a size of image."""

    contestant: Contestant
    size_px: int
    batch: int
    setting: Setting = "best"

    @property
    def name(self) -> str:
        """As on the command line."""
        setting = "" if self.setting == "best" else f" {self.setting}"
        return f"{self.contestant.name}{setting}, {self.size_px} px, {self.batch} a step"


WAYS = {
    way.name: way
    for way in (
        Way(Contestant(OURS, "ours_recipe", OURS), 64, 32),
        Way(CONTESTANTS["timm"], 64, 16),
        Way(CONTESTANTS["timm"], 64, 32),
        Way(CONTESTANTS["timm"], 64, 32, "default"),
        Way(CONTESTANTS["torchvision"], 64, 16),
        Way(CONTESTANTS["timm"], 224, 32),
    )
}
"""The study looks at 224 px; 64 px and batches of 16 are what `experiments/quick.yaml` found for the phantom. Batches
of 32 are faster, and peers may have them, too."""


def trained(way: Way, cohort: Cohort, seed: int, epochs: int, folder: Path) -> tuple[Answer, float]:
    """One training, and the AUROC of its network on the cases that were held out from it."""
    training, held_out = cohort.parts(folder, way.size_px, seed)
    work = Work(
        str(training), "", "", way.size_px, way.batch, epochs, way.setting, None, 0.0, seed,
        cohort.rotation_deg, cohort.positive_class, cohort.recipe,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        outcome = train_into(Path(name), Entry("resnet34", way.contestant, way.setting), work)
        if isinstance(outcome, Failure):
            raise SystemExit(f"{way.name}: {outcome.message}")
        return outcome, auroc(Path(name), outcome.channels, held_out, cohort.positive_class)


def auroc(trained_in: Path, channels: int, folder: Path, positive_class: str) -> float:
    """Of a contestant's weights on a folder of images, in fp32; all save a state that torchvision's network takes."""
    files = sorted(folder.glob("*/*.png"))
    is_positive = np.array([file.parent.name == positive_class for file in files])
    grey = torch.from_numpy(np.stack([np.asarray(Image.open(file)) for file in files])[:, None]) / 255
    spec = trained_in / "model.json"
    if ours := spec.exists():
        from safetensors.torch import load_file

        told = json.loads(spec.read_text(encoding="utf-8"))
        state, mean, std = load_file(trained_in / WEIGHTS), told["mean"], told["std"]
    else:
        state = torch.load(trained_in / WEIGHTS, weights_only=True)
        mean, std = (GREY_MEAN, GREY_STD) if channels == 1 else (RGB_MEAN, RGB_STD)
    network = models.resnet34(num_classes=2)
    if channels == 1:
        network.conv1 = torch.nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    network.load_state_dict(state)
    network.eval()
    shape = (1, channels, 1, 1)
    images = (grey.expand(-1, channels, -1, -1) - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
    with torch.inference_mode():
        logits = torch.cat([network(batch) for batch in images.split(50)])
    # Peers number classes as their folders are sorted; for ours column 1 is the positive one.
    column = 1 if ours else sorted({file.parent.name for file in files}).index(positive_class)
    scores = (logits[:, column] - logits[:, 1 - column]).double()
    return float(roc_auc_score(is_positive, scores.numpy()))


def choose(cohort: Cohort, lowest: dict[Way, int], folder: Path) -> None:
    """Print, for each, what the rungs of the ladder from its lowest on reach, up to the first that is high enough."""
    for way, first in lowest.items():
        for epochs in (rung for rung in LADDER if rung >= first):
            reached = [trained(way, cohort, seed, epochs, folder)[1] for seed in cohort.choosing_seeds]
            mean = statistics.mean(reached)
            each = ", ".join(f"{value:.3f}" for value in reached)
            print(f"{way.name}: {epochs} epochs, AUROC {each}: {mean:.3f}", flush=True)
            if mean >= AIM:
                break


def measure(cohort: Cohort, budgets: dict[Way, int], folder: Path, kept: Path | None = None) -> None:
    """Print the table; what is kept of an earlier start on the same machine is part of it."""
    found: dict[Way, list[tuple[Answer, float]]] = {way: [] for way in budgets}
    lines = kept.read_text(encoding="utf-8").splitlines() if kept is not None and kept.exists() else []
    known = {tuple(line["of"]): (Answer(**line["answer"]), line["auroc"]) for line in map(json.loads, lines)}
    for number, seed in enumerate(SEEDS):
        for way in rotated(list(budgets), number):
            of = (repr(cohort), seed, way.name, budgets[way])
            answer, reached = known[of] if of in known else trained(way, cohort, seed, budgets[way], folder)
            if kept is not None and of not in known:
                with kept.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"of": of, "answer": asdict(answer), "auroc": reached}) + "\n")
            found[way].append((answer, reached))
            print(f"seed {seed}, {way.name}: {answer.seconds:.1f} s, AUROC {reached:.3f}", file=sys.stderr, flush=True)
    ours = next((way for way in budgets if way.contestant.name == OURS), None)
    print(
        "| trained by | epochs | seconds, median of five | AUROC, each | mean | ours takes |\n|---|---|---|---|---|---|"
    )
    for way, results in found.items():
        seconds = [answer.seconds for answer, _ in results]
        aurocs = [value for _, value in results]
        share = "–"
        if ours is not None and way is not ours:
            pairs = zip(found[ours], results, strict=True)
            share = f"{statistics.median(one.seconds / other.seconds for (one, _), (other, _) in pairs):.2f} of it"
        spread = f"{statistics.median(seconds):.1f} ({min(seconds):.1f}-{max(seconds):.1f})"
        each = ", ".join(f"{value:.3f}" for value in aurocs)
        print(f"| {way.name} | {budgets[way]} | {spread} | {each} | {statistics.mean(aurocs):.3f} | {share} |")


def main(words: Sequence[str]) -> None:
    """`choose`, all of them or those named; or `measure`, each with its epochs."""
    cohort: Cohort = Phantom()
    if len(words) > 1 and Path(words[1]).is_dir():
        cohort, words = Folder(Path(words[1])), [words[0], *words[2:]]
    with tempfile.TemporaryDirectory() as folder:
        match list(words):
            case ["choose", *ways]:
                lowest = _epochs(ways, str(LADDER[0])) or dict.fromkeys(WAYS.values(), LADDER[0])
                choose(cohort, lowest, Path(folder))
            case ["measure", *ways, kept] if kept.endswith(".jsonl"):
                measure(cohort, _epochs(ways), Path(folder), Path(kept))
            case ["measure", *ways]:
                measure(cohort, _epochs(ways), Path(folder))
            case _:
                raise SystemExit(__doc__)


def _epochs(ways: Sequence[str], default: str = "") -> dict[Way, int]:
    parts = [way.partition("=") for way in ways]
    if unknown := [name for name, _, epochs in parts if name not in WAYS or not (epochs or default).isdigit()]:
        raise SystemExit(f"no folder, and no contestant with its epochs: {unknown}; there are {list(WAYS)}")
    return {WAYS[name]: int(epochs or default) for name, _, epochs in parts}


if __name__ == "__main__":
    main(sys.argv[1:])
