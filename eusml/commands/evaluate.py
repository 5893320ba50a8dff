"""Entry point `evaluate`: the network's answers on cases it never saw, every figure with its interval."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import pandas as pd

from eusml.commands.cohort import shows_images
from eusml.commands.data import StudyData, study_data
from eusml.commands.failures import log_failures
from eusml.commands.job import Job, open_job, run_stage
from eusml.commands.reported import Reported, predictions, read_predictions, reported_cases
from eusml.commands.terminal import progress, say
from eusml.commands.train import say_what_arms_have, trained_model
from eusml.commands.trained import TrainedModel
from eusml.commands.tune import settled
from eusml.commands.turns import say_of_unlearnt_turns
from eusml.config import Config, EvaluateConfig, flatten
from eusml.digests import fingerprint
from eusml.errors import TrackingError
from eusml.evaluation import paper, report
from eusml.evaluation.figures import drawing, single
from eusml.evaluation.metrics import Metrics, evaluate_answers
from eusml.evaluation.patients import by_patient, has_several_images
from eusml.sentences import records
from eusml.tracking import runs
from eusml.tracking.lookup import FinishedRun
from eusml.tracking.selection import METHODS_FILE

LAYERS = ("data", "learning", "evaluation")
HOLDOUT = "holdout"
ARM = "eusml.arm"
"""Tag of an evaluation run: name of the network's arm."""
PREPARATION = "eusml.preparation"
"""Tag of an evaluation run: how its images were prepared, which decides their pixels."""


@dataclass(frozen=True)
class Evaluation:
    """One network's measures and answers by partition: `test`; for the phantom also `val` and `fresh`."""

    model: TrainedModel
    run_id: str
    settings: EvaluateConfig
    """How it was measured."""
    metrics: Mapping[str, Metrics]
    predictions: Mapping[str, pd.DataFrame]
    """Columns case_id, patient_id, y_true, y_score, y_pred."""
    val_cases_digest: str | None
    """Who the `val` cases are; None without them."""
    protocol: str = HOLDOUT
    """How the figures on `test` were come by."""

    @property
    def note(self) -> str:
        """The measures as a table, and what they are of."""
        return report.evaluation_note(self.metrics, synthetic=self.model.spec.synthetic, protocol=self.protocol)


def run(config: Config) -> None:
    """Evaluate the network that `train` describes, as an MLflow run of its own."""
    with open_job("evaluate", config) as job:
        arm = config.train.arch
        say_what_arms_have(config)
        say_of_unlearnt_turns({arm: config})
        study, config = settled(job, study_data(job), arm, config)
        evaluation(job, study, trained_model(job, study, arm, config), config)


def evaluation(job: Job, study: StudyData, model: TrainedModel, config: Config) -> Evaluation:
    """Measure one network on all cases that may be reported of it, or take its measures from the finished run."""
    return measured(job, study, model, config, reported_cases(job, study, config.data))


def measured(
    job: Job, study: StudyData, model: TrainedModel, config: Config, cases: Mapping[str, Reported]
) -> Evaluation:
    """The same on some partitions."""
    digests = {part: reported.digest for part, reported in cases.items()}
    settings = config.evaluate
    pictures = shows_images(config, synthetic=study.prepared.manifest.synthetic)
    inputs = {
        **study.key,
        "cases": digests,
        "model": model.spec.digest,
        "settings": settings.model_dump(mode="json"),
        "pictures": pictures,
    }
    key = fingerprint("evaluate", inputs, LAYERS)

    def finish(run_id: str, answers: Mapping[str, pd.DataFrame]) -> Evaluation:
        metrics = {part: evaluate_answers(table, settings) for part, table in answers.items()}
        val = cases.get("val")
        return Evaluation(model, run_id, settings, metrics, answers, val.cases_digest if val else None)

    def make(run: runs.Run) -> Evaluation:
        answers = {part: _predict(model, reported, settings.threshold, part) for part, reported in cases.items()}
        result = finish(run.run_id, answers)
        _log(run, study, result, cases)
        if pictures:
            log_failures(run, model.bundle, cases, answers)
        return result

    def reuse(finished: FinishedRun) -> Evaluation | None:
        folder = job.work_dir / "evaluate" / key[:16]
        try:
            files = {part: runs.fetch(finished.run_id, f"predictions_{part}.csv", folder) for part in cases}
        except TrackingError:
            return None
        return finish(finished.run_id, {part: read_predictions(file) for part, file in files.items()})

    tags = evaluation_tags(study, model, cases, key)
    return run_stage(job, "evaluate", f"evaluate {model.arm}", key, tags, make=make, reuse=reuse)


def evaluation_tags(
    study: StudyData, model: TrainedModel, cases: Mapping[str, Reported], fingerprint: str
) -> dict[str, str]:
    """What tells an evaluation run from others: whom it asked, and about which cases."""
    manifest, spec = study.prepared.manifest, model.spec
    return {
        **runs.common_tags(
            "evaluate", arch=spec.arch, source=manifest.source, synthetic=manifest.synthetic, fingerprint=fingerprint
        ),
        **{digest_tag(part): reported.digest for part, reported in cases.items()},
        **{cases_digest_tag(part): reported.cases_digest for part, reported in cases.items()},
        "eusml.train_run": model.run_id,
        ARM: model.arm,
        PREPARATION: json.dumps(asdict(spec.preparation)),
    }


def digest_tag(part: str) -> str:
    """Tag of an evaluation run: `Reported.digest` of one partition."""
    return f"eusml.{part}_digest"


def cases_digest_tag(part: str) -> str:
    """Tag of an evaluation run: `Reported.cases_digest` of one partition."""
    return f"eusml.{part}_cases_digest"


def _predict(model: TrainedModel, reported: Reported, threshold: float, part: str) -> pd.DataFrame:
    y_score = model.bundle.scores(reported.images, lambda items: progress(items, f"predict {part}"))
    return predictions(reported.table, y_score, threshold)


def _log(run: runs.Run, study: StudyData, result: Evaluation, cases: Mapping[str, Reported]) -> None:
    manifest = study.prepared.manifest
    held_out = manifest.table.iloc[study.split.indices("test")]
    if len(held_out):
        run.dataset(held_out, "test", study.prepared.digest, "evaluation", manifest.source)
    for part, reported in cases.items():
        if part != "test":  # those stand in the manifest
            run.table(reported.known, f"cases_{part}.csv")
    log_measures(run, result)
    run.note(result.note)


def _log_patients(run: runs.Run, part: str, answers: pd.DataFrame, settings: EvaluateConfig) -> None:
    """The same measures of patients, by the mean probability of their images, beside those of images."""
    table = by_patient(answers, settings.threshold)
    metrics = evaluate_answers(table, settings)
    run.metrics(metrics.flat(f"{part}_by_patient"))
    run.table(table, f"predictions_{part}_by_patient.csv")
    run.table(metrics.table(), f"metrics_{part}_by_patient.csv")
    say(f"  {part}, by patient: {metrics.one_line()}")


def log_measures(run: runs.Run, result: Evaluation) -> None:
    """Tables and figures of an evaluation."""
    spec = result.model.spec
    # The UI's Compare shows parameters above the measures: there they say what the networks differ in.
    run.params(flatten(result.model.settings, "trained."))
    for part, metrics in result.metrics.items():
        if has_several_images(result.predictions[part]):
            _log_patients(run, part, result.predictions[part], result.settings)
        run.metrics(metrics.flat(part))
        run.table(result.predictions[part], f"predictions_{part}.csv")
        run.table(metrics.table(), f"metrics_{part}.csv")
        run.table(metrics.interval_table(), f"intervals_{part}.csv")
    methods = [estimate.method for metrics in result.metrics.values() for estimate in metrics.estimates.values()]
    run.json(records([*methods, result.protocol]), METHODS_FILE)
    drawn = single.of_evaluation(
        result.model.arm,
        result.metrics,
        result.predictions,
        (spec.negative_class, spec.positive_class),
        result.settings.bootstrap_samples,
        synthetic=spec.synthetic,
        out_of_fold=result.protocol != HOLDOUT,
    )
    run.artifacts(drawing.files(drawn))
    run.text(paper.paper_markdown(), "paper_table.md")
    for part in ("test", "fresh"):
        if part in result.metrics:
            say(f"  {part}: {result.metrics[part].one_line()}")
