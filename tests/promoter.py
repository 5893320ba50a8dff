"""One of several processes that promote at once."""

import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path

from eusml.tracking import history, store

ALIAS = "champion"


def promote(uri: str, name: str, rounds: int, version: str, how: str, start: Path, log: Path) -> None:
    """Want one's own version to be champion, again and again.

    Args:
        uri: of the store.
        name: of the registered model.
        rounds: how often.
        version: whose.
        how: `locked`, or `bare` for a store that has no lock to offer.
        start: file that is waited for.
        log: gets a line for each entry that it wrote, and one for each time that somebody else was first.
    """
    sys.stdout = sys.stderr = log.open("w")
    os.environ["MLFLOW_TRACKING_URI"] = uri
    if how == "bare":
        history.exclusive = nullcontext
    store.connect()
    print("ready", flush=True)
    while not start.exists():
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
