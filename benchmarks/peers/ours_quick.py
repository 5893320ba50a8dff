"""Ours as `experiments/quick.yaml` sets it for the phantom: gain, contrast and tilt are drawn anew, too."""

from benchmarks.peers.measuring import ROOT
from benchmarks.peers.ours import settings_of, train_and_save
from benchmarks.peers.work import Record, Work, answer
from eusml.config import load_config


def main(work: Work, record: Record) -> tuple[int, int]:
    """Decode, train and save."""
    online = load_config(ROOT / "experiments" / "quick.yaml", {}).train.online
    return train_and_save(work, record, settings_of(work).model_copy(update={"online": online}))


if __name__ == "__main__":
    answer(main)
