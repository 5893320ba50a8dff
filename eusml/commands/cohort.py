"""Cases, audited and prepared once: what every stage's images come from, kept in the work folder."""

from dataclasses import dataclass
from pathlib import Path

from eusml.commands.job import Job
from eusml.commands.terminal import progress, say
from eusml.config import Config, DataConfig
from eusml.data.audit import audit
from eusml.data.findings import Audit, audit_record, load_audit, save_audit
from eusml.data.ingest import ingest
from eusml.data.manifest import Cases, two_classes
from eusml.data.prepare import Prepared, assemble, load, prepare, save
from eusml.data.sources import read_cases
from eusml.digests import fingerprint
from eusml.evaluation.audit_page import audit_page
from eusml.files import stamp, written_whole
from eusml.tracking import runs
from eusml.tracking.selection import AUDIT_FILE

LAYERS = ("data",)
_AUDIT, _PAGE = "audit.json", "audit.html"


@dataclass(frozen=True)
class Cohort:
    """What is studied, and how it was found."""

    cases: Cases
    """All that the source brought."""
    prepared: Prepared
    """What the audit left of them."""
    audit: Audit
    pages: Path
    """Folder with the page that shows the audit."""

    def log_audit(self, run: runs.Run, config: Config) -> None:
        """Findings, flow of cases and the page; with pictures where they may be shown."""
        _log_audit(run, self.audit, self.cases, self.pages, images=shows_images(config, synthetic=self.cases.synthetic))


def cohort(job: Job, settings: DataConfig) -> Cohort:
    """The cases of the configured source, from the work folder or made now and kept there.

    Raises:
        DataError: a finding stops the run; the job's run holds all of them.
    """
    cases = read_cases(settings, job.work_dir, lambda items: progress(items, "render"))
    job.synthetic = cases.synthetic
    folder = _folder(job, cases, settings)
    pages = job.work_dir / "audit" / folder.name
    if folder.is_dir() and (pages / _AUDIT).is_file():
        return Cohort(cases, load(folder), load_audit(pages / _AUDIT), pages)
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
    return Cohort(cases, prepared, found, pages)


def prepare_once(job: Job, cases: Cases, settings: DataConfig) -> Prepared:
    """Prepared images from the work folder, or prepared now and kept there; without an audit."""
    folder = _folder(job, cases, settings)
    if folder.is_dir():
        return load(folder)
    prepared = prepare(cases, settings, progress=lambda items: progress(items, "decode"))
    save(prepared, folder)
    return prepared


def shows_images(config: Config, *, synthetic: bool) -> bool:
    """Whether pictures may go to the artifact store: made-up ones always, patients' ones when asked."""
    return synthetic or config.data.audit.log_images


def _folder(job: Job, cases: Cases, settings: DataConfig) -> Path:
    """Where the prepared images of these cases, files and settings belong."""
    files = [cases.root / str(image) for image in cases.table["image"]]
    # They stand for the content; the result carries hashes of the pixels.
    stamps = [(str(file), *stamp(file)) for file in files if file.is_file()]
    inputs = {
        "table": cases.table.to_csv(index=False),
        "excluded": cases.excluded,
        "notes": cases.notes,
        "files": stamps,
        "settings": settings.model_dump(mode="json", exclude={"workers", "phantom", "path"}),
    }
    return job.work_dir / "data" / fingerprint("cohort", inputs, LAYERS)[:16]


def _log_audit(run: runs.Run, found: Audit, cases: Cases, pages: Path, *, images: bool) -> None:
    run.table(found.table(), "audit/findings.csv")
    run.table(found.flow, "audit/flow.csv")
    run.json(audit_record(found), AUDIT_FILE)
    if images and (pages / _PAGE).is_file():
        page = (pages / _PAGE).read_text(encoding="utf-8")
    else:
        page = audit_page(found, cases.table, cases.source, synthetic=cases.synthetic)
    run.text(page, "audit/audit.html")
    run.metrics({"data/findings": float(len(found.findings)), "data/same_picture_pairs": float(len(found.pairs))})
    for finding in found.worth_saying():
        say(f"  {finding}")
