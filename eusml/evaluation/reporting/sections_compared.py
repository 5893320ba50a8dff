"""Sections that set one thing beside another: networks, baselines, parts of the cases, errors, the literature."""

import math
from dataclasses import replace

import pandas as pd

from eusml.evaluation import literature, paper
from eusml.evaluation.comparison import PAIRED_MEASURES
from eusml.evaluation.figures import counts
from eusml.evaluation.reporting.contents import Arm, Contents
from eusml.evaluation.reporting.document import (
    Block,
    Bullets,
    FigureBlock,
    Gallery,
    Paragraph,
    Picture,
    Section,
    Table,
    cells,
)
from eusml.evaluation.reporting.parts import BASELINE, file_name, frame, part_name, part_title
from eusml.evaluation.reporting.verdicts import difference, sentence, smallest
from eusml.evaluation.reporting.words import Words, by_measure, estimate, number, p_value, words
from eusml.evaluation.subgroups import subgroups

_SHOWN_ERRORS = 12


def comparison(contents: Contents, w: Words) -> Section | None:
    """Networks on the same cases, two by two."""
    pairs = [(part, pair) for part, found in contents.pairs.items() for pair in found]
    if not pairs:
        return None
    rows = []
    for part, pair in pairs:
        title = f"{pair.arm_a} − {pair.arm_b}, {part_name(part, contents, w, 'short')}"
        for measure in PAIRED_MEASURES:
            p, p_holm = (getattr(pair, f"{measure}_{name}") for name in ("p", "p_holm"))
            texts = difference(pair, measure), p_value(p), p_value(p_holm), smallest(pair, measure)
            rows.append(cells(title, w.measure(measure), *texts))
    sentences = [sentence(pair, part_name(part, contents, w), w) for part, pair in pairs]
    methods = w.listed(w.method(contents.method(pair.method)) for _, pair in pairs)
    percent = f"{100 * contents.evaluate.confidence:.0f}"
    blocks: list[Block] = [
        Paragraph(w("comparison.text", methods=methods)),
        Bullets(sentences),
        Table(w("comparison.caption", percent=percent), w("comparison.head").split("|"), rows),
    ]
    if contents.by_fold is not None:
        folds = [
            cells(
                f"{row['arm_a']} − {row['arm_b']}",
                w.measure(row["measure"]),
                f"{row['difference']:+.3f} ({row['ci_low']:+.3f}; {row['ci_high']:+.3f})"
                if row["p"] == row["p"]
                else number(row["difference"]),
                p_value(row["p"]),
                p_value(row["p_holm"]),
            )
            for row in contents.by_fold.to_dict("records")
        ]
        blocks.append(Table(w("comparison.folds"), w("comparison.folds_head").split("|"), folds))
    return Section("comparison", w("comparison.title"), blocks)


def baselines(contents: Contents, w: Words) -> Section | None:
    """What a few numbers about the patient tell without an image, beside the networks."""
    table = contents.comparison
    if table is None or not table["arm"].str.endswith(BASELINE).any():
        return None
    rows = []
    for part in contents.parts:
        here = table[table["part"] == part]
        for arm in here["arm"].unique():
            found = by_measure(here[here["arm"] == arm])
            name = _baseline_name(arm, w)
            texts = [estimate(found[measure]) for measure in ("accuracy", "sensitivity", "specificity", "auroc")]
            rows.append(cells(f"{name}, {part_name(part, contents, w, 'short')}", *texts))
    percent = f"{100 * contents.evaluate.confidence:.0f}"
    blocks: list[Block] = [
        Paragraph(w("baselines.text")),
        Table(w("baselines.caption", percent=percent), w("baselines.head").split("|"), rows),
    ]
    return Section("baselines", w("baselines.title"), blocks)


def _baseline_name(arm: str, w: Words) -> str:
    return w.get(f"baseline_names.{arm}", arm)


def by_subgroup(contents: Contents, w: Words) -> Section | None:
    """The measures by what is known of the cases, in the largest partition of which something is known."""
    known = {part: _cases(contents, part) for part in contents.parts}
    sized = {part: table for part, table in known.items() if table is not None}
    if not sized:
        return None
    part = max(sized, key=lambda name: len(sized[name]))
    blocks: list[Block] = []
    clustered = False
    for arm in [arm for arm in contents.arms if part in arm.predictions]:
        found = subgroups(arm.predictions[part], sized[part], contents.evaluate)
        clustered = clustered or found.clustered
        if found.table.empty:
            continue
        blocks.append(_subgroup_table(found.table, arm, part, contents, w))
        accuracy = found.table[found.table["measure"] == "accuracy"]
        outer = frame(contents, w)
        names, labels = [], dict(outer.labels)
        for covariate, level in zip(accuracy["covariate"], accuracy["level"], strict=True):
            name, local = (f"{v.covariate(covariate)}: {v.level(level)}" for v in (words("en"), w))
            names.append(name)
            labels[name] = local
        english = accuracy.assign(group=names, network=arm.name)
        drawn = counts.forest(
            f"subgroups_{file_name(arm.name)}", english, "group", "network", replace(outer, labels=labels)
        )
        caption = w(
            "subgroups.figure",
            arm=arm.name,
            part=part_title(part, contents, w),
            methods=w.method(accuracy["method"].iloc[0]),
        )
        blocks.append(FigureBlock(drawn, caption, w("subgroups.alt", arm=arm.name)))
    if not blocks:
        return None
    text = [Paragraph(w("subgroups.text", part=part_title(part, contents, w)))]
    note = [Paragraph(w("subgroups.clustered"), "note")] if clustered else []
    return Section("subgroups", w("subgroups.title"), [*text, *note, *blocks])


def _cases(contents: Contents, part: str) -> pd.DataFrame | None:
    """What is known of a partition's cases: as evaluated, or from the manifest."""
    for arm in contents.arms:
        if part in arm.cases:
            return arm.cases[part]
    return contents.manifest if part == "test" else None


def _subgroup_table(table: pd.DataFrame, arm: Arm, part: str, contents: Contents, w: Words) -> Table:
    rows = []
    for (covariate, level), found in table.groupby(["covariate", "level"], sort=False):
        by = by_measure(found)
        first = found.iloc[0]
        texts = [estimate(by[measure]) for measure in ("accuracy", "sensitivity", "specificity", "auroc")]
        name = f"{w.covariate(str(covariate))}: {w.level(str(level))}"
        rows.append(cells(name, f"{first['cases']} ({first['positives']})", *texts))
    percent = f"{100 * contents.evaluate.confidence:.0f}"
    caption = w(
        "subgroups.caption",
        arm=arm.name,
        part=part_title(part, contents, w),
        percent=percent,
        positive=contents.classes[1],
    )
    return Table(caption, w("subgroups.head", positive=contents.classes[1]).split("|"), rows)


def failures(contents: Contents, w: Words) -> Section | None:
    """Which cases were called wrongly; with pictures, where these may be shown."""
    part = contents.primary
    blocks: list[Block] = []
    names = dict(zip((0, 1), contents.classes, strict=True))
    for arm in [arm for arm in contents.arms if part in arm.predictions]:
        table = arm.predictions[part]
        wrong = int((table["y_true"] != table["y_pred"]).sum())
        title = part_name(part, contents, w)
        if not wrong:
            blocks.append(Paragraph(w("failures.none", arm=arm.name, part=title)))
            continue
        missed = [
            name
            for value, name in names.items()
            if not (table["y_pred"] != table["y_true"])[table["y_true"] == value].any()
        ]
        text = w("failures.some", arm=arm.name, part=title, wrong=wrong, total=len(table))
        text += "".join(w("failures.class_without", name=name) for name in missed)
        shown = sorted(arm.failures.get(part, ()), key=lambda one: -abs(one.y_score - one.y_true))[:_SHOWN_ERRORS]
        blocks.append(Paragraph(text + (w("failures.shown", shown=len(shown)) if shown else w("failures.hidden"))))
        pictures = [
            Picture(
                f"error_{file_name(arm.name)}_{number_:02}",
                one.picture,
                w(
                    "failures.caption",
                    case=one.case_id,
                    true=names[one.y_true],
                    called=names[1 - one.y_true],
                    positive=names[1],
                    score=number(one.y_score, 2),
                ),
                w("failures.alt", case=one.case_id, true=names[one.y_true], called=names[1 - one.y_true]),
            )
            for number_, one in enumerate(shown, start=1)
        ]
        if pictures:
            blocks.append(Gallery(pictures))
    if not blocks:
        return None
    if any(isinstance(block, Gallery) for block in blocks):
        blocks.insert(0, Paragraph(w("failures.text")))
    return Section("failures", w("failures.title"), blocks)


def context(contents: Contents, w: Words) -> Section | None:
    """What others reached on the same question, for context; of no use elsewhere."""
    if not contents.is_eus:
        return None
    rows = [
        cells(
            w.get(f"literature_systems.{row['system']}", row["system"]),
            w.get(f"literature_data.{row['system']}", row["data"]),
            _percent(row["sensitivity"]),
            _percent(row["specificity"]),
            _percent(row["accuracy"], row["accuracy_high"]),
            number(row["auroc"]),
        )
        for row in literature.literature_table().to_dict("records")
    ]
    note = Paragraph(w("literature.text"))
    table = Table(w("literature.caption"), w("literature.head").split("|"), rows)
    return Section("literature", w("literature.title"), [note, table])


def _percent(value: float, high: float = math.nan) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:g}" if math.isnan(high) else f"{value:g}–{high:g}"


def reproduction(contents: Contents, w: Words) -> Section | None:
    """The paper's printed figures, computed again from its counts."""
    if not contents.is_eus:
        return None
    rows = []
    for row in paper.paper_table().to_dict("records"):
        shown = [
            f"{row[f'{name}_low']:.2f}–{row[f'{name}_high']:.2f}"
            for name in ("printed", "wald", "adjusted_wald", "wilson")
        ]
        rows.append(cells(w.measure(row["measure"]), f"{row['count']}/{row['total']}", f"{row['value']:.2f}", *shown))
    trainings = [
        cells(
            w.get(f"paper_runs.{row['run']}", row["run"]),
            row["train_images"],
            row["epochs"],
            f"{row['train_loss']:.2f}",
            f"{row['validation_accuracy']:.2f}",
        )
        for row in paper.paper_runs().to_dict("records")
    ]
    return Section(
        "reproduction",
        w("reproduction.title"),
        [
            Paragraph(w("reproduction.text")),
            Table(w("reproduction.caption"), w("reproduction.head").split("|"), rows),
            Paragraph(w("reproduction.runs_text")),
            Table(w("reproduction.runs"), w("reproduction.runs_head").split("|"), trainings),
        ],
    )
