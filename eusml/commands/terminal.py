"""What a person sees while a job runs."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
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
def epoch_bar(times: Sequence[float], what: str) -> Iterator[Callable[[int, str], None]]:
    """The same for a training: call it with the number of the epoch that ended, from 1, and what to say of it.

    Args:
        times: about what each epoch takes, in any unit.
        what: shown before the bar.
    """
    shown = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
    total = sum(times)
    with tqdm(total=total, desc=f"  {what}", bar_format=shown, disable=None, leave=False, dynamic_ncols=True) as bar:

        def ended(epoch: int, said: str) -> None:
            bar.set_postfix_str(f"epoch {epoch}/{len(times)}, {said}", refresh=False)
            bar.update(times[epoch - 1])

        yield ended
