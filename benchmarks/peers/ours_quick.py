"""Ours as `experiments/quick.yaml` sets it: blocks join late, and gain, contrast and tilt are drawn anew, too."""

from math import sqrt

from benchmarks.peers.measuring import ROOT
from benchmarks.peers.ours import settings_of, train_and_save
from benchmarks.peers.work import Record, Work, answer
from eusml.config import load_config


def main(work: Work, record: Record) -> tuple[int, int]:
    """Decode, train and save."""
    quick = load_config(ROOT / "experiments" / "quick.yaml", {}).train
    # The square root rule for Adam: Malladi et al. 2022, arXiv:2205.10287.
    rate = quick.lr * sqrt(work.batch / quick.batch_size)
    own = {"online": quick.online, "shallow_frac": quick.shallow_frac, "lr": rate}
    return train_and_save(work, record, settings_of(work).model_copy(update=own))


if __name__ == "__main__":
    answer(main)
