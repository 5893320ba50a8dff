"""What a candidate must show beside the champion, on the same cases: plain values in, a verdict with reasons out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from eusml.evaluation.comparison import compare_all
from eusml.evaluation.intervals import components
from eusml.evaluation.rules import RuleResult, bound
from eusml.sentences import Sentence, sentence

Compared = Literal["auroc", "accuracy"]
_NAMES: Mapping[Compared, str] = {"auroc": "AUROC", "accuracy": "accuracy"}


@dataclass(frozen=True)
class Overlap:
    """How many of the cases on which two models are judged one of them was trained on, and how that is known."""

    total: int
    """Cases on which they are judged."""
    by_case: int
    """Share a case_id with a training case."""
    by_patient: int
    """Share a patient, or a group of patients with the same picture."""
    by_picture: int
    """Have the very pixels of a training image, prepared alike."""
    any_of_them: int


@dataclass(frozen=True)
class Versus:
    """Candidate minus champion on the same cases."""

    metric: Compared
    candidate: float
    champion: float
    difference: float
    low: float
    """Lower one-sided bound; nan where the cases show no spread."""
    confidence: float
    """Of that bound."""
    cases: int
    method: str


def no_champion(why: str) -> RuleResult:
    """There is none to compare with."""
    return RuleResult("against the champion", True, why)


def champion_cannot_be_asked(why: str) -> RuleResult:
    """There is one, and no way to compare with it."""
    return RuleResult("against the champion", False, why)


def overlap(trained_on: pd.DataFrame, judged_on: pd.DataFrame) -> Overlap:
    """Which cases a model has seen in training.

    Args:
        trained_on: columns case_id, patient_id, pixels_sha256, perhaps group_id.
        judged_on: the same of the cases; their pixels are prepared as for that model.
    """
    case = judged_on["case_id"].isin(trained_on["case_id"])
    picture = judged_on["pixels_sha256"].isin(trained_on["pixels_sha256"])
    seen = {who for column in ("patient_id", "group_id") if column in trained_on for who in trained_on[column]}
    patient = judged_on["patient_id"].isin(seen)
    if "group_id" in judged_on:
        patient |= judged_on["group_id"].isin(seen)
    return Overlap(
        len(judged_on), int(case.sum()), int(patient.sum()), int(picture.sum()), int((case | patient | picture).sum())
    )


def not_trained_on(found: Overlap | None, champion: str) -> RuleResult:
    """The champion has not seen the cases on which both are judged: its answers to those would be memories."""
    name = "champion was not trained on these cases"
    if found is None:
        why = sentence("whys.training_unknown", "whom {champion} was trained on is not on record", champion=champion)
        return RuleResult(name, False, why)
    figures = vars(found)
    if not found.any_of_them:
        why = sentence("whys.no_overlap", "none of the {total} by case, patient or picture", total=found.total)
        return RuleResult(name, True, why, figures)
    why = sentence(
        "whys.overlap",
        "{champion} was trained on {any_of_them} of the {total} cases on which both would be judged ({by_case} by "
        "case, {by_patient} by patient, {by_picture} by picture)",
        champion=champion,
        **figures,
    )
    return RuleResult(name, False, why, figures)


def versus(
    candidate: pd.DataFrame, champion: pd.DataFrame, metric: Compared, confidence: float, samples: int
) -> Versus:
    """Compare two models on the same cases.

    Args:
        candidate: answers with columns case_id, patient_id, y_true, y_score, y_pred.
        champion: the same of the other model.
        metric: what is compared.
        confidence: of the one-sided bound.
        samples: resamples, where patients have several images.

    Raises:
        DataError: they are not of the same cases.
    """
    # The lower end of a two-sided interval of 90 % is a one-sided bound of 95 %.
    (pair,) = compare_all({"a": candidate, "b": champion}, confidence=2 * confidence - 1, samples=samples)
    difference, low = getattr(pair, f"{metric}_difference"), getattr(pair, f"{metric}_low")
    value = _value(candidate, metric)
    return Versus(metric, value, value - difference, difference, low, confidence, pair.cases, pair.method)


def not_inferior(found: Versus, margin: float) -> RuleResult:
    """The candidate is not worse than the champion by more than the margin, with confidence."""
    why = sentence(
        "whys.not_inferior",
        "{measure} {difference:+.3f} on the same {cases} cases, lower bound {bound} (one-sided, {percent:g} %), margin "
        "-{margin:g}",
        measure=_named(found.metric),
        difference=found.difference,
        cases=found.cases,
        bound=bound(found.low, "{low:+.3f}"),
        percent=100 * found.confidence,
        margin=margin,
    )
    return RuleResult("not inferior to the champion", bool(found.low > -margin), why, vars(found) | {"margin": margin})


def better(found: Versus) -> RuleResult:
    """The candidate's figure is the higher one."""
    why = sentence(
        "whys.better",
        "{measure} {candidate:.3f} against the champion's {champion:.3f}",
        measure=_named(found.metric),
        candidate=found.candidate,
        champion=found.champion,
    )
    return RuleResult("better than the champion", bool(found.difference > 0), why, vars(found))


def _named(metric: Compared) -> Sentence:
    return Sentence(_NAMES[metric], f"measures.{metric}")


def _value(answers: pd.DataFrame, metric: Compared) -> float:
    y_true = answers["y_true"].to_numpy()
    if metric == "accuracy":
        return float((answers["y_pred"].to_numpy() == y_true).mean())
    if len(set(y_true)) < 2:
        return math.nan
    return float(components(y_true, answers["y_score"].to_numpy(dtype=float)[None, :]).auroc[0])
