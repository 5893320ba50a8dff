"""How much memory a piece of code takes, measured in a program of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")

# VmHWM and not `resource.getrusage`: that one starts with the peak of the program that started this one.
_PROGRAM = """
import json, re, sys
from pathlib import Path

def peak_mb():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000

{code}

before = peak_mb()
result = run(*sys.argv[1:])
print(json.dumps({{"before_mb": before, "peak_mb": peak_mb(), "result": result}}))
"""


def measured(code: str, *words: str) -> tuple[float, float, object]:
    """Peak memory in MB before and after `run(*words)`, and what that returned.

    Args:
        code: imports, and the function `run`, whose result can be written as JSON.
        words: its arguments.
    """
    program = [sys.executable, "-c", _PROGRAM.format(code=code), *words]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    return found["before_mb"], found["peak_mb"], found["result"]
