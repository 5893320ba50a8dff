"""AdamW and SGD on weights in the order in which they lie in memory.

Filters are channels-last. torch's fused optimisers take that for scattered memory, and copy weights, gradients and
moments to another order and back in every step. The same memory under a permuted shape is dense, so this is what the
optimiser is given; it works element by element, so its results are the same bits.
"""

from typing import Any

import torch
from torch import nn

from eusml.config import TrainConfig


class DenseOptimizer:
    """The optimiser that the settings name, over all parameters of a network.

    Weight decay is on matrices and filters only: shrinking biases and normalisation scales gains nothing.
    """

    def __init__(self, network: nn.Module, settings: TrainConfig) -> None:
        self._parameters = list(network.parameters())
        self._dense = [nn.Parameter(_dense(parameter.detach())) for parameter in self._parameters]
        groups = [
            {"params": [dense for dense in self._dense if dense.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [dense for dense in self._dense if dense.ndim <= 1], "weight_decay": 0.0},
        ]
        device = self._dense[0].device
        # A number would be written into a captured step (`captured.py`) as it was then.
        self._rate = torch.tensor(settings.lr, device=device) if device.type == "cuda" else None
        self._optimizer: torch.optim.Optimizer
        if settings.optimizer == "adamw":
            self._optimizer = torch.optim.AdamW(groups, lr=settings.lr, fused=True, capturable=self._rate is not None)
        else:
            self._optimizer = torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, fused=True)
            # Zero is what torch begins with, too, but it cannot when only some of the weights begin (`growth.py`).
            for dense in self._dense:
                self._optimizer.state[dense]["momentum_buffer"] = torch.zeros_like(dense)

    def step(self, lr: float) -> None:
        """Change the weights by the gradients that are there, and forget these; weights that ask for none stay."""
        self.set_rate(lr)
        self.apply()

    def set_rate(self, lr: float) -> None:
        """The learning rate from now on."""
        if self._rate is not None:
            self._rate.fill_(lr)
        for group in self._optimizer.param_groups:
            group["lr"] = lr if self._rate is None else self._rate

    def apply(self) -> None:
        """The step at the rate that was set last."""
        for parameter, dense in zip(self._parameters, self._dense, strict=True):
            if parameter.requires_grad:
                assert parameter.grad is not None
                dense.grad = _dense(parameter.grad)
                parameter.grad = None
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Moments and counters, for a training state."""
        return self._optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._optimizer.load_state_dict(state)


def _dense(weights: torch.Tensor) -> torch.Tensor:
    """The same memory, filters as [O, H, W, C]."""
    return weights.permute(0, 2, 3, 1) if weights.ndim == 4 else weights
