"""Entry point `data`: read, audit, prepare and split the images."""

from dataclasses import dataclass
from pathlib import Path

from eusml.commands.job import Job, open_job, run_stage
from eusml.commands.terminal import progress, say
from eusml.config import Config, DataConfig
from eusml.data.audit import audit
from eusml.data.findings import Audit, load_audit, save_audit
from eusml.data.ingest import ingest
from eusml.data.manifest import Cases, two_classes
from eusml.data.prepare import Prepared, assemble, load, prepare, save
from eusml.data.sources import read_cases
from eusml.data.split import Split, check_split, make_split
from eusml.digests import fingerprint
from eusml.evaluation import figures
from eusml.evaluation.audit_page import audit_page
from eusml.files import written_whole
from eusml.tracking import runs

LAYERS = ("data",)
_SHEET_IMAGES_PER_CLASS = 6
_AUDIT, _PAGE = "audit.json", "audit.html"


@dataclass(frozen=True)
class StudyData:
    """Prepared images and who is held out."""

    prepared: Prepared
    split: Split

    @property
    def key(self) -> dict[str, str]:
        """Digests that later stages build their fingerprints on."""
        return {"data": self.prepared.digest, "split": self.split.digest}


@dataclass(frozen=True)
class _Audited:
    """What is studied, how it was found, and the folder with the page that shows it."""

    prepared: Prepared
    audit: Audit
    pages: Path


def run(config: Config) -> None:
    """Prepare and split, as an MLflow run of its own."""
    with open_job("data", config) as job:
        study_data(job)


def study_data(job: Job) -> StudyData:
    """The study's images, audited and split; prepared again only when the source, a setting or the code changed.

    Raises:
        DataError: a finding of the audit stops the run; the job's run holds all of them.
    """
    settings = job.config.data
    say(f"[data] reading {settings.source}")
    cases = read_cases(settings, job.work_dir, lambda items: progress(items, "render"))
    job.synthetic = cases.synthetic
    audited = _audited_once(job, cases, settings)
    study = StudyData(audited.prepared, make_split(audited.prepared.manifest, job.config.split))
    key = fingerprint("data", study.key, LAYERS)
    manifest = study.prepared.manifest
    tags = runs.common_tags("data", source=manifest.source, synthetic=manifest.synthetic, fingerprint=key)
    # The run of the whole job says on what data it was, too.
    job.run.tags({name: tags[name] for name in (runs.SOURCE, runs.SYNTHETIC)})

    def make(run: runs.Run) -> StudyData:
        _log_audit(run, audited.audit, cases, audited.pages, images=shows_images(job.config, synthetic=job.synthetic))
        _log(run, study, images=shows_images(job.config, synthetic=job.synthetic))
        return study

    return run_stage(job, "data", "data", key, tags, make=make, reuse=lambda _: study)


def study_at(job: Job, study: StudyData, settings: DataConfig) -> StudyData:
    """The same cases in the same partitions, prepared by other settings: at another size.

    Raises:
        DataError: the audit leaves other cases at these settings.
    """
    if settings == job.config.data:
        return study
    cases = read_cases(settings, job.work_dir, lambda items: progress(items, "render"))
    prepared = _audited_once(job, cases, settings).prepared
    check_split(study.split, prepared.manifest)
    return StudyData(prepared, study.split)


def shows_images(config: Config, *, synthetic: bool) -> bool:
    """Whether pictures may go to the artifact store: made-up ones always, patients' ones when asked."""
    return synthetic or config.data.audit.log_images


def prepare_once(job: Job, cases: Cases, settings: DataConfig) -> Prepared:
    """Prepared images from the work folder, or prepared now and kept there; without an audit."""
    folder = _folder(job, cases, settings)
    if folder.is_dir():
        return load(folder)
    prepared = prepare(cases, settings, progress=lambda items: progress(items, "decode"))
    save(prepared, folder)
    return prepared


def _audited_once(job: Job, cases: Cases, settings: DataConfig) -> _Audited:
    """Prepared images and the audit, from the work folder or made now and kept there.

    Raises:
        DataError: a finding stops the run.
    """
    folder = _folder(job, cases, settings)
    pages = job.work_dir / "audit" / folder.name
    if folder.is_dir() and (pages / _AUDIT).is_file():
        return _Audited(load(folder), load_audit(pages / _AUDIT), pages)
    two_classes(cases.table, settings.positive_class, cases.source)  # before hours may go into the rest
    shards = job.work_dir / "ingest"
    ingested = ingest(cases, settings, shards, lambda items: progress(items, "decode"))
    found = audit(cases, ingested, settings.audit, lambda items: progress(items, "compare", "pair"))
    page = audit_page(found, cases.table, cases.source, synthetic=cases.synthetic, sketches=ingested.sketches)
    pages.mkdir(parents=True, exist_ok=True)
    with written_whole(pages / _PAGE) as file:
        file.write(page.encode())
    save_audit(found, pages / _AUDIT)
    if found.blocking:
        _log_audit(job.run, found, cases, pages, images=shows_images(job.config, synthetic=job.synthetic))
        found.stop(f"{pages / _PAGE}, and the artifact audit/audit.html of the run")
    prepared = assemble(cases, settings, ingested, found, shards)
    save(prepared, folder)
    return _Audited(prepared, found, pages)


def _folder(job: Job, cases: Cases, settings: DataConfig) -> Path:
    """Where the prepared images of these cases, files and settings belong."""
    files = [cases.root / str(image) for image in cases.table["image"]]
    # Size and time of a file stand for its content, as `make` has it; the result carries hashes of the pixels.
    stamps = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    inputs = {
        "table": cases.table.to_csv(index=False),
        "excluded": cases.excluded,
        "notes": cases.notes,
        "files": stamps,
        "settings": settings.model_dump(mode="json", exclude={"workers", "phantom", "path"}),
    }
    return job.work_dir / "data" / fingerprint("prepare", inputs, LAYERS)[:16]


def _log_audit(run: runs.Run, found: Audit, cases: Cases, pages: Path, *, images: bool) -> None:
    run.table(found.table(), "audit/findings.csv")
    run.table(found.flow, "audit/flow.csv")
    if images and (pages / _PAGE).is_file():
        page = (pages / _PAGE).read_text(encoding="utf-8")
    else:
        page = audit_page(found, cases.table, cases.source, synthetic=cases.synthetic)
    run.text(page, "audit/audit.html")
    run.metrics({"data/findings": float(len(found.findings)), "data/same_picture_pairs": float(len(found.pairs))})
    for finding in found.worth_saying():
        say(f"  {finding}")


def _log(run: runs.Run, study: StudyData, *, images: bool) -> None:
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
    if images:
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
