"""One training step: from the images of a batch to changed weights."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from eusml.config import TrainConfig
from eusml.learning.batches import Normalisation, augment_online, to_grey
from eusml.learning.fused.twin import FusedTwin
from eusml.learning.optimizer import DenseOptimizer
from eusml.runtime import Compute


@dataclass(frozen=True)
class TrainingStep:
    """What a step is made of. In one process nothing in it waits for the device."""

    stepped: nn.Module
    """What is called: the network itself or a twin around its weights."""
    optimizer: DenseOptimizer
    settings: TrainConfig
    normalisation: Normalisation
    compute: Compute
    processes: int = 1
    """How many train together."""

    def __call__(
        self, images: torch.Tensor, target: torch.Tensor, parameters: torch.Tensor | None = None, *, share: float = 1.0
    ) -> torch.Tensor:
        """Change the weights, by the learning rate that the optimiser was given.

        Args:
            images: uint8 [B, 1, S, S] on the device.
            target: their classes, int64 [B].
            parameters: of their augmentation, float32 [B, 10]; None for none.
            share: which part of the step's images these are, the rest being other processes'; the losses that all of
                them return add up to the mean over the step's images.

        Returns:
            Loss and number of hits, float32 [2] on the device.
        """
        grey = to_grey(images)
        if parameters is not None:
            grey = augment_online(grey, parameters)
        with torch.autocast(self.compute.device.type, torch.bfloat16, enabled=self.compute.bf16):
            logits = self.stepped(self.normalisation(grey))
        loss = share * functional.cross_entropy(logits.float(), target, label_smoothing=self.settings.label_smoothing)
        # Gradients are averaged over the processes, and are to be added up.
        (loss * self.processes).backward()  # type: ignore[no-untyped-call]
        if isinstance(self.stepped, FusedTwin):
            self.stepped.hand_back()
        self.optimizer.apply()
        return torch.stack([loss.detach(), (logits.detach().argmax(1) == target).sum().float()])
