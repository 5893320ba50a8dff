"""One experiment's settings: frozen, typed, checked strictly; a file in `experiments/` lists what differs."""

from eusml.config.base import ARCHS, Arch, Section
from eusml.config.data import AuditConfig, DataConfig, DicomConfig, PhantomConfig
from eusml.config.loading import flatten, load_config, to_yaml, without_passwords
from eusml.config.promote import PolicyConfig, PromoteConfig
from eusml.config.report import Language, ReportConfig
from eusml.config.sections import (
    OPERATIONS,
    Arm,
    AugmentConfig,
    CalibrateConfig,
    CompareConfig,
    Config,
    EvaluateConfig,
    IntervalMethod,
    Operation,
    PredictConfig,
    ProtocolConfig,
    SplitConfig,
    UiConfig,
)
from eusml.config.space import check_space, tunable_names, with_settings
from eusml.config.training import OnlineConfig, TrainConfig
from eusml.config.tuning import MAXIMISED, Metric, SearchedSetting, TuneConfig

__all__ = [
    "ARCHS",
    "MAXIMISED",
    "OPERATIONS",
    "Arch",
    "Arm",
    "AuditConfig",
    "AugmentConfig",
    "CalibrateConfig",
    "CompareConfig",
    "Config",
    "DataConfig",
    "DicomConfig",
    "EvaluateConfig",
    "IntervalMethod",
    "Language",
    "Metric",
    "OnlineConfig",
    "Operation",
    "PhantomConfig",
    "PolicyConfig",
    "PredictConfig",
    "PromoteConfig",
    "ProtocolConfig",
    "ReportConfig",
    "SearchedSetting",
    "Section",
    "SplitConfig",
    "TrainConfig",
    "TuneConfig",
    "UiConfig",
    "check_space",
    "flatten",
    "load_config",
    "to_yaml",
    "tunable_names",
    "with_settings",
    "without_passwords",
]
