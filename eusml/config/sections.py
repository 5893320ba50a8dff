"""Every setting with its type, range, unit and default; one class per stage. Defaults live here and nowhere else.

Those of the data, of training, of tuning, of promotion and of the report have files of their own.
"""

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from eusml.config.base import Arch, Fraction, Section, Seed
from eusml.config.data import DataConfig
from eusml.config.promote import PromoteConfig
from eusml.config.report import ReportConfig
from eusml.config.training import TrainConfig
from eusml.config.tuning import TuneConfig

Operation = Literal["rotation", "flip", "clahe", "log", "sigmoid"]
IntervalMethod = Literal["adjusted_wald", "wilson", "clopper_pearson", "wald"]

OPERATIONS: tuple[Operation, ...] = get_args(Operation)


class SplitConfig(Section):
    """The hold-out: stratified per class, grouped by patient, made before any augmentation."""

    test_frac: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Share of each class that is held out, when `folds` is not given."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Hold out one of this many folds instead of `test_frac`."""
    fold: Annotated[int, Field(ge=0)] = 0
    """Which fold is held out, from 0; only with `folds` or `published`."""
    published: bool = False
    """Hold out a fold that came with the data (GIST514-DB's five) exactly as it is. Training images that show what an
    image of that fold shows are left out, for nobody made those folds with that in mind."""
    seed: Seed = 0
    """Seed of the draw."""

    @model_validator(mode="after")
    def _fold_exists(self) -> "SplitConfig":
        if self.published:
            if self.folds is not None:
                raise ValueError("published folds come with the data; folds makes new ones: give one of them")
            return self
        if self.fold >= (self.folds or 1):
            raise ValueError(f"fold {self.fold} does not exist: folds is {self.folds}, folds count from 0")
        return self


class ProtocolConfig(Section):
    """How a result is come by."""

    kind: Literal["holdout", "nested_cv"] = "holdout"
    """`holdout`, the study's: one partition is held out, as `split` says. `nested_cv`: every case is held out once in
    every repeat, each network tuned without the cases that it is asked about, and a last one is made of all cases."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Outer folds of `nested_cv`; with `split.published` they are those that came with the data."""
    repeats: Annotated[int, Field(ge=1)] = 1
    """How many times the outer folds are drawn anew."""
    seed: Seed = 0
    """Seed of the outer folds."""


def _each_once(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    twice = sorted({operation for operation in operations if operations.count(operation) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} stands more than once; each operation makes one copy")
    return operations


class AugmentConfig(Section):
    """The study's off-line expansion: each operation adds one copy of every training image."""

    operations: Annotated[tuple[Operation, ...], AfterValidator(_each_once)] = OPERATIONS
    """Operations, one copy each, in this order."""
    rotation_limit_deg: Annotated[float, Field(ge=0.0, le=180.0)] = 180.0
    """Angles are drawn uniformly from ± this, degrees."""
    clahe_clip_limit: Annotated[float, Field(ge=1.0, le=40.0)] = 2.0
    """Contrast limit of CLAHE; 2 is nearest to scikit-image's default."""
    log_gain: Annotated[float, Field(gt=0.0, le=10.0)] = 1.0
    """Gain of the log contrast O = gain · log2(1 + I)."""
    sigmoid_cutoff: Fraction = 0.5
    """Grey level (0-1) that the sigmoid contrast maps to one half."""
    sigmoid_gain: Annotated[float, Field(gt=0.0, le=50.0)] = 10.0
    """Slope of the sigmoid contrast."""
    seed: Seed = 0
    """Seed of the drawn angles and flips."""


class CalibrateConfig(Section):
    """How the probabilities of a model that is kept are calibrated, on cases that it was not trained on."""

    cases: Literal["inner_folds", "val", "none"] = "inner_folds"
    """`inner_folds`: every training case is answered by a network that was trained on the other folds, which costs that
    many trainings more; `val`: the further cases that choices are made on, which only the phantom brings. In nested
    cross-validation it is the outer folds that answer, whatever stands here but `none`."""
    folds: Annotated[int, Field(ge=2)] = 3
    """Inner folds of the training partition, stratified, patients whole."""
    seed: Seed = 0
    """Seed of the folds."""


class EvaluateConfig(Section):
    """What is computed on the reported cases."""

    threshold: Fraction = 0.5
    """A case counts as positive when its probability is at least this; fixed beforehand, not tuned."""
    views: Literal[1, 2, 4, 8] = 1
    """Average the probabilities of the image in this many orientations: as it is (1) and mirrored left to right (2),
    its quarter turns (4) and these mirrored (8). The clock angle of an EUS probe is arbitrary, so no orientation is the
    right one; that of a probe on the skin is not: 1 or 2. Costs as many passes."""
    interval: IntervalMethod = "adjusted_wald"
    """Interval that goes with every proportion; the other three are tabled beside it."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Nominal coverage of every interval."""
    bootstrap_samples: Annotated[int, Field(ge=100)] = 2000
    """Patient-wise resamples behind the intervals of measures that are neither proportions nor AUROC."""


def _several_each_once(runs: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({run for run in runs if runs.count(run) > 1})
    if twice:
        raise ValueError(f"run {', '.join(twice)} stands more than once; a run is compared with others")
    if len(runs) == 1:
        raise ValueError(f"run {runs[0]} stands alone; name two or more to compare")
    return runs


class CompareConfig(Section):
    """What is compared."""

    runs: Annotated[tuple[str, ...], AfterValidator(_several_each_once)] = ()
    """MLflow ids of two or more evaluation runs on the same cases, from the store; none means the experiment's arms.
    Only the entry point `compare` reads it."""


class PredictConfig(Section):
    """Asking a registered model about images; only the entry point `predict` reads it."""

    images: Path | None = None
    """A folder of images, or a CSV with a column `image` (relative to it), optionally `case_id` and a box."""
    model: Annotated[str, Field(pattern=r"^models:/.+")] = "models:/eusml-resnet34@champion"
    """Address of the model in the registry: `models:/NAME@ALIAS` or `models:/NAME/VERSION`."""
    output: Path = Path("predictions")
    """Folder for `predictions.csv` and `contact_sheet.html`; pictures and names of files go nowhere else."""
    error_rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """Share of cases of each class whose prediction set may lack it."""
    explain: bool = True
    """Show in the contact sheet where the network looked."""


class UiConfig(Section):
    """MLflow's own UI; only the entry point `ui` reads it."""

    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port on 127.0.0.1; by default one that is free."""


class Arm(Section):
    """One network of the study; what is left out stands as in `train`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name under which the arm appears in runs, tables and figures."""
    arch: Arch | None = None
    offline: bool | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None


class Config(Section):
    """A whole experiment."""

    name: Annotated[str, Field(min_length=1)] = "experiment"
    """Shown as the name of the pipeline run."""
    data: DataConfig = DataConfig()
    protocol: ProtocolConfig = ProtocolConfig()
    split: SplitConfig = SplitConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()
    tune: TuneConfig = TuneConfig()
    arms: tuple[Arm, ...] = ()
    """Networks that `main`, `compare` and `promote` work on; none means the one that `train` describes."""
    calibrate: CalibrateConfig = CalibrateConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    compare: CompareConfig = CompareConfig()
    promote: PromoteConfig = PromoteConfig()
    report: ReportConfig = ReportConfig()
    predict: PredictConfig = PredictConfig()
    ui: UiConfig = UiConfig()
    networks_at_once: Annotated[int, Field(ge=1)] = 1
    """Networks of folds that are made at once, each in a process of its own with its share of the CPU's threads, and
    their studies by one worker each. Every process takes 1 GB of memory for small images, up to 5 for ResNet-50 at 224
    pixels. What is made is the same, but for rounding by the number of threads."""
    work_dir: Path = Path("work")
    """Prepared images and training states; safe to delete, everything in it can be made again."""

    @model_validator(mode="after")
    def _protocol_is_sound(self) -> "Config":
        if self.protocol.kind == "nested_cv" and self.split.published and self.protocol.repeats > 1:
            raise ValueError("published folds are drawn once: protocol.repeats must be 1 with split.published")
        return self

    @model_validator(mode="after")
    def _arms_are_sound(self) -> "Config":
        names = [arm.name for arm in self.arms]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"arm names must differ: {', '.join(twice)} stands more than once")
        if self.promote.arm is not None and self.promote.arm not in names:
            raise ValueError(f"promote.arm {self.promote.arm!r} is no arm; arms are {', '.join(names) or 'not given'}")
        candidates = [arm.name for arm in self.arms if (arm.arch or self.train.arch) == self.promote.arch]
        if self.promote.arm is not None and self.promote.arm not in candidates:
            raise ValueError(
                f"promote.arm {self.promote.arm!r} is not of the architecture promote.arch, {self.promote.arch}; "
                f"arms of that are {', '.join(candidates) or 'none'}"
            )
        has_val = self.data.source == "phantom" and self.data.phantom.selection_cases > 0
        if len(candidates) > 1 and self.promote.arm is None and not has_val:
            raise ValueError(
                f"promote.arm must name which of {', '.join(candidates)} is to be promoted: without cases set aside "
                "for choosing, only the reported cases could decide between them"
            )
        return self

    def arm_configs(self) -> dict[str, "Config"]:
        """All settings of every arm, by arm name, in the order of the file: `train` is that arm's."""
        if not self.arms:
            return {self.train.arch: self}
        trains = {
            arm.name: self.train.model_copy(update=arm.model_dump(exclude={"name"}, exclude_none=True))
            for arm in self.arms
        }
        return {name: self.model_copy(update={"train": train}) for name, train in trains.items()}
