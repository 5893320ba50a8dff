"""Measure all contestants in turns, and print one table: see the package's docstring."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.peers.images import write_images
from benchmarks.peers.measuring import CONTESTANTS, Entry, Failure, Outcome, in_turns, train_once
from benchmarks.peers.table import table
from benchmarks.peers.work import DEVICES, SETTINGS, Device, Work, cores, cpu_has_bf16

ARCHS = ("resnet34", "resnet50")
LIBRARIES = ("torch", "torchvision", "timm", "lightning", "fastai")
_REHEARSAL_PX, _REHEARSAL_IMAGES, _REHEARSAL_BATCH, _REHEARSAL_EPOCHS = 32, 16, 8, 3


def _words(allowed: Sequence[str]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        found = text.split(",")
        if unknown := [word for word in found if word not in allowed]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(allowed)}")
        return found

    return read


def options(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--size", type=int, default=224, help="side of the images, pixels")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=3, help="2 at least: the first is not in images/s")
    parser.add_argument("--images", type=int, default=256, help="even, and a multiple of --batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--archs", type=_words(ARCHS), default=list(ARCHS))
    parser.add_argument("--peers", type=_words(list(CONTESTANTS)), default=list(CONTESTANTS), help="ours included")
    parser.add_argument("--settings", type=_words(SETTINGS), default=["default", "best"])
    parser.add_argument("--workers", type=int, help="loader processes in the best setting, instead of those advised")
    parser.add_argument("--no-rehearsal", action="store_true", help="do not run everybody once, small and uncounted")
    found = parser.parse_args(words)
    if found.epochs < 2 or found.rounds < 1:
        parser.error("--epochs must be 2 at least, --rounds 1")
    # All batches alike: else one contestant drops the rest, one trains on it, and ours evens the batches out.
    if found.images % found.batch or found.images % 2 or found.images <= 0:
        parser.error(f"--images {found.images} must be even and a multiple of --batch {found.batch}")
    if found.epochs * found.images // found.batch <= 4:
        parser.error("torch's one-cycle schedule needs 5 steps at least: more --epochs or --images")
    return found


def header(asked: argparse.Namespace, outcomes: Sequence[Outcome]) -> str:
    """Machine, libraries and work in one line; what is told of torch and the GPU is what the trainings said."""
    answers = [outcome for outcome in outcomes if not isinstance(outcome, Failure)]
    threads = ", ".join(sorted({str(answer.threads) for answer in answers})) or "?"
    used = {answer.torch for answer in answers} | {_version("torch")}
    known = [f"{library} {_version(library)}" for library in LIBRARIES[1:]]
    libraries = ", ".join([f"torch {' and '.join(sorted(used))}", *known])
    work = f"{asked.size} px, batch {asked.batch}, {asked.images} images, {asked.epochs} epochs, rounds: {asked.rounds}"
    gpus = "".join(f"{name}; " for name in sorted({answer.gpu for answer in answers} - {""}))
    return f"{gpus}{_cpu()}, {cores()} cores, threads: {threads}; {libraries}; {work}"


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else 'unknown CPU'} {'with' if cpu_has_bf16() else 'without'} bf16"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(words: Sequence[str] | None = None) -> None:
    """Print header and table; what is measured meanwhile goes to the standard error output."""
    asked = options(words)
    rows = [
        Entry(arch, CONTESTANTS[name], setting)
        for arch in asked.archs
        for name in CONTESTANTS
        if name in asked.peers
        for setting in SETTINGS
        if setting in asked.settings and setting in CONTESTANTS[name].settings
    ]
    entries = [entry for entry in rows if entry.contestant.installed]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not asked.no_rehearsal:
            rehearse(entries, folder / "rehearsal", asked.device)
        images = write_images(folder / "images", asked.images, asked.size)
        work = _work(images, asked.size, asked.batch, asked.epochs, asked.workers, asked.device)
        outcomes = in_turns(entries, work, asked.rounds, _say)
    print(header(asked, [outcome for rounds in outcomes.values() for outcome in rounds]), end="\n\n")
    print(table(outcomes, [entry for entry in rows if entry not in outcomes], asked.device))


def rehearse(entries: Sequence[Entry], folder: Path, device: Device) -> None:
    """Everybody once on a few small images: bytecode is compiled, libraries are read, and who fails does so soon."""
    images = write_images(folder, _REHEARSAL_IMAGES, _REHEARSAL_PX)
    work = _work(images, _REHEARSAL_PX, _REHEARSAL_BATCH, _REHEARSAL_EPOCHS, None, device)
    for entry in (entry for entry in entries if entry.arch == entries[0].arch):
        outcome = train_once(entry, work)
        if isinstance(outcome, Failure):
            _say(f"rehearsal, {entry.contestant.name}, {entry.setting}: {outcome.message}")


def _work(images: Path, size_px: int, batch: int, epochs: int, workers: int | None, device: Device) -> Work:
    """What all entries share; the rest is filled in for each training."""
    return Work(str(images), "", "", size_px, batch, epochs, "default", workers, 0.0, device=device)


if __name__ == "__main__":
    main()
