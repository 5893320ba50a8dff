"""Ours as `experiments/quick.yaml` sets it for the phantom: gain, contrast and tilt are drawn anew, too."""

from benchmarks.peers.ours import settings_of, train_and_save
from benchmarks.peers.work import Record, Work, answer

QUICK = {"contrast_frac": 0.2, "brightness": 0.1, "tilt": 0.1}
"""A test holds these equal to the file's."""


def main(work: Work, record: Record) -> tuple[int, int]:
    """Decode, train and save."""
    settings = settings_of(work)
    online = settings.online.model_copy(update=QUICK)
    return train_and_save(work, record, settings.model_copy(update={"online": online}))


if __name__ == "__main__":
    answer(main)
