"""One network, trained: its curves, and the model as files that hold no code."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eusml.commands.augment import expanded_training_images
from eusml.commands.cohort import shows_images
from eusml.commands.data import StudyData
from eusml.commands.job import Job, run_stage
from eusml.commands.seen import log_seen
from eusml.commands.terminal import epoch_bar, say
from eusml.commands.trained import ANSWERS, CURVES, TrainedModel, finished_fit, finished_model
from eusml.config import Config, TrainConfig, flatten
from eusml.data.images import encode_png
from eusml.data.ingest import preparation_of
from eusml.data.manifest import box_of
from eusml.data.quality import QualityReference, evenly_spread, measure_reference
from eusml.data.split import Partition
from eusml.digests import fingerprint
from eusml.errors import DataError
from eusml.evaluation.figures import drawing
from eusml.files import written_whole
from eusml.learning.batches import LabelledImages
from eusml.learning.bundle import Bundle, ModelSpec, load_bundle, save_bundle
from eusml.learning.epoch import EpochResult
from eusml.learning.fused.twin import triton_version
from eusml.learning.growth import epoch_times
from eusml.learning.learner import fuses
from eusml.learning.temperature import Calibration
from eusml.learning.train import FitResult, fit
from eusml.ranks import Ranks, current
from eusml.runtime import Compute, choose_compute, machine_key, make_deterministic
from eusml.tables import to_csv_text
from eusml.tracking import registry, runs
from eusml.tracking.lookup import FinishedRun

LAYERS = ("data", "learning")
_STATE = "state.pt"


@dataclass(frozen=True)
class Calibrator:
    """How the probabilities of a network that is trained now are to be calibrated."""

    key: Mapping[str, Any]
    """What decides the result beside the network."""
    calibrate: Callable[[Bundle], Calibration]
    """From the network, whose own answers are not calibrated yet."""


def fitted_model(
    job: Job, study: StudyData, arm: str, config: Config, *, keep: bool, calibrator: Calibrator | None = None
) -> TrainedModel:
    """The network of one arm: trained now, continued after a kill, or taken from the finished run.

    Args:
        job: the running job.
        study: images, and who is trained on.
        arm: what to call it.
        config: its settings.
        keep: whether it goes to the store as a model that can be served; else only the work folder has it.
        calibrator: makes what it says into probabilities that hold; None leaves them as the network gives them.
    """
    manifest, settings, served = study.prepared.manifest, config.train, _served(config)
    images = _training_images(job, study, config)
    make_deterministic(settings.threads)  # now, because the number of threads is part of the key
    fit_key = fingerprint("fit", _inputs(study, config), LAYERS)
    pictures = keep and settings.online.enabled and shows_images(config, synthetic=manifest.synthetic)
    # What is served or shown can change without a weight changing: it is then recorded anew and not trained anew.
    inputs = {
        "fit": fit_key,
        "served": served,
        "keep": keep,
        "calibrator": calibrator and calibrator.key,
        "pictures": pictures,
    }
    key = fingerprint("train", inputs, (*LAYERS, "tracking"))
    folder = job.work_dir / "train" / fit_key[:16]
    tags = runs.common_tags(
        "train", arch=settings.arch, source=manifest.source, synthetic=manifest.synthetic, fingerprint=key
    )

    def make(run: runs.Run) -> TrainedModel:
        run.params({f"cfg.{name}": value for name, value in flatten(settings, "train.").items()})
        trained_on = manifest.table.iloc[study.split.indices("train")]
        run.dataset(trained_on, "train", study.prepared.digest, "training", manifest.source)
        if pictures:
            log_seen(run, images, manifest, settings)
        result = _fit(run, arm, images, study, settings, fit_key, folder)
        history = _saved_curves(run, arm, study, result, folder)
        spec = _saved_bundle(study, config, result, folder, keep=keep)
        if calibrator is not None:
            spec = _calibrated(run, calibrator, folder)
        # Weights and curves lie in the work folder now; the state was only there to survive a kill.
        (folder / _STATE).unlink(missing_ok=True)
        run.tags({"eusml.weights_sha256": spec.weights_sha256, ANSWERS: spec.digest})
        model_id = _log_model(run, study, arm, config, folder) if keep else None
        return TrainedModel(arm, spec, folder / registry.BUNDLE, run.run_id, model_id, config.train, history)

    def reuse(finished: FinishedRun) -> TrainedModel | None:
        return finished_model(finished, arm, settings, folder)

    # A network that is not kept is a step on the way to another one, and has a run of its own below that one's.
    stage = "train" if keep else "train a fold"
    return run_stage(job, stage, f"train {arm}", key, tags, make=make, reuse=reuse)


def _training_images(job: Job, study: StudyData, config: Config) -> LabelledImages:
    return expanded_training_images(job, study, config.augment) if config.train.offline else _partition(study, "train")


def _partition(study: StudyData, part: Partition) -> LabelledImages:
    rows = study.split.indices(part)
    return LabelledImages(study.prepared.images, study.prepared.manifest.y_true[rows], rows)


def _inputs(study: StudyData, config: Config) -> Mapping[str, Any]:
    """What decides the weights."""
    settings = config.train
    compute = choose_compute(settings.device, settings.precision)
    return {
        **study.key,
        "settings": settings.model_dump(mode="json", exclude={"checkpoint_every_s", "resident_mib"}),
        "augment": config.augment.model_dump(mode="json") if settings.offline else None,
        "machine": machine_key(compute) + _with(settings, compute, current()),
    }


def _with(settings: TrainConfig, compute: Compute, ranks: Ranks) -> str:
    """Who rounds sums otherwise than torch does in one process."""
    if ranks.count > 1:
        return f", {ranks.count} processes"
    return f", fused by triton {triton_version()}" if fuses(settings, compute) else ""


def _served(config: Config) -> dict[str, Any]:
    """What decides, beside the weights, how the model answers: fields of `ModelSpec`."""
    return {
        "preparation": preparation_of(config.data),
        "threshold": config.evaluate.threshold,
        "views": config.evaluate.views,
    }


def _fit(
    run: runs.Run,
    arm: str,
    train: LabelledImages,
    study: StudyData,
    settings: TrainConfig,
    key: str,
    folder: Path,
) -> FitResult:
    compute = choose_compute(settings.device, settings.precision)
    where = compute.describe() + _with(settings, compute, current())
    say(f"  {settings.arch}: {len(train)} images, {settings.epochs} epochs on {where}")
    run.tags({"eusml.compute": where})
    known = finished_fit(folder)
    with epoch_bar(epoch_times(settings), f"train {arm}") as ended, run.curve() as curve:

        def on_epoch(result: EpochResult) -> None:
            # `curve/test_…` is for the eye; the reported result is `test/…` on the evaluation run.
            measured = {f"curve/{name}": value for name, value in asdict(result).items() if name != "epoch"}
            curve.add(result.epoch, measured)
            ended(result.epoch, f"loss {result.train_loss:.3f}, accuracy {result.train_accuracy:.2f}")

        if known is not None:
            for row in known.history:
                on_epoch(row)
            say("  the weights are those that an earlier start of the same training left in the work folder")
            return known
        result = fit(
            train,
            _partition(study, "test") if len(study.split.indices("test")) else None,
            settings,
            job=key,
            state_path=folder / _STATE,
            on_epoch=on_epoch,
            originals=_partition(study, "train"),
        )
    if result.resumed_after:
        say(f"  went on after epoch {result.resumed_after} of an earlier start")
        run.tags({"eusml.resumed_after_epoch": str(result.resumed_after)})
    return result


def _saved_curves(run: runs.Run, arm: str, study: StudyData, result: FitResult, folder: Path) -> pd.DataFrame:
    """Before the bundle, whose presence in the work folder says that the training is at its end."""
    from eusml.evaluation.figures import single  # late: scipy stands behind it, and a training taken over needs none

    history = pd.DataFrame([asdict(row) for row in result.history])
    with written_whole(folder / CURVES) as file:
        file.write(to_csv_text(history).encode())
    cases = {part: len(study.split.indices(part)) for part in ("train", "test")}
    drawn = single.of_course("curves", {arm: history}, cases, synthetic=study.prepared.manifest.synthetic)
    run.artifacts(drawing.files([replace(drawn, data=history)]))  # its numbers are the curve itself, as kept above
    return history


def _saved_bundle(study: StudyData, config: Config, result: FitResult, folder: Path, *, keep: bool) -> ModelSpec:
    manifest = study.prepared.manifest
    spec = ModelSpec(
        arch=config.train.arch,
        channels=len(result.normalisation.mean),
        mean=result.normalisation.mean,
        std=result.normalisation.std,
        positive_class=manifest.positive_class,
        negative_class=manifest.negative_class,
        synthetic=manifest.synthetic,
        quality=_quality(study, config) if keep else None,
        **_served(config),
    )
    return save_bundle(folder / registry.BUNDLE, result.network, spec)


def _calibrated(run: runs.Run, calibrator: Calibrator, folder: Path) -> ModelSpec:
    """Add to the bundle in the work folder what makes its answers hold."""
    bundle = load_bundle(folder / registry.BUNDLE)
    found = calibrator.calibrate(bundle)
    run.metrics({"calibration/temperature": found.temperature})
    say(f"  calibrated on {found.cases}: temperature {found.temperature:.2f}")
    return save_bundle(folder / registry.BUNDLE, bundle.network, replace(bundle.spec, calibration=found))


def _quality(study: StudyData, config: Config) -> QualityReference | None:
    """What the originals of the training partition are like; None, said so, where they are too few to tell."""
    table = study.prepared.manifest.table.iloc[study.split.indices("train")]
    # Copies of a picture, and pictures of one patient, are left out together.
    together = pd.factorize(table["group_id" if "group_id" in table.columns else "patient_id"])[0]
    measured = evenly_spread(len(table))  # others need not be read
    images = study.prepared.images[study.split.indices("train")[measured]]
    # A table without boxes does not say how large the pictures were: then what needs no enlarging is large enough.
    whole = (config.data.image_size_px,) * 2
    boxes = [box_of(row) for row in table.iloc[measured].to_dict("records")]
    sides = [whole if box is None else box[2:] for box in boxes]
    try:
        return measure_reference(images, sides, together[measured].tolist())
    except DataError as error:
        say(f"  the model will not warn of unusual images: {error}")
        return None


def _log_model(run: runs.Run, study: StudyData, arm: str, config: Config, folder: Path) -> str:
    # The model is passed on to others, so its example is a patient's picture only where pictures may be shown.
    shown = shows_images(config, synthetic=study.prepared.manifest.synthetic)
    example = study.prepared.images[0] if shown else np.zeros_like(study.prepared.images[0])
    model_id = registry.log_model(run, folder / registry.BUNDLE, arm, encode_png(example))
    run.tags({"eusml.model_id": model_id})
    return model_id
