"""Sections about what was measured: estimates with intervals, confusion, discrimination."""

import numpy as np
import pandas as pd

from eusml.evaluation.bands import BAND_SAMPLES, precision_recall_band, roc_band
from eusml.evaluation.figures import counts, curves
from eusml.evaluation.metrics import MEASURES, PROPORTIONS
from eusml.evaluation.reporting.contents import Arm, Contents
from eusml.evaluation.reporting.document import Block, Bullets, Cell, FigureBlock, Paragraph, Section, Table
from eusml.evaluation.reporting.parts import (
    arrays,
    both_classes,
    estimate_of,
    frame,
    panels_of,
    part_name,
    part_title,
)
from eusml.evaluation.reporting.words import Words, by_measure, estimate

_FOREST = (*PROPORTIONS, "auroc")


def measured(contents: Contents, w: Words) -> Section:
    """Every measure with its interval: a table and a forest plot for each partition."""
    percent = f"{100 * contents.evaluate.confidence:.0f}"
    blocks: list[Block] = [Paragraph(w("results.text", percent=percent, threshold=contents.evaluate.threshold))]
    if contents.cross_validated:
        blocks.append(
            Paragraph(
                w("results.cross_validated", protocol=w.method(contents.method(contents.arms[0].protocol))), "note"
            )
        )
    for part in contents.parts:
        arms = [arm for arm in contents.arms if part in arm.tables]
        title = part_title(part, contents, w)
        rows = [_measure_row(measure, arms, part, contents, w) for measure in MEASURES]
        head = [w("results.measure"), *(arm.name for arm in arms), w("results.method")]
        blocks.append(Table(w("results.caption", part=title, percent=percent), head, rows))
        table = _forest_table(contents, part, w)
        cases = f"{arms[0].metrics[part]['cases']:.0f}"
        drawn = counts.forest(f"forest_{part}", table, "name", "arm", frame(contents, w), reference=0.5)
        caption = w("results.forest", part=title, percent=percent, n=cases, methods=_methods(table, contents, w))
        blocks.append(FigureBlock(drawn, caption, w("results.forest_alt", part=title)))
    blocks.append(Paragraph(_widest(contents, w)))
    return Section("results", w("results.title"), blocks)


def _measure_row(measure: str, arms: list[Arm], part: str, contents: Contents, w: Words) -> list[Cell]:
    cells = [Cell(w.measure(measure))]
    methods = []
    for arm in arms:
        row = by_measure(arm.tables[part])[measure]
        cells.append(Cell(estimate(row), f"{arm.run_ids[part]} {part}/{measure}"))
        methods.append(w.told(contents.method(row["method"])))
    texts, recorded = (dict.fromkeys(filter(None, found)) for found in zip(*methods, strict=True))
    return [*cells, Cell(w.listed(texts), recorded="; ".join(recorded))]


def _forest_table(contents: Contents, part: str, w: Words) -> pd.DataFrame:
    """Networks and baselines, by measure: columns name, arm, measure, value, ci_low and so on."""
    if contents.comparison is not None:
        table = contents.comparison[contents.comparison["part"] == part]
    else:
        table = pd.concat(
            [arm.tables[part].assign(arm=arm.name, part=part) for arm in contents.arms if part in arm.tables]
        )
    table = table[table["measure"].isin(_FOREST)].copy()
    table["name"] = table["measure"].map({m: m.upper() if m in ("ppv", "npv", "auroc") else m for m in _FOREST})
    order = {measure: place for place, measure in enumerate(_FOREST)}
    return table.sort_values("measure", key=lambda column: column.map(order), kind="stable").reset_index(drop=True)


def _methods(table: pd.DataFrame, contents: Contents, w: Words) -> str:
    return w.listed(w.method(contents.method(method)) for method in table["method"])


def _widest(contents: Contents, w: Words) -> str:
    part = contents.primary
    widths = [
        row["ci_high"] - row["ci_low"]
        for arm in contents.arms
        if part in arm.tables
        for row in arm.tables[part].to_dict("records")
        if row["measure"] in PROPORTIONS
    ]
    known = [width for width in widths if not np.isnan(width)]
    return w("results.widest", points=f"{100 * max(known, default=1.0):.0f}", part=part_title(part, contents, w))


def confusion(contents: Contents, w: Words) -> Section:
    """Who was taken for what."""
    blocks: list[Block] = []
    negative, positive = contents.classes
    for part in contents.parts:
        arms = [arm for arm in contents.arms if part in arm.metrics]
        confused = {
            arm.name: {name: arm.metrics[part].get(name, 0.0) for name in ("tp", "fp", "tn", "fn")} for arm in arms
        }
        drawn = counts.confusion(
            f"confusion_{part}", panels_of({part: confused}, contents), contents.classes, frame(contents, w)
        )
        title = part_title(part, contents, w)
        texts = [
            w(
                "confusion.text",
                arm=arm,
                part=part_name(part, contents, w),
                positive=positive,
                negative=negative,
                **{name: f"{value:.0f}" for name, value in found.items()},
            )
            for arm, found in confused.items()
        ]
        blocks.append(Bullets(texts))
        caption = w("confusion.caption", part=title)
        blocks.append(FigureBlock(drawn, caption, w("confusion.alt", part=title)))
    return Section("confusion", w("confusion.title"), blocks)


def discrimination(contents: Contents, w: Words) -> Section | None:
    """ROC and precision-recall curves with bands."""
    samples = min(contents.evaluate.bootstrap_samples, BAND_SAMPLES)
    confidence = contents.evaluate.confidence
    rocs, recalls = (
        {
            part: {name: band(*arrays(table), confidence, samples) for name, table in both_classes(contents, part)}
            for part in contents.parts
        }
        for band in (roc_band, precision_recall_band)
    )
    rocs, recalls = ({part: found for part, found in panels.items() if found} for panels in (rocs, recalls))
    if not rocs:
        return Section("discrimination", w("discrimination.title"), [Paragraph(w("discrimination.one_class"))])
    shares = {part: float(both_classes(contents, part)[0][1]["y_true"].mean()) for part in rocs}
    roc = curves.roc("roc", panels_of(rocs, contents), frame(contents, w))
    recall = curves.precision_recall(
        "precision_recall", panels_of(recalls, contents), panels_of(shares, contents), frame(contents, w)
    )
    cases = w.joined([part_title(part, contents, w) for part in rocs])
    values = {"cases": cases, "percent": f"{100 * confidence:.0f}", "samples": samples}
    areas = [
        w(
            "discrimination.area",
            arm=arm.name,
            part=part_name(part, contents, w),
            auroc=estimate_of(arm, part, "auroc"),
            auprc=estimate_of(arm, part, "auprc"),
        )
        for part in rocs
        for arm in contents.arms
        if part in arm.tables
    ]
    return Section(
        "discrimination",
        w("discrimination.title"),
        [
            Bullets(areas),
            FigureBlock(roc, w("discrimination.roc", **values), w("discrimination.roc_alt", areas=" ".join(areas))),
            FigureBlock(recall, w("discrimination.pr", **values), w("discrimination.pr_alt", areas=" ".join(areas))),
        ],
    )
