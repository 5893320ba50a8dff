"""The search space in Optuna's terms, and the settings that a trial stands for."""

import json
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from eusml.config import Config, SearchedSetting, flatten
from eusml.errors import ConfigError

Space = Mapping[str, SearchedSetting]


def suggest(trial: optuna.Trial, space: Space, config: Config) -> dict[str, Any]:
    """What this trial tries: dotted name to value."""
    for name, distribution in distributions(space, config).items():
        match distribution:
            case FloatDistribution(low=low, high=high, log=log):
                trial.suggest_float(name, low, high, log=log)
            case IntDistribution(low=low, high=high, log=log):
                trial.suggest_int(name, low, high, log=log)
            case CategoricalDistribution(choices=choices):
                trial.suggest_categorical(name, choices)
    return values_of(trial.params, space)


def distributions(space: Space, config: Config) -> dict[str, BaseDistribution]:
    """Dotted name to what Optuna draws it from; whole numbers where the setting is one."""
    now = flatten(config)
    found: dict[str, BaseDistribution] = {}
    for name, searched in sorted(space.items()):
        if searched.choices is not None:
            found[name] = CategoricalDistribution([_label(choice) for choice in searched.choices])
            continue
        assert searched.low is not None
        assert searched.high is not None
        if isinstance(now[name], int):
            found[name] = IntDistribution(int(searched.low), int(searched.high), log=searched.log)
        else:
            found[name] = FloatDistribution(float(searched.low), float(searched.high), log=searched.log)
    return found


def starting_point(space: Space, config: Config) -> dict[str, Any]:
    """The settings as they stand, as parameters of the first trial.

    Raises:
        ConfigError: one of them lies outside the space; tuning could then end below where it began.
    """
    now = flatten(config)
    found: dict[str, Any] = {}
    for name, distribution in distributions(space, config).items():
        value = _label(now[name])
        if not _holds(distribution, value):
            raise ConfigError(
                f"tune.space: {name} is {json.dumps(now[name])} as things stand, which its space does not hold. The "
                "first trial is the setting as it stands, so that tuning never ends below it: widen the space, or "
                "change the setting"
            )
        found[name] = value
    return found


def values_of(params: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """The settings behind a trial's parameters; choices that are lists have a name of text in Optuna."""
    return {name: _value(space[name], param) for name, param in params.items()}


def _value(searched: SearchedSetting, param: Any) -> Any:
    if searched.choices is None:
        return param
    return next(choice for choice in searched.choices if _same(_label(choice), param))


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return any(_same(choice, value) for choice in distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return bool(distribution.low <= value <= distribution.high)


def _same(a: Any, b: Any) -> bool:
    """Not by == alone: 1 and True are equal, and are two choices."""
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _label(value: Any) -> Any:
    """As Optuna can store a choice: a list as its JSON text."""
    return json.dumps(list(value)) if isinstance(value, list | tuple) else value
