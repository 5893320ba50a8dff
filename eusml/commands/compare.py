"""Entry point `compare`: all arms side by side on the same held-out cases, and beside what needs no image."""

from collections.abc import Sequence

from eusml.commands.data import StudyData, study_data
from eusml.commands.evaluate import LAYERS, Evaluation, evaluation
from eusml.commands.job import Job, open_job, run_stage
from eusml.commands.train import trained_model
from eusml.config import Config
from eusml.digests import fingerprint
from eusml.tracking import runs


def run(config: Config) -> None:
    """Compare all arms, as an MLflow run of its own."""
    with open_job("compare", config) as job:
        study = study_data(job)
        compare(job, study, all_evaluations(job, study))


def all_evaluations(job: Job, study: StudyData) -> list[Evaluation]:
    """Every arm trained and evaluated, in the order of the experiment file."""
    return [
        evaluation(job, study, trained_model(job, study, arm, settings))
        for arm, settings in job.config.arm_settings().items()
    ]


def compare(job: Job, study: StudyData, evaluations: Sequence[Evaluation]) -> None:
    """Record the side-by-side table, paired tests, curves and clinical baselines."""
    manifest = study.prepared.manifest
    inputs = {
        **study.key,
        "evaluations": [[e.model.arm, e.run_id] for e in evaluations],
        "settings": job.config.evaluate.model_dump(mode="json"),
    }
    key = fingerprint("compare", inputs, LAYERS)
    tags = runs.common_tags("compare", source=manifest.source, synthetic=manifest.synthetic, fingerprint=key)

    def make(run: runs.Run) -> bool:
        _log(run, job, study, evaluations)
        return True

    run_stage(job, "compare", "compare", key, tags, make=make, reuse=lambda _: True)
