"""What is reported, as it was read from the store: plain tables and values, nothing computed yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from eusml.config import EvaluateConfig
from eusml.data.findings import Finding, FlowStep
from eusml.evaluation.comparison import PairedResult
from eusml.sentences import Sentence


@dataclass(frozen=True)
class Failure:
    """One case that a network got wrong, with its picture, which may be shown."""

    case_id: str
    y_true: int
    y_score: float
    picture: bytes
    """PNG, with what the network looked at (Grad-CAM) in colour."""


@dataclass(frozen=True)
class Arm:
    """One network and all that was measured on it."""

    name: str
    arch: str
    run_id: str
    """Evaluation run of its reported cases."""
    train_run_id: str
    protocol: str
    """`holdout`, or the cross-validation that the figures on `test` are estimated by."""
    train: Mapping[str, Any]
    """Settings of its training by dotted name without `train.`."""
    metrics: Mapping[str, Mapping[str, float]]
    """Partition to run metrics without the partition's name: `sensitivity`, `sensitivity_ci_low`, `tp`, …"""
    tables: Mapping[str, pd.DataFrame]
    """Partition to columns measure, value, ci_low, ci_high, count, total, method."""
    run_ids: Mapping[str, str]
    """Partition to the run that holds its metrics."""
    predictions: Mapping[str, pd.DataFrame]
    """Partition to columns case_id, patient_id, y_true, y_score, y_pred, and fold and repeat when cross-validated."""
    cases: Mapping[str, pd.DataFrame]
    """Partition to what is known of its cases; partitions of which nothing is known are absent."""
    history: pd.DataFrame
    """Columns epoch, train_loss, train_accuracy, test_loss, test_accuracy, seconds, …"""
    failures: Mapping[str, Sequence[Failure]] = field(default_factory=dict)
    """Partition to its worst errors; partitions whose pictures may not be shown are absent."""
    folds: pd.DataFrame | None = None
    """Measures by fold, when cross-validated."""
    temperature: float | None = None
    compute: str = ""
    """Device and precision."""
    digests: Mapping[str, str] = field(default_factory=dict)
    commit: str = "unknown"


@dataclass(frozen=True)
class Study:
    """What one trial of settings after another found, of one arm."""

    name: str
    run_id: str
    trials: pd.DataFrame
    best: Mapping[str, Any]


@dataclass(frozen=True)
class Contents:
    """Everything that a report may say."""

    name: str
    run_ids: Sequence[str]
    """What was asked for: the pipeline run, or the evaluation runs."""
    started: str
    """Day and time at which the first of them began, UTC."""
    source: str
    synthetic: bool
    settings: Mapping[str, Any]
    """All settings by dotted name."""
    evaluate: EvaluateConfig
    """How it was measured."""
    arms: Sequence[Arm]
    methods: Mapping[str, Sentence] = field(default_factory=dict)
    """English text of a method, as tables have it, to its sentence."""
    manifest: pd.DataFrame | None = None
    """All cases that are studied, with their covariates; None where the run that read them is not known."""
    split: pd.DataFrame | None = None
    """Columns case_id and partition, or repeat_1, … with the fold in which a case is held out."""
    flow: Sequence[FlowStep] = ()
    """Found, excluded and why, kept; empty where it is not known."""
    findings: Sequence[Finding] | None = None
    """None where no audit is known."""
    augmentation: bytes | None = None
    """PNG; None where pictures may not be shown."""
    augmented: Mapping[str, float] = field(default_factory=dict)
    """Numbers of training images before and after."""
    comparison: pd.DataFrame | None = None
    """Columns part, arm, measure, value, ci_low, ci_high, count, total, method; baselines end in `, no image`."""
    pairs: Mapping[str, Sequence[PairedResult]] = field(default_factory=dict)
    by_fold: pd.DataFrame | None = None
    studies: Sequence[Study] = ()
    decision: Mapping[str, Any] | None = None
    stages: pd.DataFrame | None = None
    """Columns label, run_id, reused, seconds."""
    environment: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    commit: str = "unknown"
    changed: str = "unknown"
    """Whether the working tree differed from the commit."""

    def method(self, text: str) -> str:
        """How an interval was made, as its sentence where that is known."""
        return self.methods.get(text, text)

    @property
    def classes(self) -> tuple[str, str]:
        """Names of the negative and the positive class."""
        positive = str(self.settings.get("data.positive_class", "positive"))
        if self.manifest is None:
            return f"not {positive}", positive
        named = self.manifest.groupby("y_true")["label"].first()
        return str(named.get(0, f"not {positive}")), str(named.get(1, positive))

    @property
    def is_eus(self) -> bool:
        """Whether this is the study's own question, so that its figures and those of its field are of use."""
        return self.classes[1].casefold() == "gist"

    @property
    def cross_validated(self) -> bool:
        """Whether `test` is all cases, each out of fold."""
        return any(arm.protocol != "holdout" for arm in self.arms)

    @property
    def parts(self) -> list[str]:
        """Partitions that are reported, in order."""
        return [part for part in ("test", "fresh") if any(part in arm.tables for arm in self.arms)]

    @property
    def primary(self) -> str:
        """The partition that the title figures are of."""
        return self.parts[0] if self.parts else "val"
