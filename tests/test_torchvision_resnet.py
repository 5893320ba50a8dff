"""torchvision's networks are taken without the rest of it, and the rest is still to be had."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_training_and_asking_import_no_compiler_and_leave_torchvision_whole(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tests.lean_worker", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[]", "resnet34 ResNet34_Weights", "nms Compose make_grid"]
