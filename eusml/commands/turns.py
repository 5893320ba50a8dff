"""Whether networks are asked about images as they learn them: turned, or as they stand."""

from collections.abc import Mapping

from eusml.commands.terminal import say
from eusml.config import Config

_QUARTER_DEG = 90.0


def say_of_unlearnt_turns(arms: Mapping[str, Config]) -> None:
    """Say which networks will be asked about quarter turns and learn from images that all stand upright.

    Before anything is searched or trained: inner folds are asked as the reported cases are.
    """
    for arm, config in arms.items():
        if config.evaluate.views >= 4 and not _learns_turns(config):
            say(
                f"  {arm} will be asked about quarter turns (evaluate.views={config.evaluate.views}), and learns from "
                "images that are not turned that far: evaluate.views=1 or 2 would fit"
            )


def _learns_turns(config: Config) -> bool:
    """Whether images stand any way up in training, by either augmentation."""
    online, offline = config.train.online, config.augment
    is_drawn = online.enabled and online.rotation_limit_deg >= _QUARTER_DEG
    has_copies = config.train.offline and "rotation" in offline.operations
    return is_drawn or (has_copies and offline.rotation_limit_deg >= _QUARTER_DEG)
