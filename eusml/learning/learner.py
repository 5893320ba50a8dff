"""A network in training: what its steps and its measurements run through, as deep as it is now."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from eusml.config import TrainConfig
from eusml.learning.batches import Normalisation
from eusml.learning.captured import Captured
from eusml.learning.fused.twin import FusedTwin, available
from eusml.learning.growth import grow
from eusml.learning.optimizer import DenseOptimizer
from eusml.learning.predict import batched_logits
from eusml.learning.step import TrainingStep
from eusml.learning.together import shared_twin
from eusml.ranks import Ranks
from eusml.runtime import Compute


@dataclass(frozen=True)
class Learner:
    """A network in training and what its steps need."""

    network: nn.Module
    """To be measured and saved."""
    step: TrainingStep
    """Of the network as deep as it is now."""
    take_step: Callable[..., torch.Tensor]
    """The step, captured where one process trains on a CUDA device."""
    answer: Callable[[torch.Tensor], torch.Tensor]
    """Logits of images that are not trained on, likewise."""
    ranks: Ranks

    @classmethod
    def of(
        cls,
        network: nn.Module,
        optimizer: DenseOptimizer,
        normalisation: Normalisation,
        settings: TrainConfig,
        compute: Compute,
        ranks: Ranks,
        epoch: int,
    ) -> "Learner":
        """A network on its device, as deep as in that epoch; all processes must ask, and get rank 0's weights."""
        grow(network, settings, epoch)
        stepped = _stepped(network, settings, compute, ranks)
        return cls._with(
            network, TrainingStep(stepped, optimizer, settings, normalisation, compute, ranks.count), ranks
        )

    @classmethod
    def _with(cls, network: nn.Module, step: TrainingStep, ranks: Ranks) -> "Learner":
        def answer(images: torch.Tensor) -> torch.Tensor:
            return batched_logits(network, images, step.normalisation, step.compute)

        if step.compute.device.type != "cuda" or ranks.count > 1:
            return cls(network, step, step, answer, ranks)
        return cls(network, step, Captured(step, step.stepped), Captured(answer, network), ranks)

    def grown(self, epoch: int) -> "Learner":
        """The learner of an epoch, counted from 1: itself unless the network's depth changes with it."""
        settings, compute = self.step.settings, self.step.compute
        if not grow(self.network, settings, epoch):
            return self
        # A twin is told when it is made which weights there are, and so is what was captured.
        step = replace(self.step, stepped=_stepped(self.network, settings, compute, self.ranks))
        return self._with(self.network, step, self.ranks)


def _stepped(network: nn.Module, settings: TrainConfig, compute: Compute, ranks: Ranks) -> nn.Module:
    """What steps call: the network itself, or a twin around the same weights.

    Where several processes train together, its gradients and batch statistics are those of all of them; on a CUDA
    device it is a faster one.
    """
    if ranks.count > 1:
        return shared_twin(network, ranks, compute.device)
    return FusedTwin(network) if fuses(settings, compute) else network


def fuses(settings: TrainConfig, compute: Compute) -> bool:
    """Whether a training by one process takes the fused kernels."""
    if settings.kernels != "auto" or compute.device.type != "cuda" or not compute.bf16:
        return False
    # Triton knows no bf16 on what came before Ampere. AMD's devices, which torch calls CUDA devices, were not tried.
    return torch.version.hip is None and torch.cuda.get_device_capability(compute.device) >= (8, 0) and available()
