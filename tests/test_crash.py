"""`kill -9` at any moment, the same call again: the same weights to the bit, every epoch once."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest


@pytest.mark.slow
def test_killed_anywhere_and_started_again_ends_with_the_same_bits(tmp_path: Path) -> None:
    worker = subprocess.run(
        [sys.executable, "-m", "tests.crash_worker", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert worker.returncode == 0, worker.stderr
    points = json.loads(worker.stdout)
    moments = Counter(point["moment"] for point in points)
    assert len(points) >= 16
    assert set(moments) == {"step", "torch.save", "os.fsync", "os.replace", "replaced", "epoch"}
    for point in points:
        assert point["killed"] == 9, point
        assert point["ended"] == 0, point
        assert point["weights_equal"], point
        assert point["history_equal"], point
        assert point["epochs"] == [1, 2], point
