"""One experiment's settings: frozen, typed, checked strictly; a file in `experiments/` lists what differs."""

from eusml.config.loading import flatten, load_config, to_yaml
from eusml.config.sections import (
    ARCHS,
    OPERATIONS,
    Arch,
    Arm,
    AugmentConfig,
    Config,
    DataConfig,
    EvaluateConfig,
    IntervalMethod,
    OnlineConfig,
    Operation,
    PhantomConfig,
    PromoteConfig,
    Section,
    SplitConfig,
    TrainConfig,
)

__all__ = [
    "ARCHS",
    "OPERATIONS",
    "Arch",
    "Arm",
    "AugmentConfig",
    "Config",
    "DataConfig",
    "EvaluateConfig",
    "IntervalMethod",
    "OnlineConfig",
    "Operation",
    "PhantomConfig",
    "PromoteConfig",
    "Section",
    "SplitConfig",
    "TrainConfig",
    "flatten",
    "load_config",
    "to_yaml",
]
