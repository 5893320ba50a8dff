"""Processes that train one network together, started by `torchrun`: who they are and what they tell each other.

The only user of `torch.distributed`. Rank 0 leads: it alone reads settings and data, and writes runs and files. The
others wait for a training to take part in, and are handed what they need for it; nothing is shared but the connection.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import torch

from eusml.errors import EusmlError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The others wait while rank 0 decodes a cohort. Who died meanwhile is for torchrun's agent to find out, and it does; a
# machine that fell silent without closing its connections is waited for as long.
_PATIENCE = timedelta(days=30)
_PIECE = 2**26
"""Bytes that are sent at once."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; alone, it is rank 0 of 1."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that reads and writes."""
        return self.rank == 0

    def part(self, batch: "NDArray[np.int64]") -> "NDArray[np.int64]":
        """This process's samples of a batch; parts differ by one at most."""
        return batch if self.count == 1 else np.array_split(batch, self.count)[self.rank]

    def add(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, in place."""
        if self.count > 1:
            torch.distributed.all_reduce(values)
        return values

    def agree(self, proposal: bool) -> bool:
        """What rank 0 proposes; all must ask at the same point."""
        if self.count == 1:
            return proposal
        return bool(self.broadcast(np.array([proposal], np.uint8), 1)[0])

    def broadcast(self, sent: "NDArray[np.uint8] | None", size: int) -> "NDArray[np.uint8]":
        """What rank 0 sends, uint8 [size], to all; the others give None or anything."""
        data = np.empty(size, np.uint8)
        if self.leads:
            assert sent is not None
            assert sent.size == size
            data = sent.reshape(-1)
        for start in range(0, size, _PIECE):
            piece = torch.from_numpy(data[start : start + _PIECE])
            torch.distributed.broadcast(piece, src=0)
        return data

    def broadcast_bytes(self, sent: bytes | None) -> bytes:
        """What rank 0 sends, of any length."""
        length = np.array([len(sent or b"")], np.int64).view(np.uint8)
        size = int(self.broadcast(length, 8).view(np.int64)[0])
        return self.broadcast(np.frombuffer(sent or b"", np.uint8).copy() if self.leads else None, size).tobytes()


def current() -> Ranks:
    """This process's place among those that `together` has connected."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return Ranks()
    return Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size())


def each_has_a_device() -> bool:
    """Whether there is a CUDA device for each of the processes that `torchrun` started on this machine."""
    return torch.cuda.device_count() >= int(os.environ["LOCAL_WORLD_SIZE"])


@contextmanager
def together() -> Iterator[Ranks]:
    """Connect to the others that `torchrun` started: gloo between hosts' memories, NCCL between CUDA devices."""
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    cuda = each_has_a_device()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    store, rank, count = next(rendezvous("env://", timeout=_PATIENCE))
    # torchrun may give every start of its processes the same store, where the dead ones' addresses still stand
    # (pytorch/pytorch#135712, #167288).
    start = PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    backends = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    torch.distributed.init_process_group(backends, store=start, rank=rank, world_size=count, timeout=_PATIENCE)
    try:
        yield current()
    except EusmlError:
        torch.distributed.destroy_process_group()  # raised where all are in step
        raise
    # Not after any other error: NCCL would wait for the others, who wait for this process, and torchrun for its death.
    torch.distributed.destroy_process_group()
