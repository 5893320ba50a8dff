"""An entry point under `torchrun`: what rank 0 does when it ends, and what when it fails."""

import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from eusml.commands import led
from eusml.config import Config, load_config
from eusml.errors import DataError
from eusml.learning import together
from eusml.learning.model import empty_network
from eusml.ranks import Ranks

ENTRY = "eusml.commands.made_up"


@contextmanager
def connected() -> Iterator[Ranks]:
    yield Ranks(0, 2)


@pytest.fixture
def dismissed(monkeypatch: pytest.MonkeyPatch) -> list[Ranks]:
    """This process as rank 0 of two; filled when the other is dismissed."""
    found: list[Ranks] = []
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(led, "_share_cores", lambda: None)
    monkeypatch.setattr(led, "together", connected)
    monkeypatch.setattr(led, "dismiss", found.append)
    return found


def lead(run: Callable[[Config], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run it as an entry point."""
    module = types.ModuleType(ENTRY)
    monkeypatch.setattr(module, "run", run, raising=False)
    monkeypatch.setitem(sys.modules, ENTRY, module)
    led.run_together(ENTRY.rpartition(".")[2], load_config(None, {"train.device": "cpu"}))


def test_the_others_are_dismissed_at_the_end(dismissed: list[Ranks], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Config] = []
    lead(seen.append, monkeypatch)
    assert len(seen) == 1
    assert dismissed == [Ranks(0, 2)]


@pytest.mark.parametrize(
    ("processes", "said", "threads"), [(2, "1", [8]), (3, None, [5]), (32, "1", [1]), (2, "6", []), (1, None, [])]
)
def test_processes_of_one_machine_share_its_cores_unless_somebody_said_otherwise(
    processes: int, said: str | None, threads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchrun says 1 where nobody did, and nothing to a single process."""
    found: list[int] = []
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    monkeypatch.setattr(led, "cores", lambda: 16)
    monkeypatch.setattr(torch, "set_num_threads", found.append)
    led._share_cores()
    assert found == threads


@pytest.mark.parametrize(("error", "others"), [(DataError("no such file"), [Ranks(0, 2)]), (RuntimeError("a bug"), [])])
def test_an_error_for_the_user_dismisses_the_others_and_any_other_may_have_come_up_within_a_step(
    error: Exception, others: list[Ranks], dismissed: list[Ranks], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Config) -> None:
        raise error

    with pytest.raises(type(error), match=str(error)):
        lead(fail, monkeypatch)
    assert dismissed == others


@pytest.mark.slow
def test_what_fails_in_rank_0_alone_within_a_step_ends_all() -> None:
    """The others wait for its gradients; torchrun learns of it by its death."""
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "-m", "tests.led_worker"],
        env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode != 0
    assert "RuntimeError: only here" in done.stderr


def test_torch_before_2_13_sends_statistics_in_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    class Before:
        def __init__(self, module: torch.nn.Module, broadcast_buffers: bool = True) -> None:
            self.broadcast_buffers = broadcast_buffers

    monkeypatch.setattr(torch.nn.parallel, "DistributedDataParallel", Before)
    twin = together.shared_twin(empty_network("resnet34", 1), Ranks(0, 2), torch.device("cpu"))
    assert isinstance(twin, Before)
    assert twin.broadcast_buffers
