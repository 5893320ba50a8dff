"""The search space against the settings it speaks of, and settings with some of them changed."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from eusml.config.loading import describe, known_names, nearest, set_dotted
from eusml.config.sections import Config
from eusml.errors import ConfigError

_NOT_SEARCHED = frozenset(
    {"train.arch", "train.seed", "train.device", "train.precision", "train.threads", "train.checkpoint_every_s"}
    | {"train.kernels", "train.resident_mib", "train.online", "train.shallow_frac", "augment.seed"}
)
"""What defines an arm, what draws at random, what has nothing to do with a result, and what would make trials stand at
different depths when they are compared at the same epoch, to stop the poor ones."""


def tunable_names() -> list[str]:
    """Every setting that `tune.space` may name."""
    return [
        name
        for name in known_names()
        if (name.startswith(("train.", "augment.")) or name == "data.image_size_px") and name not in _NOT_SEARCHED
    ]


def with_settings(config: Config, values: Mapping[str, Any]) -> Config:
    """The same settings but for some, by dotted name; checked like an experiment file.

    Raises:
        ConfigError: a value is out of range or goes together with no other.
    """
    if not values:
        return config
    tree = config.model_dump(mode="json")
    for name, value in values.items():
        set_dotted(tree, name, value)
    try:
        return Config.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        raise ConfigError(describe(error, "tune.space", {})) from None


def check_space(config: Config) -> None:
    """Refuse a search space that names what there is not, or that reaches out of a setting's range.

    Raises:
        ConfigError: it does, or it is empty.
    """
    space = config.tune.space
    if not space:
        raise ConfigError(
            "tune.space is empty: name at least one setting to search, such as\n"
            "  tune: {space: {train.lr: {low: 1.0e-4, high: 1.0e-2, log: true}}}"
        )
    allowed = tunable_names()
    for name, searched in space.items():
        if name not in allowed:
            near = nearest(name, allowed)
            hint = f"; did you mean {near!r}?" if near else f"; there are {', '.join(allowed)}"
            raise ConfigError(f"tune.space: {name!r} is no setting that can be searched{hint}")
        for value in searched.extremes:
            with_settings(config, {name: value})
    sizes = space.get("data.image_size_px")
    if config.tune.workers > 1 and sizes is not None and sizes.choices is None:
        raise ConfigError(
            f"tune.workers is {config.tune.workers} and tune.space gives data.image_size_px a range; give it choices, "
            "for all sizes are prepared before the workers start"
        )
