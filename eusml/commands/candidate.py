"""The candidate for promotion: its model as the store holds it, and the rules that it must meet by itself."""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from eusml.commands.data import StudyData, study_at
from eusml.commands.evaluate import (
    HOLDOUT,
    Evaluation,
    cases_digest_tag,
    digest_tag,
)
from eusml.commands.job import Job
from eusml.commands.reported import Reported, further_cases, held_out_cases
from eusml.config import DataConfig
from eusml.data.images import Preparation
from eusml.data.ingest import preparation_of
from eusml.data.manifest import table_digest
from eusml.errors import PromotionError, TrackingError
from eusml.evaluation import rules
from eusml.evaluation.calibration import calibration_error
from eusml.evaluation.metrics import evaluate_answers
from eusml.evaluation.model_card import CardFacts, model_card
from eusml.tables import read_csv
from eusml.tracking import lookup, registry, runs, versions


@dataclass(frozen=True)
class Candidate:
    """A model that may be promoted."""

    evaluation: Evaluation
    name: str
    """Registered model that it is or would be a version of."""
    logged: versions.LoggedModel | None
    """None where the store does not hold it soundly."""
    version: versions.RegisteredVersion | None
    """None where it was not registered."""
    problem: str | None
    """What is wrong with its files."""
    card: str = ""
    """What the page of the version says of the model, once it is registered."""

    @property
    def part(self) -> str:
        """The cases that decide: those set aside for choosing, else the held-out ones."""
        return "val" if "val" in self.evaluation.predictions else "test"

    @property
    def answers(self) -> pd.DataFrame:
        """What it says of them."""
        return self.evaluation.predictions[self.part]


def look_at(evaluation: Evaluation) -> Candidate:
    """The candidate of one arm, which is not registered thereby."""
    model = evaluation.model
    spec = model.spec
    assert model.model_id is not None, "only models that are kept are registered"
    name = registry.registered_name(spec.arch, spec.synthetic)
    try:
        logged = versions.inspect(model.model_id, spec.weights_sha256)
    except PromotionError as error:
        return Candidate(evaluation, name, None, None, str(error))
    return Candidate(evaluation, name, logged, versions.find(name, logged), None)


def register(job: Job, run: runs.Run, study: StudyData, candidate: Candidate) -> Candidate:
    """The same as a version of its registered model, which must be there; unchanged where its files are not sound."""
    if candidate.logged is None:
        return candidate
    evaluation = candidate.evaluation
    spec = evaluation.model.spec
    tags = {
        "eusml.arm": evaluation.model.arm,
        "eusml.protocol": evaluation.protocol,
        "eusml.synthetic": str(spec.synthetic).lower(),
        "eusml.evaluation_run": evaluation.run_id,
    }
    # With the pixels that it saw, which are others where tuning chose another size.
    study = study_at(job, study, prepared_as(job.config.data, spec.preparation))
    trained_on = study.prepared.manifest.table.iloc[study.split.indices("train")]
    try:
        version = versions.register(run, candidate.logged, candidate.name, evaluation.model.arm, tags, trained_on)
    except PromotionError as error:
        return replace(candidate, problem=str(error))
    facts = _card_facts(run, candidate, study)
    run.text(model_card(facts, evaluation.metrics, brief=False), f"registered/{evaluation.model.arm}/model_card.md")
    card = model_card(facts, evaluation.metrics, brief=True)
    # The one model can be evaluated again.
    versions.describe(version, tags, card)
    return replace(candidate, version=version, card=card)


def _card_facts(run: runs.Run, candidate: Candidate, study: StudyData) -> CardFacts:
    evaluation = candidate.evaluation
    model, manifest = evaluation.model, study.prepared.manifest
    spec = model.spec
    trained_on = manifest.table.iloc[study.split.indices("train")]
    return CardFacts(
        name=candidate.name,
        arm=model.arm,
        arch=spec.arch,
        positive_class=spec.positive_class,
        negative_class=spec.negative_class,
        size_px=spec.preparation.size_px,
        threshold=spec.threshold,
        views=spec.views,
        weights_sha256=spec.weights_sha256,
        synthetic=spec.synthetic,
        source=manifest.source,
        trained_on={
            name: int((trained_on["label"] == name).sum()) for name in (spec.positive_class, spec.negative_class)
        },
        patients=int(trained_on["patient_id"].nunique()),
        calibrated_on=spec.calibration.cases if spec.calibration else None,
        known_images=spec.quality.count if spec.quality else None,
        runs={"trained": model.run_id, "measured": evaluation.run_id, "registered": run.run_id},
        protocol=evaluation.protocol,
    )


def own_rules(job: Job, study: StudyData, candidate: Candidate) -> list[rules.RuleResult]:
    """All rules that need no champion."""
    evaluation, policy = candidate.evaluation, job.config.promote.policy
    model = evaluation.model
    states = {"train": lookup.run_state(model.run_id), "evaluate": lookup.run_state(evaluation.run_id)}
    measured = evaluate_answers(
        candidate.answers, job.config.evaluate.model_copy(update={"confidence": policy.confidence})
    )
    y_true, y_score = (candidate.answers[name].to_numpy() for name in ("y_true", "y_score"))
    git = {
        what: (state.tags.get("eusml.git_commit", "unknown"), state.tags.get("eusml.git_dirty", "unknown"))
        for what, state in states.items()
    }
    marks = [state.tags.get(runs.SYNTHETIC) == "true" for state in states.values()]
    return [
        rules.audit_is_clean(
            _findings(job),
            pictures_compared=job.config.data.audit.near_duplicates,
            required=policy.require_clean_audit,
        ),
        rules.files_are_sound(candidate.problem, len(candidate.logged.files) if candidate.logged else 0),
        rules.digests_match(_digests(job, study, candidate, states)),
        rules.runs_finished({what: state.status for what, state in states.items()}),
        rules.git_state_is_known(git, policy.require_git),
        rules.synthetic_stays_apart(
            synthetic=model.spec.synthetic or study.prepared.manifest.synthetic or any(marks),
            name=candidate.name,
            name_is_synthetic=registry.is_synthetic_name(candidate.name),
        ),
        rules.above_floor(
            "sensitivity", measured.estimates["sensitivity"], policy.sensitivity_floor, policy.confidence
        ),
        rules.above_floor("AUROC", measured.estimates["auroc"], policy.auroc_floor, policy.confidence),
        rules.calibration_below_cap(
            calibration_error(y_true, y_score), policy.calibration_error_cap, len(candidate.answers)
        ),
    ]


def deciding_cases(job: Job, study: StudyData, part: str, preparation: Preparation) -> Reported:
    """The cases that decide, prepared as a model wants them.

    Raises:
        DataError: the audit leaves other cases when they are prepared so.
    """
    settings = prepared_as(job.config.data, preparation)
    if part != "test":
        return further_cases(job, settings)[part]
    study = study_at(job, study, settings)
    everyone = Reported(study.prepared.manifest.table, study.prepared.images)  # of a cross-validation
    return held_out_cases(study).get(part, everyone)


def prepared_as(settings: DataConfig, preparation: Preparation) -> DataConfig:
    """The same images, prepared for another model."""
    if preparation_of(settings) == preparation:
        return settings
    return settings.model_copy(
        update={
            "image_size_px": preparation.size_px,
            "roi_margin_frac": preparation.margin_frac,
            "grey_range": preparation.grey_range,
            "inpaint_overlays": preparation.inpaint_overlays,
            "dicom": settings.dicom.model_copy(update={"frame": preparation.frame}),
        }
    )


def _digests(
    job: Job, study: StudyData, candidate: Candidate, states: "dict[str, lookup.RunState]"
) -> dict[str, tuple[str | None, str | None]]:
    """What was recorded beside what is found now, of everything that the result rests on."""
    evaluation = candidate.evaluation
    weights = candidate.logged.weights_sha256 if candidate.logged else None
    found = {"weights": (states["train"].tags.get(versions.WEIGHTS), weights)}
    if evaluation.protocol != HOLDOUT:
        return found  # of which the run of each fold has the rest
    recorded = lookup.run_state(_data_run(job)).tags.get("eusml.split_digest")
    found["split"] = (recorded, table_digest(study.split.table))
    tags, preparation = states["evaluate"].tags, evaluation.model.spec.preparation
    cases = deciding_cases(job, study, candidate.part, preparation)
    found[f"{candidate.part} cases"] = (tags.get(cases_digest_tag(candidate.part)), cases.cases_digest)
    found[f"{candidate.part} images"] = (tags.get(digest_tag(candidate.part)), cases.digest)
    return found


def _findings(job: Job) -> list[dict[str, str]] | None:
    """Kind and decision of each finding of the audit on record."""
    try:
        file = runs.fetch(_data_run(job), "audit/findings.csv", job.work_dir / "promote" / _data_run(job))
        table = read_csv(Path(file), ["kind", "decision", "detail", "cases"])
    except (TrackingError, ValueError):
        return None
    return [{"kind": row["kind"], "decision": row["decision"]} for row in table.to_dict("records")]


def _data_run(job: Job) -> str:
    """The run that recorded audit and split."""
    return next((record.run_id for record in job.records if record.label == "data"), "none")
