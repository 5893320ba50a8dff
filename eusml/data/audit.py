"""What is wrong with a cohort, found before anyone trains on it, and what is done about each finding."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from eusml.config import AuditConfig
from eusml.data.duplicates import Pair, similar_pairs
from eusml.data.findings import Audit, Decision, Finding, FlowStep, Kind
from eusml.data.groups import joined
from eusml.data.ingest import Ingested
from eusml.data.manifest import Cases, Exclusion
from eusml.data.quality import BLANK_SD
from eusml.data.split import FOLD_COLUMN
from eusml.sentences import Sentence, counted, sentence

if TYPE_CHECKING:
    from numpy.typing import NDArray

MARKS_FRAC = 0.001
"""Share of the region of interest from which on drawn marks are reported; less than that, a bright fleck can be."""
RARE_CLASS_FRAC = 0.1
"""Share of all cases below which a class is reported as rare."""
COVARIATE_RANGES = {"size_mm": (0.5, 500.0), "age_years": (0.0, 120.0)}
"""Plausible values; what lies outside is reported and used as it is."""
_SHOWN = 5


def audit(
    cases: Cases,
    ingested: Ingested,
    settings: AuditConfig,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Audit:
    """Look for everything that would spoil a study.

    Args:
        cases: the cohort as its source gave it.
        ingested: what was found in its files, in the same order.
        settings: what to do about each kind of finding.
        progress: wraps the pairs of pictures that are compared.
    """
    table, ids = cases.table.reset_index(drop=True), cases.table["case_id"].astype(str).tolist()
    draft = _Draft(ids)
    readable = ingested.readable
    for place in np.flatnonzero(~readable).tolist():
        problem = sentence("findings.unreadable", "", quoted=str(ingested.measures["problem"].iloc[place]))
        draft.add(
            "unreadable", [place], problem, drop=settings.unreadable == "drop", stop=settings.unreadable == "stop"
        )
    blank = readable & (ingested.measures["grey_sd"].to_numpy() <= BLANK_SD)
    for place in np.flatnonzero(blank).tolist():
        detail = sentence("findings.blank", "{case} shows nothing in its region", case=ids[place])
        draft.add("blank", [place], detail, drop=settings.blank == "drop")
    pairs = _pairs(ingested, readable & ~blank, progress) if settings.near_duplicates else ()
    _label_conflicts(draft, table, pairs, settings)
    _same_pictures(draft, table, pairs)
    _across_folds(draft, table, pairs)
    _patient_conflicts(draft, table, settings)
    _drawn_marks(draft, table, ingested.measures)
    _small_regions(draft, ingested)
    _covariates(draft, table)
    _balance(draft, table)
    draft.findings += [Finding("source", (), note, "reported") for note in cases.notes]
    return Audit(
        findings=tuple(draft.findings),
        pairs=pairs,
        kept=np.array([place not in draft.dropped for place in range(len(ids))], dtype=np.bool_),
        groups=joined(len(ids), [table["patient_id"].tolist()], [(pair.first, pair.second) for pair in pairs]),
        steps=_flow(cases.excluded, draft),
    )


class _Draft:
    """Findings so far, and whom they drop."""

    def __init__(self, ids: list[str]) -> None:
        self.ids = ids
        self.findings: list[Finding] = []
        self.dropped: dict[int, Kind] = {}
        """Number of a case and the first reason to drop it."""

    def add(
        self,
        kind: Kind,
        places: Sequence[int],
        detail: Sentence,
        *,
        drop: bool | Sequence[int] = False,
        stop: bool = False,
        otherwise: Decision = "kept",
    ) -> None:
        """Record a finding; `drop` is whether all of its cases go, or which of them."""
        gone = list(places) if drop is True else list(drop or ())
        for place in gone:
            self.dropped.setdefault(int(place), kind)
        decision: Decision = "stops the run" if stop else "dropped" if gone else otherwise
        self.findings.append(Finding(kind, tuple(self.ids[place] for place in places), detail, decision))


def _pairs(
    ingested: Ingested, usable: "NDArray[np.bool_]", progress: Callable[[Iterable[Any]], Iterable[Any]]
) -> tuple[Pair, ...]:
    places = np.flatnonzero(usable)
    found = similar_pairs(ingested.sketches[places], progress)
    return tuple(Pair(int(places[pair.first]), int(places[pair.second]), pair.agreement, pair.flip) for pair in found)


def _label_conflicts(draft: _Draft, table: pd.DataFrame, pairs: tuple[Pair, ...], settings: AuditConfig) -> None:
    labels = table["label"].tolist()
    pictures = joined(len(table), [], [(pair.first, pair.second) for pair in pairs])
    conflicting = {int(pictures[p.first]) for p in pairs if labels[p.first] != labels[p.second]}
    for picture in sorted(conflicting):
        places = np.flatnonzero(pictures == picture).tolist()
        named = [sentence("findings.labelled", "{case} is {label}", case=draft.ids[p], label=labels[p]) for p in places]
        detail = sentence("findings.two_labels", "{cases}", cases=named)
        others = [place for place in places if labels[place] != labels[places[0]]]
        drop = {"drop": others, "drop_both": places}.get(settings.label_conflicts, [])
        stop = settings.label_conflicts == "stop"
        draft.add("same picture, two labels", places, detail, drop=drop, stop=stop, otherwise="grouped")


def _same_pictures(draft: _Draft, table: pd.DataFrame, pairs: tuple[Pair, ...]) -> None:
    labels = table["label"].tolist()
    for pair in pairs:
        if labels[pair.first] != labels[pair.second]:
            continue
        flip = [Sentence(pair.flip, f"flips.{pair.flip}")] if pair.flip else []
        detail = sentence(
            "findings.same_picture",
            "{how} (agreement {agreement:.2f})",
            how=[
                sentence(
                    "findings.pair", "{first} and {second}", first=draft.ids[pair.first], second=draft.ids[pair.second]
                ),
                *flip,
            ],
            agreement=float(pair.agreement),
        )
        draft.add("same picture", [pair.first, pair.second], detail, otherwise="grouped")


def _across_folds(draft: _Draft, table: pd.DataFrame, pairs: tuple[Pair, ...]) -> None:
    """Copies that published folds part: results printed for such folds are of pictures that were trained on."""
    if FOLD_COLUMN not in table.columns:
        return
    folds = table[FOLD_COLUMN].tolist()
    parted = [pair for pair in pairs if folds[pair.first] != folds[pair.second]]
    if parted:
        places = sorted({place for pair in parted for place in (pair.first, pair.second)})
        detail = sentence(
            "findings.two_folds",
            "{pairs} pairs of the same picture stand in different published folds; with split.published, what "
            "the held-out fold shares with others is left out of training",
            pairs=len(parted),
        )
        draft.add("same picture, two folds", places, detail, otherwise="reported")


def _patient_conflicts(draft: _Draft, table: pd.DataFrame, settings: AuditConfig) -> None:
    for patient, rows in table.groupby("patient_id", sort=True):
        if rows["label"].nunique() > 1:
            counts = [f"{label} ({count})" for label, count in rows["label"].value_counts().items()]
            draft.add(
                "one patient, two labels",
                rows.index.tolist(),
                sentence(
                    "findings.patient", "patient {patient} has images of {counts}", patient=str(patient), counts=counts
                ),
                drop=settings.patient_conflicts == "drop_both",
                stop=settings.patient_conflicts == "stop",
            )


def _drawn_marks(draft: _Draft, table: pd.DataFrame, measures: pd.DataFrame) -> None:
    """One finding for the cohort: a class whose lesions were measured more often gives itself away."""
    marked = measures["overlay_frac"].to_numpy() >= MARKS_FRAC
    if not marked.any():
        return
    by_class = [
        f"{label} {int(marked[rows.index].sum())}/{len(rows)}" for label, rows in table.groupby("label", sort=True)
    ]
    share = 100 * float(measures.loc[marked, "overlay_frac"].median())
    detail = sentence(
        "findings.marks",
        "{marked} of {total} regions of interest hold callipers, letters or colours ({by_class}); they cover "
        "{share:.1f} % of such a region in the median. -P data.inpaint_overlays=true paints over them",
        marked=int(marked.sum()),
        total=len(table),
        by_class=by_class,
        share=share,
    )
    draft.add("marks in the region", np.flatnonzero(marked).tolist(), detail, otherwise="reported")


def _small_regions(draft: _Draft, ingested: Ingested) -> None:
    side = ingested.images.shape[1]
    shorter = ingested.measures[["width_px", "height_px"]].min(axis=1).to_numpy()
    small = np.flatnonzero(ingested.readable & (shorter < side))
    if len(small):
        detail = sentence(
            "findings.small",
            "{count} pictures are smaller than the {side} pixels that the network sees; they are enlarged",
            count=len(small),
            side=side,
        )
        draft.add("small", small.tolist(), detail, otherwise="reported")


def _covariates(draft: _Draft, table: pd.DataFrame) -> None:
    known = {"case_id", "patient_id", "image", "label", "bbox_x", "bbox_y", "bbox_w", "bbox_h"}
    for name in [column for column in table.columns if column not in known]:
        missing = np.flatnonzero(table[name].isna())
        if len(missing):
            detail = sentence(
                "findings.missing",
                "{name} is missing for {missing} of {total} cases",
                name=name,
                missing=len(missing),
                total=len(table),
            )
            draft.add("covariate", missing.tolist(), detail, otherwise="reported")
        if name in COVARIATE_RANGES:
            low, high = COVARIATE_RANGES[name]
            value = pd.to_numeric(table[name], errors="coerce")
            wrong = np.flatnonzero(table[name].notna() & ~value.between(low, high))
            if len(wrong):
                detail = sentence(
                    "findings.range",
                    "{name} lies outside {low:g} to {high:g} for {cases}",
                    name=name,
                    low=low,
                    high=high,
                    cases=counted([f"{draft.ids[place]}: {table[name].iloc[place]}" for place in wrong], _SHOWN),
                )
                draft.add("covariate", wrong.tolist(), detail, otherwise="reported")


def _balance(draft: _Draft, table: pd.DataFrame) -> None:
    counts = table["label"].value_counts()
    if len(counts) > 1 and counts.min() < RARE_CLASS_FRAC * counts.sum():
        detail = sentence(
            "findings.balance",
            "only {count} of {total} cases are {label}; its figures will be uncertain",
            count=int(counts.min()),
            total=int(counts.sum()),
            label=str(counts.idxmin()),
        )
        draft.add("class balance", [], detail, otherwise="reported")


def _flow(excluded: tuple[Exclusion, ...], draft: _Draft) -> tuple[FlowStep, ...]:
    """Found, left out and why, kept: every case is in one line beside the first."""
    dropped = [Sentence(kind, f"kinds.{kind}") for kind in draft.dropped.values()]
    reasons = Counter([*(one.reason for one in excluded), *dropped])
    found = len(draft.ids) + len(excluded)
    return (
        FlowStep(sentence("steps.found", "found"), found),
        *(FlowStep(sentence("steps.excluded", "excluded: {why}", why=why), count) for why, count in reasons.items()),
        FlowStep(sentence("steps.kept", "kept"), len(draft.ids) - len(draft.dropped)),
    )
