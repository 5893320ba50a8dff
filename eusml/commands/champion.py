"""The champion: found through its history, and asked about the very cases on which a candidate is judged."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eusml.commands.candidate import Candidate, deciding_cases
from eusml.commands.data import StudyData
from eusml.commands.job import Job
from eusml.commands.reported import Reported
from eusml.commands.terminal import progress, say
from eusml.errors import CheckpointError, DataError, TrackingError
from eusml.evaluation import champion_rules as rules
from eusml.evaluation.decision import Decision
from eusml.evaluation.rules import RuleResult
from eusml.learning.bundle import Bundle
from eusml.sentences import Sentence, sentence
from eusml.tracking import history, versions


@dataclass(frozen=True)
class Champion:
    """Who is champion, by the history and the registry."""

    entry: history.Entry | None
    """What made it champion."""
    version: versions.RegisteredVersion | None
    """None where there is none, or where it was deleted since."""

    @property
    def label(self) -> Sentence:
        """For people."""
        if self.entry is None:
            return sentence("whys.no_version", "no version")
        return sentence("whys.version", "version {version}", version=self.entry.after)


def champion_of(known: history.History | None) -> Champion:
    """The champion that a history names, with its version where that still exists."""
    entry = known.champion if known else None
    return Champion(entry, versions.version_of(known.name, entry.after) if known and entry else None)


def follow(known: history.History) -> None:
    """Put an alias that is not where the history says back there, and say so."""
    was = history.follow(known)
    if was is not None and known.champion is not None:
        is_at = known.champion.after
        say(f"  alias {known.alias} was at version {was}, and not at {is_at} as its history says; it was put back")


def write_on(
    version: versions.RegisteredVersion, decision: Decision, run_id: str, *, outcome: str, description: str
) -> None:
    """Write a decision, recorded in `run_id`, on the page of a version."""
    marks = {"eusml.decision": outcome, "eusml.decision_digest": decision.digest, "eusml.decision_run": run_id}
    versions.describe(version, marks, description)


def mark_displaced(champion: Champion, decision: Decision, run_id: str) -> None:
    """Write on the version that was champion that it is so no longer: its page says of old that it was promoted."""
    if champion.version is not None:
        outcome = "rolled back" if decision.kind == "rollback" else "displaced"
        line = (
            f"**{outcome.capitalize()}, no longer {decision.alias}**: version {decision.version} is, by run {run_id}."
        )
        before = champion.version.description
        write_on(champion.version, decision, run_id, outcome=outcome, description=f"{line}\n\n{before}")


def against(job: Job, study: StudyData, candidate: Candidate, champion: Champion) -> Sequence[RuleResult]:
    """All rules that compare the candidate with the champion; none where it is the champion.

    The champion's own network, every file of it verified, is asked about the candidate's cases: figures that it got on
    other cases could not be compared.
    """
    if champion.entry is None:
        return [rules.no_champion(sentence("whys.no_champion", "there is no champion yet"))]
    if candidate.version is not None and candidate.version.version == champion.entry.after:
        return []
    if champion.version is None:
        template = "{champion}, the champion by the history, was deleted, so none is left"
        return [rules.no_champion(sentence("whys.champion_deleted", template, champion=champion.label))]
    try:
        bundle = versions.verified_bundle(champion.version, champion.entry.files_sha256)
    except (CheckpointError, TrackingError) as error:
        template = "{champion} is not sound, roll it back first: "
        why = sentence("whys.champion_unsound", template, champion=champion.label, quoted=str(error))
        return [rules.champion_cannot_be_asked(why)]
    ours, theirs = candidate.evaluation.model.spec, bundle.spec
    if (ours.positive_class, ours.negative_class) != (theirs.positive_class, theirs.negative_class):
        why = sentence(
            "whys.other_question",
            "{champion} answers another question: {positive} against {negative}",
            champion=champion.label,
            positive=theirs.positive_class,
            negative=theirs.negative_class,
        )
        return [rules.champion_cannot_be_asked(why)]
    try:
        cases = deciding_cases(job, study, candidate.part, theirs.preparation)
    except DataError as error:
        template = "the cases cannot be prepared for {champion}: "
        why = sentence("whys.not_prepared", template, champion=champion.label, quoted=str(error))
        return [rules.champion_cannot_be_asked(why)]
    trained_on = versions.trained_on(champion.version)
    seen = None if trained_on is None else rules.overlap(trained_on, cases.table)
    first = rules.not_trained_on(seen, champion.label)
    if not first.passed:
        return [first]
    policy, settings = job.config.promote.policy, job.config.evaluate
    answers = _asked(bundle, cases, candidate.answers)
    found = rules.versus(candidate.answers, answers, policy.metric, policy.confidence, settings.bootstrap_samples)
    return [first, rules.not_inferior(found, policy.margin), rules.better(found)]


def _asked(bundle: Bundle, cases: Reported, table: pd.DataFrame) -> pd.DataFrame:
    """The champion's answers in the place of the candidate's, row by row."""
    scores = bundle.scores(cases.images, lambda items: progress(items, "ask the champion"))
    y_score = table["case_id"].map(dict(zip(cases.table["case_id"], scores, strict=True))).to_numpy(dtype=np.float64)
    return table.assign(y_score=y_score, y_pred=(y_score >= bundle.spec.threshold).astype(np.int64))
