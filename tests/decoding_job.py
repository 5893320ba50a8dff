"""A job with two processes that decode for ever: each writes its process id to one of the files that are named."""

import os
import sys
import time
from pathlib import Path

from eusml.data.parallel import in_order


def linger(file: str) -> None:
    Path(file).write_text(str(os.getpid()))
    time.sleep(600)


if __name__ == "__main__":
    list(in_order(linger, sys.argv[1:], 2, str))
