"""Entry point `report`: one page of what the store holds of a study, for people who write and people who check."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from eusml.commands.job import Job, open_job
from eusml.commands.terminal import say
from eusml.config import Config
from eusml.evaluation.report import DISCLAIMER, SYNTHETIC
from eusml.tracking import runs

FOLDER = "report"


def run(config: Config) -> None:
    """Report the runs that `report.runs` names, as an MLflow run of its own.

    Raises:
        TrackingError: a run is not there, did not finish, or lacks an artifact; or there is none to report.
        DataError: the runs are of different data.
    """
    with open_job("report", config) as job:
        report(job)


def report(job: Job) -> None:
    """Write the report into the job's run: of that run itself where it is one of `main`, else of stored runs."""
    # Slow to import, with matplotlib behind it: not before there is something to report.
    from eusml.evaluation.reporting.build import build
    from eusml.tracking.reading import read_contents
    from eusml.tracking.selection import STAGES_FILE, select

    began = time.perf_counter()
    within = job.run.run_id if job.entry == "main" else None
    if within is not None:
        job.run.json({"stages": [vars(record) for record in job.records]}, STAGES_FILE)
    with TemporaryDirectory(dir=job.work_dir) as folder:
        selection = select(job.config.report.runs, job.run.experiment_id, Path(folder), within=within)
        contents = read_contents(selection, Path(folder))
        job.synthetic = contents.synthetic
        made = build(contents, job.config.report.language)
    job.run.artifacts({f"{FOLDER}/{name}": content for name, content in made.files.items()})
    if job.entry == "report":
        marks = {runs.SOURCE: contents.source, runs.SYNTHETIC: str(contents.synthetic).lower()}
        job.run.tags({**marks, "eusml.reported_runs": ", ".join(contents.run_ids)})
        what = f"Report of run {', '.join(contents.run_ids)}: the artifact `{FOLDER}/report.html`."
        job.run.note("\n\n".join([*([SYNTHETIC] if contents.synthetic else []), what, DISCLAIMER]))
    took = time.perf_counter() - began
    say(
        f"[report] {len(made.document.sections)} sections in {took:.1f} s: {FOLDER}/report.html of run {job.run.run_id}"
    )
