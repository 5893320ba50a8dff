"""What a person sees while a job runs."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm


def say(text: str) -> None:
    """One line, at once, also through a pipe."""
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


def progress(items: Iterable[Any], what: str, unit: str = "image") -> Iterable[Any]:
    """A bar with the time left; nothing where standard error is no terminal."""
    return tqdm(items, desc=f"  {what}", unit=unit, disable=None, leave=False, dynamic_ncols=True)


@contextmanager
def progress_bar(total: int, what: str, unit: str) -> Iterator["tqdm[Any]"]:
    """The same for work that reports by itself: call `.update()` and `.set_postfix_str()`."""
    with tqdm(total=total, desc=f"  {what}", unit=unit, disable=None, leave=False, dynamic_ncols=True) as bar:
        yield bar
