"""Entry point `data`: read, check, prepare and split the images."""

from dataclasses import dataclass

from eusml.commands.job import Job, open_job, run_stage
from eusml.commands.terminal import progress, say
from eusml.config import Config
from eusml.data.manifest import Cases
from eusml.data.prepare import Prepared, load, prepare, save
from eusml.data.sources import read_cases
from eusml.data.split import Split, make_split
from eusml.digests import fingerprint
from eusml.evaluation import figures
from eusml.tracking import runs

LAYERS = ("data",)
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


def run(config: Config) -> None:
    """Prepare and split, as an MLflow run of its own."""
    with open_job("data", config) as job:
        study_data(job)


def study_data(job: Job) -> StudyData:
    """The study's images and split; prepared again only when the source, a setting or the code changed."""
    say(f"[data] reading {job.config.data.source}")
    prepared = prepare_once(job, read_cases(job.config.data, job.work_dir, lambda items: progress(items, "render")))
    study = StudyData(prepared, make_split(prepared.manifest, job.config.split))
    key = fingerprint("data", study.key, LAYERS)
    manifest = prepared.manifest
    tags = runs.common_tags("data", source=manifest.source, synthetic=manifest.synthetic, fingerprint=key)
    job.synthetic = manifest.synthetic
    # The run of the whole job says on what data it was, too.
    job.run.tags({name: tags[name] for name in (runs.SOURCE, runs.SYNTHETIC)})

    def make(run: runs.Run) -> StudyData:
        _log(run, study)
        return study

    return run_stage(job, "data", "data", key, tags, make=make, reuse=lambda _: study)


def prepare_once(job: Job, cases: Cases) -> Prepared:
    """Prepared images from the work folder, or prepared now and kept there."""
    settings = job.config.data
    files = [cases.root / str(image) for image in cases.table["image"]]
    # Size and time of a file stand for its content, as `make` has it; the result carries hashes of the pixels.
    stamps = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    inputs = {
        "table": cases.table.to_csv(index=False),
        "files": stamps,
        "classes": settings.positive_class,
        "size": settings.image_size_px,
        "margin": settings.roi_margin_frac,
    }
    folder = job.work_dir / "data" / fingerprint("prepare", inputs, LAYERS)[:16]
    if folder.is_dir():
        return load(folder)
    prepared = prepare(cases, settings, progress=lambda items: progress(items, "decode"))
    save(prepared, folder)
    return prepared


def _log(run: runs.Run, study: StudyData) -> None:
    manifest, split = study.prepared.manifest, study.split
    counts = {
        "data/images": len(manifest.table),
        "data/patients": manifest.table["patient_id"].nunique(),
        "data/repeated_images": manifest.repeated_images,
    }
    for part in ("train", "test"):
        y_true = manifest.y_true[split.indices(part)]
        counts[f"data/{part}_images"] = len(y_true)
        counts[f"data/{part}_positive"] = int(y_true.sum())
        counts[f"data/{part}_negative"] = int((1 - y_true).sum())
    run.metrics({name: float(count) for name, count in counts.items()})
    run.table(manifest.table, "manifest.csv")
    run.table(split.table, "split.csv")
    run.tags({"eusml.split_digest": split.digest})
    run.dataset(manifest.table, "manifest", study.prepared.digest, "source", manifest.source)
    by_class = {
        name: study.prepared.images[manifest.y_true == value][:_SHEET_IMAGES_PER_CLASS]
        for name, value in ((manifest.positive_class, 1), (manifest.negative_class, 0))
    }
    run.figure(figures.image_sheet(by_class, synthetic=manifest.synthetic), "images.png")
    say(
        f"  {manifest.source}: {counts['data/images']} images of {counts['data/patients']} patients, "
        f"{manifest.positive_class} against {manifest.negative_class}; "
        f"train {counts['data/train_positive']} + {counts['data/train_negative']}, "
        f"test {counts['data/test_positive']} + {counts['data/test_negative']}"
        + (" - SYNTHETIC images, not patients" if manifest.synthetic else "")
    )
    if manifest.repeated_images:
        say(
            f"  careful: {manifest.repeated_images} images are pixel for pixel the same as another one; the split "
            "keeps such images on one side, and they count more than once"
        )
