"""Sections about what an answer is worth to its user: calibration, decision curve, predictive values."""

from eusml.evaluation.bands import BAND_SAMPLES
from eusml.evaluation.calibration import (
    RELIABILITY_BINS,
    Coefficient,
    calibration_error,
    recalibration,
    reliability,
)
from eusml.evaluation.figures import curves
from eusml.evaluation.net_benefit import net_benefit_band
from eusml.evaluation.predictive_values import values_by_prevalence
from eusml.evaluation.reporting.contents import Arm, Contents
from eusml.evaluation.reporting.document import Cell, FigureBlock, Paragraph, Section, Table
from eusml.evaluation.reporting.parts import (
    arrays,
    both_classes,
    estimate_of,
    frame,
    panels_of,
    part_name,
    part_title,
)
from eusml.evaluation.reporting.words import Words, interval, number

_SHOWN_PREVALENCES = (0.1, 0.25, 0.5, 0.75)
_SHOWN_THRESHOLDS = (0.1, 0.2, 0.3, 0.5)


def calibration(contents: Contents, w: Words) -> Section | None:
    """Whether the probabilities hold."""
    panels = {
        part: {name: reliability(*arrays(table)[:2]) for name, table in both_classes(contents, part)}
        for part in contents.parts
    }
    panels = {part: found for part, found in panels.items() if found}
    if not panels:
        return None
    rows = []
    for part in panels:
        for name, table in both_classes(contents, part):
            y_true, y_score, patients = arrays(table)
            found = recalibration(y_true, y_score, patients, contents.evaluate.confidence)
            ece = number(calibration_error(y_true, y_score))
            arm = next(arm for arm in contents.arms if arm.name == name)
            brier = Cell(estimate_of(arm, part, "brier"), f"{arm.run_ids[part]} {part}/brier")
            rows.append(
                [
                    Cell(f"{name}, {part_name(part, contents, w, 'short')}"),
                    Cell(str(len(table))),
                    Cell(_coefficient(found.intercept)),
                    Cell(_coefficient(found.slope)),
                    Cell(ece),
                    brier,
                ]
            )
    percent = f"{100 * contents.evaluate.confidence:.0f}"
    drawn = curves.calibration("calibration", panels_of(panels, contents), frame(contents, w))
    cases = w.joined([part_title(part, contents, w) for part in panels])
    heats = [
        w("calibration.temperature", arm=arm.name, temperature=number(arm.temperature, 2))
        for arm in contents.arms
        if arm.temperature is not None
    ]
    return Section(
        "calibration",
        w("calibration.title"),
        [
            Paragraph(w("calibration.text")),
            *([Paragraph(" ".join(heats))] if heats else []),
            Table(w("calibration.table", percent=percent), w("calibration.head").split("|"), rows),
            FigureBlock(drawn, w("calibration.caption", cases=cases, bins=RELIABILITY_BINS), w("calibration.alt")),
        ],
    )


def _coefficient(found: Coefficient) -> str:
    text = number(found.value, 2)
    return text if text == "–" else f"{text} ({interval(found.low, found.high, 2).replace('–', '; ')})"


def decision_curve(contents: Contents, w: Words) -> Section | None:
    """Net benefit."""
    samples = min(contents.evaluate.bootstrap_samples, BAND_SAMPLES)
    panels = {
        part: {
            name: net_benefit_band(*arrays(table), contents.evaluate.confidence, samples)
            for name, table in both_classes(contents, part)
        }
        for part in contents.parts
    }
    panels = {part: found for part, found in panels.items() if found}
    if not panels:
        return None
    drawn = curves.decision_curves("decision_curve", panels_of(panels, contents), frame(contents, w))
    rows = []
    for part, found in panels.items():
        for name, table in found.items():
            at = {row["threshold"]: row for row in table.to_dict("records")}
            texts = [f"{at[t]['model']:.3f} ({at[t]['everybody']:.3f})" for t in _SHOWN_THRESHOLDS]
            rows.append(
                [
                    Cell(f"{name}, {part_name(part, contents, w, 'short')}"),
                    *(Cell(text.replace("-", "−")) for text in texts),
                ]
            )
    cases = w.joined([part_title(part, contents, w) for part in panels])
    percent = f"{100 * contents.evaluate.confidence:.0f}"
    negative, positive = contents.classes
    head = [w("decision_curve.network"), *(f"{threshold:g}" for threshold in _SHOWN_THRESHOLDS)]
    return Section(
        "decision-curve",
        w("decision_curve.title"),
        [
            Paragraph(w("decision_curve.text", positive=positive, negative=negative)),
            Table(w("decision_curve.table"), head, rows),
            FigureBlock(
                drawn,
                w("decision_curve.caption", cases=cases, percent=percent, samples=samples),
                w("decision_curve.alt"),
            ),
        ],
    )


def by_prevalence(contents: Contents, w: Words) -> Section | None:
    """What a call is worth where the disease is rarer or commoner."""
    part = contents.parts[-1] if contents.parts else ""
    arms = [arm for arm in contents.arms if part in arm.metrics and not _clustered(arm, part)]
    tables = {}
    for arm in arms:
        counts = {name: int(arm.metrics[part].get(name, 0)) for name in ("tp", "fn", "tn", "fp")}
        found = values_by_prevalence(
            counts["tp"], counts["fn"], counts["tn"], counts["fp"], contents.evaluate.confidence
        )
        if len(found):
            tables[arm.name] = found
    if not tables:
        return None
    drawn = curves.predictive_values("predictive_values", tables, frame(contents, w))
    rows = []
    for name, table in tables.items():
        at = {row["prevalence"]: row for row in table.to_dict("records")}
        for value in ("ppv", "npv"):
            texts = [
                f"{number(at[p][value])} ({interval(at[p][f'{value}_low'], at[p][f'{value}_high'])})"
                for p in _SHOWN_PREVALENCES
            ]
            rows.append([Cell(f"{name}, {w.measure(value)}"), *(Cell(text) for text in texts)])
    title, percent = part_title(part, contents, w), f"{100 * contents.evaluate.confidence:.0f}"
    head = [w("prevalence.network"), *(f"{100 * p:.0f} %" for p in _SHOWN_PREVALENCES)]
    return Section(
        "predictive-values",
        w("prevalence.title"),
        [
            Paragraph(w("prevalence.text", positive=contents.classes[1], part=title)),
            Table(w("prevalence.table", percent=percent, positive=contents.classes[1]), head, rows),
            FigureBlock(drawn, w("prevalence.caption", part=title, percent=percent), w("prevalence.alt")),
        ],
    )


def _clustered(arm: Arm, part: str) -> bool:
    return arm.metrics[part].get("patients", 0) < arm.metrics[part].get("cases", 0)
