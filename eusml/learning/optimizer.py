"""AdamW and SGD on weights in the order in which they lie in memory.

Filters are channels-last. torch's fused optimisers take that for scattered memory, and copy weights, gradients and
moments to another order and back in every step. The same memory under a permuted shape is dense, so this is what the
optimiser is given; it works element by element, so its results are the same bits.

What changes the weights is torch's own functional form of its optimisers. Their classes import torch's compiler when
they are made, which takes two to three seconds, and nothing here compiles.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from eusml.config import TrainConfig

_BETAS, _EPS = (0.9, 0.999), 1e-8
"""torch's defaults, which are those of Kingma & Ba 2015, arXiv:1412.6980."""


@dataclass
class _Weights:
    """A parameter, and all that its changes depend on."""

    parameter: nn.Parameter
    dense: torch.Tensor
    """Its memory."""
    steps: torch.Tensor
    """How often AdamW changed it; float32, as torch's kernels want it, on the weights' device."""
    moments: tuple[torch.Tensor, ...] = ()
    """AdamW's first and second, or SGD's momentum, shaped as `dense`; none before the first change."""


class DenseOptimizer:
    """The optimiser that the settings name, over all parameters of a network.

    Weight decay is on matrices and filters only: shrinking biases and normalisation scales gains nothing.
    """

    def __init__(self, network: nn.Module, settings: TrainConfig) -> None:
        self._settings = settings
        dense = [(parameter, _dense(parameter.detach())) for parameter in network.parameters()]
        self._all = [_Weights(parameter, memory, torch.zeros((), device=memory.device)) for parameter, memory in dense]
        device = self._all[0].dense.device
        # A number would be written into a captured step (`captured.py`) as it was then.
        self._rate = torch.tensor(settings.lr, device=device) if device.type == "cuda" else settings.lr

    def step(self, lr: float) -> None:
        """Change the weights by the gradients that are there, and forget these; weights that ask for none stay."""
        self.set_rate(lr)
        self.apply()

    def set_rate(self, lr: float) -> None:
        """The learning rate from now on."""
        if isinstance(self._rate, torch.Tensor):
            self._rate.fill_(lr)
        else:
            self._rate = lr

    def apply(self) -> None:
        """The step at the rate that was set last."""
        asked = [weights for weights in self._all if weights.parameter.requires_grad]
        self._change([weights for weights in asked if weights.dense.ndim > 1], self._settings.weight_decay)
        self._change([weights for weights in asked if weights.dense.ndim <= 1], 0.0)

    def state_dict(self) -> dict[str, list[Any]]:
        """Counters, and moments of each parameter, for a training state; not copied."""
        return {
            "steps": [weights.steps for weights in self._all],
            "moments": [list(weights.moments) for weights in self._all],
        }

    def load_state_dict(self, state: dict[str, list[Any]]) -> None:
        """Take over what `state_dict` gave."""
        for weights, steps, moments in zip(self._all, state["steps"], state["moments"], strict=True):
            weights.steps.copy_(steps)
            weights.moments = tuple(moment.to(weights.dense.device, copy=True) for moment in moments)

    def _change(self, group: list[_Weights], weight_decay: float) -> None:
        if not group:
            return
        is_sgd, grads = self._settings.optimizer == "sgd", []
        for weights in group:
            assert weights.parameter.grad is not None
            grads.append(_dense(weights.parameter.grad))
            weights.parameter.grad = None
            if not weights.moments:
                weights.moments = tuple(torch.zeros_like(weights.dense) for _ in range(1 if is_sgd else 2))
        dense = [weights.dense for weights in group]
        first = [weights.moments[0] for weights in group]
        if is_sgd:
            # Moments begin as zeros, which is what torch's class makes of its first step.
            sgd(
                dense, grads, [*first], fused=True,
                weight_decay=weight_decay, momentum=self._settings.momentum, lr=self._rate,
                dampening=0.0, nesterov=False, maximize=False,
            )  # fmt: skip
            return
        second, steps = [weights.moments[1] for weights in group], [weights.steps for weights in group]
        adamw(
            dense, grads, first, second, [], steps, fused=True, capturable=isinstance(self._rate, torch.Tensor),
            amsgrad=False, beta1=_BETAS[0], beta2=_BETAS[1], lr=self._rate, weight_decay=weight_decay, eps=_EPS,
            maximize=False,
        )  # fmt: skip


def _dense(weights: torch.Tensor) -> torch.Tensor:
    """The same memory, filters as [O, H, W, C]."""
    return weights.permute(0, 2, 3, 1) if weights.ndim == 4 else weights
