"""One of several processes that promote at once: `python -m tests.promoter NAME ROUNDS VERSION HOW [WAIT_FOR]`.

It wants its own version to be champion, again and again. `HOW` is `locked`, or `bare` for a store that has no lock to
offer. It prints a line for each entry that it wrote, and one for each time that somebody else was first.
"""

import sys
import time
from contextlib import nullcontext
from pathlib import Path

from eusml.tracking import history, store

ALIAS = "champion"


def main(name: str, rounds: int, version: str, how: str, start: str) -> None:
    if how == "bare":
        history.exclusive = nullcontext
    store.connect()
    print("ready", flush=True)
    while not Path(start).exists():
        time.sleep(0.001)
    for number in range(rounds):
        while True:
            known = history.read(name, ALIAS)
            assert known is not None
            move = history.Move("promotion", version, f"f{version}", f"{version}-{number}", "run", version)
            entry = history.append(known, move)
            if entry is not None:
                print("wrote", entry.number, flush=True)
                break
            print("lost", len(known.entries) + 1, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5])
