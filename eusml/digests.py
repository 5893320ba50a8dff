"""SHA-256 of what a result depends on: values, files and the code itself."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


def fingerprint(stage: str, inputs: Mapping[str, Any], layers: tuple[str, ...]) -> str:
    """SHA-256 of all that a stage's result depends on: its inputs and settings, and the code of `layers`."""
    known = {"stage": stage, "inputs": inputs, "code": code_digest(*layers)}
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()


@cache
def code_digest(*layers: str) -> str:
    """SHA-256 over the source of some of eusml's layers (`"data"`, `"learning"`, …) and the modules below them.

    A stage may import only what stands left of it, so the layers up to its own are all the code it runs.
    """
    root = Path(__file__).parent
    files = [root / "errors.py", root / "digests.py", root / "runtime.py"]
    for layer in ("config", *layers):
        files += sorted((root / layer).rglob("*.py"))
    total = hashlib.sha256()
    for file in files:
        total.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    return total.hexdigest()
