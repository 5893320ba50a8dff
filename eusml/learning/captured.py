"""Work on a CUDA device as CUDA graphs: launching its hundreds of kernels one by one takes longer than these run.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from eusml.learning.model import DropoutLinear


@dataclass(frozen=True)
class _Graph:
    graph: torch.cuda.CUDAGraph
    inputs: list[torch.Tensor]
    """Where the graph reads; the arguments of every call are copied there."""
    result: torch.Tensor
    """Where it writes."""

    def replay(self, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        for static, given in zip(self.inputs, inputs, strict=True):
            static.copy_(given)
        self.graph.replay()
        return self.result.clone()


class Captured:
    """A function of tensors, captured once for every shape of its arguments; whatever else it reads stays where it is.

    The first call with a shape is made as it stands, which also readies what is made at first use; the second is
    captured. Both compute the same bits, so it does not matter where a training that goes on after a kill begins.
    """

    def __init__(self, function: Callable[..., torch.Tensor], network: nn.Module) -> None:
        """Capture nothing yet.

        Args:
            function: waits for nothing, and decides nothing by what tensors hold.
            network: that it calls; what its dropout blanks is drawn anew in every replay.
        """
        self._function, self._network = function, network
        self._graphs: dict[tuple[torch.Size, ...], _Graph | None] = {}
        self._pool: Any = None

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The function's result, in a tensor of the caller's own."""
        shapes = tuple(given.shape for given in inputs)
        if shapes not in self._graphs:
            self._graphs[shapes] = None
            return self._function(*inputs)
        graph = self._graphs[shapes]
        if graph is None:
            graph = self._graphs[shapes] = self._capture(inputs)
        return graph.replay(inputs)

    def _capture(self, inputs: tuple[torch.Tensor, ...]) -> _Graph:
        static = [given.clone() for given in inputs]
        graph = torch.cuda.CUDAGraph()
        if torch.__version__ < "2.14":  # later ones register what they draw from themselves
            for module in self._network.modules():
                if isinstance(module, DropoutLinear) and module.generator is not None:
                    graph.register_generator_state(module.generator)
        # The graphs of a function never run at the same time, and share their memory. Other threads may go on
        # meanwhile: one pins memory.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            result = self._function(*static)
        self._pool = graph.pool()
        return _Graph(graph, static, result)
