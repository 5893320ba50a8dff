"""Entry point `data`: read, audit, prepare and split the images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from eusml.commands.cohort import LAYERS, Cohort, cohort, shows_images
from eusml.commands.job import Job, alone, open_job, run_stage
from eusml.commands.terminal import say
from eusml.config import Config, DataConfig
from eusml.data.findings import audit_record
from eusml.data.manifest import table_digest
from eusml.data.prepare import Prepared
from eusml.data.split import OuterFold, Split, check_split, everyone, make_split, outer_folds
from eusml.digests import fingerprint
from eusml.errors import ConfigError
from eusml.evaluation.figures import pictures
from eusml.evaluation.figures.drawing import Frame
from eusml.tracking import runs

_SHEET_IMAGES_PER_CLASS = 6


@dataclass(frozen=True)
class StudyData:
    """Prepared images and who is held out."""

    prepared: Prepared
    split: Split

    @property
    def key(self) -> dict[str, str]:
        """Digests that later stages build their fingerprints on."""
        return {"data": self.prepared.digest, "split": self.split.digest}

    def to_tune_on(self, arm: str) -> "dict[str, StudyData]":
        """This, under the arm's name."""
        return {arm: self}


@dataclass(frozen=True)
class CrossValidationData:
    """Prepared images and who is held out when."""

    whole: StudyData
    """Everyone to train on."""
    folds: Sequence[tuple[OuterFold, StudyData]]
    table: pd.DataFrame
    """Columns case_id, patient_id, label, and for every repeat the fold that the case is held out in, from 1."""

    @property
    def key(self) -> dict[str, str]:
        """Digests that later stages build their fingerprints on."""
        return {"data": self.whole.prepared.digest, "folds": table_digest(self.table)}

    def to_tune_on(self, arm: str) -> dict[str, StudyData]:
        """What the arm is called in every outer fold, and last as a whole, to what it is tuned on there."""
        return {outer.name(arm): study for outer, study in self.folds} | {arm: self.whole}


def run(config: Config) -> None:
    """Prepare and split, as an MLflow run of its own."""
    with open_job("data", config) as job:
        if config.protocol.kind == "nested_cv":
            cross_validation_data(job)
        else:
            study_data(job)


def study_data(job: Job) -> StudyData:
    """The study's images, audited and split; prepared again only when the source, a setting or the code changed.

    Raises:
        ConfigError: the protocol has outer folds and not one partition that is held out.
        DataError: a finding of the audit stops the run; the job's run holds all of them.
    """
    if job.config.protocol.kind == "nested_cv":
        raise ConfigError(
            f"{job.entry} works on one held-out partition, and protocol.kind is nested_cv; `main` runs all of a "
            f"cross-validation, taking over what is finished, and `data` and `tune` their part of it. For a hold-out "
            f"of the same data give -P protocol.kind=holdout"
        )
    found = _read(job)
    study = _held_out(found.prepared, job.config)
    _data_stage(job, found, study.key, study.split.table, lambda run: _log_split(run, study))
    return study


def cross_validation_data(job: Job) -> CrossValidationData:
    """The same with outer folds instead of one held-out partition.

    Raises:
        DataError: as `study_data`.
    """
    found = _read(job)
    data = with_outer_folds(found.prepared, job.config)
    repeats = data.folds[-1][0].repeat + 1
    text = f"  {len(data.folds)} outer folds: every case is held out " + (f"{repeats} times" if repeats > 1 else "once")
    _data_stage(job, found, data.key, data.table, lambda _: say(text))
    return data


def recorded_study_data(job: Job) -> StudyData:
    """What `study_data` gave, for a process that helps the job that asked for it."""
    return _held_out(cohort(job, job.config.data).prepared, job.config)


def recorded_cross_validation_data(job: Job) -> CrossValidationData:
    """What `cross_validation_data` gave, likewise."""
    return with_outer_folds(cohort(job, job.config.data).prepared, job.config)


def _held_out(prepared: Prepared, config: Config) -> StudyData:
    return StudyData(prepared, make_split(prepared.manifest, config.split))


def with_outer_folds(prepared: Prepared, config: Config) -> CrossValidationData:
    """Draw who is held out when, or take the folds that came with the data."""
    manifest = prepared.manifest
    outer = outer_folds(manifest, config.protocol, published=config.split.published)
    table = manifest.table[["case_id", "patient_id", "label"]].copy()
    for one in outer:
        column = f"repeat_{one.repeat + 1}"
        if column not in table:
            table[column] = 0
        table.loc[one.split.indices("test"), column] = one.fold + 1
    folds = [(one, StudyData(prepared, one.split)) for one in outer]
    return CrossValidationData(StudyData(prepared, everyone(manifest)), folds, table)


def _read(job: Job) -> Cohort:
    say(f"[data] reading {job.config.data.source}")
    return cohort(job, job.config.data)


def _data_stage(
    job: Job, found: Cohort, digests: Mapping[str, str], split: pd.DataFrame, log_split: Callable[[runs.Run], None]
) -> None:
    """Record data, audit and who is held out when, in a run of stage `data`."""
    images = shows_images(job.config, synthetic=job.synthetic)
    # The same cases may be left of others than before, and the run tells of those that were dropped, too.
    inputs = {**digests, "audit": audit_record(found.audit), "pictures": images}
    key = fingerprint("data", inputs, LAYERS)
    manifest = found.prepared.manifest
    tags = runs.common_tags("data", source=manifest.source, synthetic=manifest.synthetic, fingerprint=key)
    # The run of the whole job says on what data it was, too.
    job.run.tags({name: tags[name] for name in (runs.SOURCE, runs.SYNTHETIC)})

    def make(run: runs.Run) -> bool:
        found.log_audit(run, job.config)
        _log_cohort(run, found.prepared, images=images)
        run.table(split, "split.csv")
        run.tags({"eusml.split_digest": table_digest(split)})
        log_split(run)
        return True

    run_stage(job, "data", "data", key, tags, make=make, reuse=lambda _: True)


def study_at(job: Job, study: StudyData, settings: DataConfig) -> StudyData:
    """The same cases in the same partitions, prepared by other settings: at another size.

    Raises:
        DataError: the audit leaves other cases at these settings.
    """
    if settings == job.config.data:
        return study
    with alone(job):
        prepared = cohort(job, settings).prepared
    check_split(study.split, prepared.manifest)
    return StudyData(prepared, study.split)


def _log_cohort(run: runs.Run, prepared: Prepared, *, images: bool) -> None:
    manifest = prepared.manifest
    counts = {
        "data/images": len(manifest.table),
        "data/patients": manifest.table["patient_id"].nunique(),
        "data/repeated_images": manifest.repeated_images,
    }
    run.metrics({name: float(count) for name, count in counts.items()})
    run.table(manifest.table, "manifest.csv")
    run.dataset(manifest.table, "manifest", prepared.digest, "source", manifest.source)
    if images:
        by_class = {
            name: prepared.images[manifest.y_true == value][:_SHEET_IMAGES_PER_CLASS]
            for name, value in ((manifest.positive_class, 1), (manifest.negative_class, 0))
        }
        frame = Frame(
            manifest.synthetic, f"The first images of each class as they are prepared, of n = {len(manifest.table)}."
        )
        run.artifacts({"images.png": pictures.image_sheet(by_class, frame)})
    say(
        f"  {manifest.source}: {counts['data/images']} images of {counts['data/patients']} patients, "
        f"{manifest.positive_class} against {manifest.negative_class}"
        + (" - SYNTHETIC images, not patients" if manifest.synthetic else "")
    )


def _log_split(run: runs.Run, study: StudyData) -> None:
    counts = {}
    for part in ("train", "test"):
        y_true = study.prepared.manifest.y_true[study.split.indices(part)]
        counts[f"data/{part}_images"] = len(y_true)
        counts[f"data/{part}_positive"] = int(y_true.sum())
        counts[f"data/{part}_negative"] = int((1 - y_true).sum())
    run.metrics({name: float(count) for name, count in counts.items()})
    say(
        f"  train {counts['data/train_positive']} + {counts['data/train_negative']}, "
        f"test {counts['data/test_positive']} + {counts['data/test_negative']}"
    )
