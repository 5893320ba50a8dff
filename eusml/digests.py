"""SHA-256 of what a result depends on: values, files and the code itself."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = (
    "albumentations", "numpy", "opencv-python-headless", "pandas", "pillow", "pydicom", "python-gdcm", "scikit-learn",
    "scipy", "statsmodels", "torch", "torchvision", "usearch",
)  # fmt: skip
"""Whose versions may change a result."""


def fingerprint(stage: str, inputs: Mapping[str, Any], layers: tuple[str, ...]) -> str:
    """SHA-256 of all that a stage's result depends on.

    That is its inputs and settings, the versions of `LIBRARIES`, and the source of `layers`, of the modules that every
    layer rests on and of the command of the stage's name.
    """
    known = {"stage": stage, "inputs": inputs, "libraries": _versions(), "code": code_digest(stage, *layers)}
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()


def _tells_only(file: Path) -> bool:
    """Whether a file reads results and makes none: a new sentence in the report makes nothing anew."""
    return "reporting" in file.parts


@cache
def code_digest(stage: str, *layers: str) -> str:
    """SHA-256 over the source of some of eusml's layers (`"data"`, `"learning"`, …) and of a stage's command."""
    root = Path(__file__).parent
    files = [root / f"{name}.py" for name in ("errors", "digests", "files", "sentences", "tables", "runtime", "ranks")]
    command = root / "commands" / f"{stage}.py"
    files += [command] if command.is_file() else []
    for layer in ("config", *layers):
        files += sorted(file for file in (root / layer).rglob("*.py") if not _tells_only(file.relative_to(root)))
    total = hashlib.sha256()
    for file in files:
        total.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    return total.hexdigest()


@cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}
