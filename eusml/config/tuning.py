"""Settings of tuning: what is searched, by what it is judged, and where the study lives."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from eusml.config.base import Fraction, Section, Seed

Metric = Literal["log_loss", "auroc", "balanced_accuracy"]
MAXIMISED: frozenset[Metric] = frozenset({"auroc", "balanced_accuracy"})
"""Of these more is better; of log loss, less."""
Value = bool | int | float | str | tuple[str, ...]


class SearchedSetting(Section):
    """What one setting may be: a range of numbers (`low`, `high`) or a list of `choices`."""

    low: float | int | None = None
    """Least value."""
    high: float | int | None = None
    """Largest value, which may be drawn too."""
    log: bool = False
    """Draw the logarithm evenly, for what spans powers of ten; `low` must be above 0."""
    choices: tuple[Value, ...] | None = None
    """The values to choose from."""

    @model_validator(mode="after")
    def _is_one_of_both(self) -> "SearchedSetting":
        ends = (self.low, self.high)
        if self.choices is not None:
            if ends != (None, None) or self.log:
                raise ValueError("give either choices, or low and high")
            if len(set(map(repr, self.choices))) < 2:
                raise ValueError(f"choices must be at least two different values, found {list(self.choices)}")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give low and high, or choices")
        if not self.low < self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low}, but with log it must be above 0")
        return self

    @property
    def extremes(self) -> tuple[Value, ...]:
        """The values that must be allowed for all of the space to be."""
        if self.choices is not None:
            return self.choices
        assert self.low is not None
        assert self.high is not None
        return (self.low, self.high)


class TuneConfig(Section):
    """Search for settings on inner folds of the training partition; no reported case takes part."""

    enabled: bool = False
    """Tune every arm before it is trained, and train it with what was best; the entry point `tune` does so anyway."""
    trials: Annotated[int, Field(ge=1)] = 20
    """Configurations to try per arm, counted over all workers and starts."""
    workers: Annotated[int, Field(ge=1)] = 1
    """Processes that this start takes trials in, each with its share of the CPU's threads. More than one is faster, and
    what a trial tries then depends on which others have ended before it, so a study does not repeat exactly."""
    space: dict[str, SearchedSetting] = Field(default_factory=dict)
    """Dotted name of a setting of `train`, `augment` or `data.image_size_px` to what it may be."""
    metric: Metric = "log_loss"
    """What is averaged over the inner folds; log loss is minimised, the others are maximised."""
    folds: Annotated[int, Field(ge=2)] = 3
    """Inner folds of the training partition, stratified, patients whole."""
    repeats: Annotated[int, Field(ge=1)] = 1
    """How many times the folds are drawn; every draw is trained on."""
    epochs_frac: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of an arm's epochs that a trial trains for (one epoch at least)."""
    startup_trials: Annotated[int, Field(ge=0)] = 8
    """Trials drawn at random before the sampler learns from them; the first is always the setting as it stands."""
    pruner: Literal["median", "hyperband", "none"] = "median"
    """Stops a trial in its first fold when its log loss after an epoch is poor beside other trials'."""
    fold_pruner: Literal["wilcoxon", "none"] = "wilcoxon"
    """Stops a trial between folds when it is worse than the best one fold by fold; needs some folds to say so."""
    wilcoxon_p: Fraction = 0.1
    """One-sided p below which the fold pruner stops a trial."""
    seed: Seed = 0
    """Seed of the inner folds and of the sampler."""
    study: Annotated[str, Field(min_length=1)] | None = None
    """Name of the study; by default made of the experiment, the arm and a digest of all that defines it."""
    storage: str | None = None
    """Where the study lives: by default a journal in `work_dir`, for workers of one machine; with
    `postgresql+psycopg://…` any number of workers on any machines work on it."""
    heartbeat_s: Annotated[int, Field(ge=1)] = 30
    """Every so often a worker tells a database that it lives; after four times as long another one takes its trial."""

    @field_validator("storage")
    @classmethod
    def _is_an_address(cls, storage: Any) -> Any:
        if storage is not None and "://" not in storage:
            raise ValueError(
                f"{storage!r} is no address; write postgresql+psycopg://user@host/database, or leave it out"
            )
        return storage
