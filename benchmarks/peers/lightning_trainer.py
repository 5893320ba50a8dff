"""Lightning's Trainer, with torchvision's network, folder and transforms as in its own examples.

Default: fp32 (`32-true`), a DataLoader without processes of its own. Best: `precision="bf16-mixed"`, as many loader
processes as its warning about slow loaders suggests (one less than cores, one at least) and that stay, as its page on
faster training says; channels-last and the fused AdamW, which are torch's advice; for a GPU pinned memory, as the same
page says, and the Trainer's `benchmark`. It copies to a GPU without waiting, and reads no loss unasked. Progress bar,
logger and checkpoints are off in both.
"""

import torch
from lightning.fabric.utilities.data import suggested_max_num_workers
from lightning.pytorch import LightningModule, Trainer, seed_everything
from torch import nn
from torch.utils.data import DataLoader
from torchvision import models

from benchmarks.peers.torch_parts import adamw, image_folder, one_cycle
from benchmarks.peers.work import Record, Work, answer


class Classifier(LightningModule):
    """A ResNet with its loss, optimiser and schedule."""

    def __init__(self, work: Work, record: Record) -> None:
        super().__init__()
        self.work, self.record = work, record
        self.network = getattr(models, work.arch)(num_classes=2)
        self.criterion = nn.CrossEntropyLoss()

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Loss of a batch."""
        images, targets = batch
        if self.work.best:
            images = images.to(memory_format=torch.channels_last)
        loss: torch.Tensor = self.criterion(self.network(images), targets)
        self.record.step(loss.detach(), len(targets))
        return loss

    def on_train_epoch_end(self) -> None:
        """Note the time."""
        self.record.end_epoch()

    def configure_optimizers(self) -> dict[str, object]:
        """AdamW, its rate changed after every step."""
        optimizer = adamw(self.network, self.work)
        schedule = one_cycle(optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def main(work: Work, record: Record) -> tuple[int, int]:
    """Train and save."""
    seed_everything(work.seed)
    workers = work.loader_workers(0, suggested_max_num_workers(1))
    loader = DataLoader(
        image_folder(work),
        work.batch,
        shuffle=True,
        num_workers=workers,
        pin_memory=work.cuda and work.best,
        persistent_workers=workers > 0,
    )
    module = Classifier(work, record)
    if work.best:
        module.to(memory_format=torch.channels_last)
    trainer = Trainer(
        accelerator=work.device,
        devices=1,
        precision="bf16-mixed" if work.bf16 else "32-true",
        benchmark=True if work.best else None,
        max_epochs=work.epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader)
    trainer.save_checkpoint(work.weights, weights_only=True)
    return 3, workers


if __name__ == "__main__":
    answer(main)
