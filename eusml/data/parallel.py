"""Work on many items in several processes, in order and with few of them in memory."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TypeVar

from eusml.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")

_WORTH_IT_FROM = 1000
"""Images from which on starting processes, a second each, is worth it."""


class Counted(Iterable[Item]):
    """Something to go through once that knows how many will come, for a bar with the time left."""

    def __init__(self, items: Iterable[Item], size: int) -> None:
        self.items, self.size = items, size

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)


def processes_for(images: int, asked: int | None) -> int:
    """How many processes to use: as asked, or one per core for many images."""
    if asked is not None:
        return asked
    return cores() if images >= _WORTH_IT_FROM else 1


def cores() -> int:
    """Cores that this process may use."""
    # Only Linux tells which those are.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], processes: int, describe: Callable[[Item], str]
) -> Iterator[Result]:
    """`work` of every item, in the order of the items; twice as many as there are processes are ahead at most.

    Args:
        work: a function that can be sent to another process.
        items: what it is called with.
        processes: 1 does everything in this one.
        describe: names an item in the message when its process died.

    Raises:
        DataError: a process was ended by the system, or crashed.
    """
    if processes == 1:
        yield from map(work, items)
        return
    # Spawned and not forked: the parent may hold threads of torch and of OpenCV, whose locks a fork would copy shut.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=begin_helping) as pool:
        asked: deque[Item] = deque()
        answers: deque[Future[Result]] = deque()

        def oldest() -> Result:
            result = answers.popleft().result()
            asked.popleft()
            return result

        try:
            for item in items:
                asked.append(item)
                answers.append(pool.submit(work, item))  # which says it, too, if it comes after a process has died
                if len(answers) >= 2 * processes:
                    yield oldest()
            while answers:
                yield oldest()
        except BrokenProcessPool:
            raise DataError(
                "a process that decodes images was ended by the system, for want of memory or because a file crashed "
                f"a decoder, at {describe(asked[0])} or shortly after; -P data.workers=1 narrows it down"
            ) from None


def begin_helping() -> None:
    """What a process of a pool that works on images does first: it shares the cores with the others."""
    import cv2

    end_with_parent()
    cv2.setNumThreads(1)


def end_with_parent() -> None:
    """Let this process, which `multiprocessing` started, die with the one that did so, even if that one is killed."""
    threading.Thread(target=_die_after_parent, daemon=True).start()


def _die_after_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
