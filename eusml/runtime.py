"""The machine a job runs on: device, precision, threads, and what must match for a result to repeat."""

import ctypes
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Literal

import torch

from eusml.errors import TrainingError

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_DEFAULT_MMAP_MAX = 65536
_NEVER = 2**31 - 1
_TRIM_THRESHOLD, _MMAP_THRESHOLD = 64 << 20, 32 << 20
"""The most that glibc's own, moving thresholds come to; they move no more once one was set."""


@dataclass(frozen=True)
class Compute:
    """Where and how arithmetic is done."""

    device: torch.device
    bf16: bool
    """Matrix products and convolutions in bfloat16 under autocast; weights and optimiser stay fp32."""

    @property
    def precision(self) -> str:
        """`bf16` or `fp32`."""
        return "bf16" if self.bf16 else "fp32"

    def describe(self) -> str:
        """One phrase for logs: `cpu (x86_64, 2 threads), fp32`."""
        if self.device.type == "cuda":
            return f"cuda ({torch.cuda.get_device_name(self.device)}), {self.precision}"
        return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads), {self.precision}"


def choose_compute(device: Literal["auto", "cpu", "cuda"], precision: Literal["auto", "fp32", "bf16"]) -> Compute:
    """Pick device and precision.

    Raises:
        TrainingError: CUDA was asked for and torch sees none.
    """
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise TrainingError("train.device is cuda, but torch sees no CUDA device; use auto or cpu")
    chosen = torch.device("cuda" if device != "cpu" and has_cuda else "cpu")
    native = torch.cuda.is_bf16_supported(including_emulation=False) if chosen.type == "cuda" else _cpu_has_bf16()
    return Compute(chosen, bf16=precision == "bf16" or (precision == "auto" and native))


def make_deterministic(threads: int | None) -> None:
    """Ask torch for kernels whose result repeats from run to run on one machine.

    The number of CPU threads decides the order of some sums, so it belongs to the setting; None is torch's usual
    number, whatever a training before had.
    """
    usual = _usual_threads()
    torch.set_num_threads(threads or usual)
    # cuBLAS repeats its sums only in a workspace of a fixed size, and torch refuses it in any other.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Not `use_deterministic_algorithms`, which does the same and imports all of the compiler, for 5 seconds.
    torch.set_deterministic_debug_mode("error")
    # With it every new tensor is filled with NaN, in case someone reads it unwritten: 5 % of a training on the CPU.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    # fp32 is fp32: TF32 would round what goes into products to 10 bits, which is bf16's business here.
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.fp32_precision = "ieee"


@cache
def _usual_threads() -> int:
    """As torch chose, or whoever set their number before this was first asked."""
    return torch.get_num_threads()


@contextmanager
def kept_memory() -> Iterator[None]:
    """Let glibc keep the memory of freed tensors, for the next training step asks for the same again.

    By default it takes that of every large tensor from the kernel, page by page, each zeroed first, and gives it back
    with the tensor: 363,000 page faults in a step of ResNet-50 at 224 px. What was kept is given back at the end. With
    another C library this does nothing. Source: mallopt(3).
    """
    libc = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
    if libc is None:
        yield
        return
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        libc.mallopt(_M_MMAP_MAX, _DEFAULT_MMAP_MAX)
        libc.mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD)
        libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)
        libc.malloc_trim(0)


def machine_key(compute: Compute) -> str:
    """What must be equal for weights to be bit-identical: versions of the arithmetic, device, precision, threads."""
    parts: Sequence[str] = (
        f"torch {version('torch')}",
        f"torchvision {version('torchvision')}",
        f"numpy {version('numpy')}",
        torch.backends.cpu.get_cpu_capability(),
        compute.describe(),
    )
    return "; ".join(parts)


def _cpu_has_bf16() -> bool:
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
