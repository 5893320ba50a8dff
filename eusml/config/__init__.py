"""One experiment's settings: frozen, typed, checked strictly; a file in `experiments/` lists what differs."""

from eusml.config.base import Section
from eusml.config.data import AuditConfig, DataConfig, DicomConfig, PhantomConfig
from eusml.config.loading import flatten, load_config, to_yaml
from eusml.config.sections import (
    ARCHS,
    OPERATIONS,
    Arch,
    Arm,
    AugmentConfig,
    CompareConfig,
    Config,
    EvaluateConfig,
    IntervalMethod,
    OnlineConfig,
    Operation,
    PromoteConfig,
    SplitConfig,
    TrainConfig,
)

__all__ = [
    "ARCHS",
    "OPERATIONS",
    "Arch",
    "Arm",
    "AuditConfig",
    "AugmentConfig",
    "CompareConfig",
    "Config",
    "DataConfig",
    "DicomConfig",
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
