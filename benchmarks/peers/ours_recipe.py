"""Ours as an experiment sets it: blocks join late, and `quick.yaml` draws gain, contrast and tilt anew, too."""

from math import sqrt

from benchmarks.peers.measuring import ROOT
from benchmarks.peers.ours import settings_of, train_and_save
from benchmarks.peers.work import Record, Work, answer
from eusml.config import load_config


def main(work: Work, record: Record) -> tuple[int, int]:
    """Decode, train and save."""
    recipe = load_config(ROOT / "experiments" / work.recipe, {}).train
    # The square root rule for Adam: Malladi et al. 2022, arXiv:2205.10287.
    rate = recipe.lr * sqrt(work.batch / recipe.batch_size)
    online = recipe.online.model_copy(update={"rotation_limit_deg": work.rotation_deg})
    own = {"online": online, "shallow_frac": recipe.shallow_frac, "lr": rate}
    return train_and_save(work, record, settings_of(work).model_copy(update=own))


if __name__ == "__main__":
    answer(main)
