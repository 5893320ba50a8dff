"""Entry point `train`: one network, its curves, and the model as files that hold no code."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from eusml.commands.augment import expanded_training_images
from eusml.commands.data import StudyData, study_data
from eusml.commands.job import Job, open_job, run_stage
from eusml.commands.terminal import progress_bar, say
from eusml.config import Config, TrainConfig, flatten
from eusml.data.images import encode_png
from eusml.data.split import Partition
from eusml.digests import fingerprint
from eusml.errors import CheckpointError, TrackingError
from eusml.evaluation import figures
from eusml.learning.batches import LabelledImages
from eusml.learning.bundle import Bundle, ModelSpec, load_bundle, save_bundle
from eusml.learning.train import EpochResult, FitResult, fit
from eusml.runtime import choose_compute, machine_key
from eusml.tracking import registry, runs

LAYERS = ("data", "learning")


@dataclass(frozen=True)
class TrainedModel:
    """A trained network and where it is recorded."""

    arm: str
    bundle: Bundle
    run_id: str
    model_id: str
    """MLflow's logged model."""
    history: pd.DataFrame
    """One row per epoch: epoch, lr, train_loss, train_accuracy, test_loss, test_accuracy, seconds."""


def run(config: Config) -> None:
    """Train what `train` describes, as an MLflow run of its own."""
    with open_job("train", config) as job:
        trained_model(job, study_data(job), config.train.arch, config.train)


def trained_model(job: Job, study: StudyData, arm: str, settings: TrainConfig) -> TrainedModel:
    """The network of one arm: trained now, continued after a kill, or taken from the finished run."""
    manifest = study.prepared.manifest
    images = _training_images(job, study, settings)
    key = fingerprint("train", _inputs(job, study, settings), LAYERS)
    folder = job.work_dir / "train" / key[:16]
    tags = runs.common_tags(
        "train", arch=settings.arch, source=manifest.source, synthetic=manifest.synthetic, fingerprint=key
    )

    def make(run: runs.Run) -> TrainedModel:
        run.params({f"cfg.{name}": value for name, value in flatten(settings, "train.").items()})
        trained_on = manifest.table.iloc[study.split.indices("train")]
        run.dataset(trained_on, "train", study.prepared.digest, "training", manifest.source)
        result = _fit(run, arm, images, study, settings, key, folder / "state.pt")
        return _record(run, job, study, arm, settings, result, folder)

    return run_stage(
        job, "train", f"train {arm}", key, tags, make=make, reuse=lambda finished: _reuse(finished, arm, folder)
    )


def _training_images(job: Job, study: StudyData, settings: TrainConfig) -> LabelledImages:
    return expanded_training_images(job, study) if settings.offline else _partition(study, "train")


def _partition(study: StudyData, part: Partition) -> LabelledImages:
    rows = study.split.indices(part)
    return LabelledImages(study.prepared.images[rows], study.prepared.manifest.y_true[rows])


def _inputs(job: Job, study: StudyData, settings: TrainConfig) -> Mapping[str, Any]:
    chosen = settings.model_dump(mode="json", exclude={"checkpoint_every_s"})
    return {
        **study.key,
        "settings": chosen,
        "augment": job.config.augment.model_dump(mode="json") if settings.offline else None,
        "machine": machine_key(choose_compute(settings.device, settings.precision)),
        # They change no weight, but the saved model carries them to wherever it is served.
        "served": {
            "image_size_px": job.config.data.image_size_px,
            "roi_margin_frac": job.config.data.roi_margin_frac,
            "threshold": job.config.evaluate.threshold,
            "views": job.config.evaluate.views,
        },
    }


def _fit(
    run: runs.Run,
    arm: str,
    train: LabelledImages,
    study: StudyData,
    settings: TrainConfig,
    key: str,
    state_path: Path,
) -> FitResult:
    compute = choose_compute(settings.device, settings.precision)
    say(f"  {settings.arch}: {len(train.images)} images, {settings.epochs} epochs on {compute.describe()}")
    with progress_bar(settings.epochs, f"train {arm}", "epoch") as bar, run.curve() as curve:

        def on_epoch(result: EpochResult) -> None:
            # `curve/test_…` is for the eye; the reported result is `test/…` on the evaluation run.
            measured = {f"curve/{name}": value for name, value in asdict(result).items() if name != "epoch"}
            curve.add(result.epoch, measured)
            bar.set_postfix_str(f"loss {result.train_loss:.3f}, accuracy {result.train_accuracy:.2f}")
            bar.update()

        result = fit(
            train,
            _partition(study, "test"),
            settings,
            job=key,
            state_path=state_path,
            on_epoch=on_epoch,
            originals=_partition(study, "train"),
        )
    if result.resumed_after:
        say(f"  went on after epoch {result.resumed_after} of an earlier start")
        run.tags({"eusml.resumed_after_epoch": str(result.resumed_after)})
    return result


def _record(
    run: runs.Run, job: Job, study: StudyData, arm: str, settings: TrainConfig, result: FitResult, folder: Path
) -> TrainedModel:
    manifest = study.prepared.manifest
    spec = save_bundle(
        folder / registry.BUNDLE,
        result.network,
        ModelSpec(
            arch=settings.arch,
            channels=len(result.normalisation.mean),
            mean=result.normalisation.mean,
            std=result.normalisation.std,
            image_size_px=job.config.data.image_size_px,
            roi_margin_frac=job.config.data.roi_margin_frac,
            positive_class=manifest.positive_class,
            negative_class=manifest.negative_class,
            threshold=job.config.evaluate.threshold,
            views=job.config.evaluate.views,
            synthetic=manifest.synthetic,
        ),
    )
    history = pd.DataFrame([asdict(row) for row in result.history])
    run.table(history, "curves.csv")
    run.figure(figures.learning_curves({arm: history}, synthetic=manifest.synthetic), "curves.png")
    example = encode_png(study.prepared.images[0], {"source": manifest.source})
    logged = registry.log_model(run, folder / registry.BUNDLE, arm, example)
    run.tags({"eusml.model_id": logged.model_id, "eusml.weights_sha256": spec.weights_sha256})
    # The model is in the store now; the state was only there to survive a kill.
    (folder / "state.pt").unlink(missing_ok=True)
    return TrainedModel(arm, load_bundle(folder / registry.BUNDLE), run.run_id, logged.model_id, history)


def _reuse(finished: runs.FinishedRun, arm: str, folder: Path) -> TrainedModel | None:
    """The model from the work folder or, when that was deleted, from the store; None when neither is sound."""
    model_id, expected = finished.tags.get("eusml.model_id"), finished.tags.get("eusml.weights_sha256")
    if model_id is None or expected is None:
        return None
    try:
        local = folder / registry.BUNDLE
        bundle = load_bundle(local if local.is_dir() else registry.fetch_bundle(model_id, folder / "fetched"))
        history = pd.read_csv(runs.fetch(finished.run_id, "curves.csv", folder / "fetched"))
    except (CheckpointError, TrackingError):
        return None
    if bundle.spec.weights_sha256 != expected:
        return None
    return TrainedModel(arm, bundle, finished.run_id, model_id, history)
