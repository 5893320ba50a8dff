"""Sections about the cases: who they are, how they were found, what was wrong with them, how they were augmented."""

import math
from dataclasses import replace

import pandas as pd

from eusml.evaluation.cohort_table import CohortTable, cohort_table
from eusml.evaluation.figures import course
from eusml.evaluation.figures.drawing import Frame
from eusml.evaluation.reporting.contents import Contents
from eusml.evaluation.reporting.document import (
    Block,
    Bullets,
    Cell,
    FigureBlock,
    Paragraph,
    Picture,
    Section,
    Table,
    cells,
)
from eusml.evaluation.reporting.parts import in_english, told
from eusml.evaluation.reporting.words import Words, p_value

_SHOWN_FINDINGS = 12


def partitioned(contents: Contents) -> pd.DataFrame | None:
    """The manifest with a column `partition`; `all` where every case is held out once. None without a manifest."""
    manifest, split = contents.manifest, contents.split
    if manifest is None:
        return None
    if split is None or "partition" not in split.columns:
        return manifest.assign(partition="all")
    # A user's own column of that name says nothing of this split.
    own = manifest.drop(columns="partition", errors="ignore")
    return own.merge(split[["case_id", "partition"]], on="case_id", how="left")


def cohort(contents: Contents, w: Words) -> Section | None:
    """Table 1."""
    table = partitioned(contents)
    if table is None:
        return None
    parts = [part for part in ("train", "test", "all") if (table["partition"] == part).any()]
    negative, positive = contents.classes
    found = cohort_table(table, parts, [positive, negative])
    patients = int(table["patient_id"].nunique())
    counts = w.joined(
        [
            w(
                "cohort.of_part",
                part=w(f"parts_for.{part}"),
                images=int(of.sum()),
                patients=int(table.loc[of, "patient_id"].nunique()),
                positives=int((of & (table["y_true"] == 1)).sum()),
                positive=positive,
                negatives=int((of & (table["y_true"] == 0)).sum()),
                negative=negative,
            )
            for part in parts
            for of in [table["partition"] == part]
        ]
    )
    blocks: list[Block] = [Paragraph(w("cohort.text", images=len(table), patients=patients, counts=counts))]
    groups = int(table["group_id"].nunique()) if "group_id" in table.columns else patients
    if groups < patients:
        blocks.append(Paragraph(w("cohort.groups", groups=groups)))
    if found.rows:
        blocks += [_table(found, w, len(table)), Paragraph(_tests(found, w))]
    else:
        blocks.append(Paragraph(w("cohort.no_covariates")))
    return Section("cohort", w("cohort.title"), blocks)


def _table(found: CohortTable, w: Words, cases: int) -> Table:
    head = [w("cohort.characteristic")]
    head += [f"{w(f'parts_short.{g.part}')}, {g.label} (n = {g.cases})" for g in found.groups] + ["p"]
    sizes = [group.cases for group in found.groups]
    rows: list[list[Cell]] = []
    named = ""
    for row in found.rows:
        comparison = found.comparisons[row.name]
        p = p_value(comparison.p) if row.name != named else ""
        name = w.covariate(row.name)
        if row.level:
            if row.name != named:
                missing = [
                    f" ({k}/{g.cases})" if k < g.cases else "" for k, g in zip(row.known, found.groups, strict=True)
                ]
                rows.append([Cell(w("cohort.counted", name=name)), *cells(*[m.strip() for m in missing]), Cell(p)])
                p = ""
            shares = [f"{n} ({100 * n / k:.0f} %)" if k else "–" for n, k in zip(row.count, row.known, strict=True)]
            rows.append([Cell(f"– {w.level(row.level)}"), *cells(*shares), Cell("")])
        else:
            values = [_mean_sd(*group) for group in zip(row.mean, row.sd, row.known, sizes, strict=True)]
            rows.append([Cell(w("cohort.averaged", name=name)), *cells(*values), Cell(p)])
        named = row.name
    return Table(w("cohort.caption", n=cases), head, rows)


def _mean_sd(mean: float, sd: float, known: int, cases: int) -> str:
    if math.isnan(mean):
        return "–"
    text = f"{mean:.2f} ± {sd:.2f}" if not math.isnan(sd) else f"{mean:.2f}"
    return text if known == cases else f"{text} ({known}/{cases})"


def _tests(found: CohortTable, w: Words) -> str:
    used: dict[str, list[str]] = {}
    for name, comparison in found.comparisons.items():
        used.setdefault(comparison.test, []).append(w.covariate(name))
    return w("cohort.tests", tests=w.listed(w(f"tests.{test}", names=w.joined(names)) for test, names in used.items()))


def flow(contents: Contents, w: Words) -> Section | None:
    """Found, excluded and why, studied, and the partitions."""
    if not contents.flow:
        return None
    english = [f"{one.step}: {one.cases}" for one in contents.flow]
    told_steps = [w.told(one.step) for one in contents.flow]
    local = [f"{''.join(texts)}: {one.cases}" for texts, one in zip(told_steps, contents.flow, strict=True)]
    rows = [(str(one.step), one.cases, text) for one, text in zip(contents.flow, english, strict=True)]
    steps = pd.DataFrame(rows, columns=["step", "cases", "text"])
    table = partitioned(contents)
    labels = dict(w.labels()) | dict(zip(english, local, strict=True))
    parts: list[tuple[str, str]] = []
    if table is not None:
        negative, positive = contents.classes
        for part in [part for part in ("train", "test", "all") if (table["partition"] == part).any()]:
            of = table[table["partition"] == part]
            counts = f"{int((of['y_true'] == 1).sum())} {positive} + {int((of['y_true'] == 0).sum())} {negative}"
            head = {"train": "training", "test": "held out", "all": "every case held out once"}[part]
            parts.append((head, f"{len(of)}: {counts}"))
            labels[head] = w(f"parts_short.{part}")
    drawn = course.flow("flow", steps, parts, Frame(contents.synthetic, labels=labels))
    drawn = replace(
        drawn, svg=in_english(drawn.svg, [t for t, (_, kept) in zip(english, told_steps, strict=True) if kept])
    )
    found, kept = contents.flow[0].cases, contents.flow[-1].cases
    text = w("flow.text", found=found, kept=kept, excluded=found - kept) if found > kept else w("flow.all", found=found)
    sentence = w.listed([*local, *(f"{labels[head]}: {count}" for head, count in parts)])
    return Section(
        "flow",
        w("flow.title"),
        [Paragraph(text), FigureBlock(drawn, w("flow.caption", n=found), w("flow.alt", text=sentence))],
    )


def audit(contents: Contents, w: Words) -> Section | None:
    """What was found wrong with the images, and what was done about it."""
    if contents.findings is None:
        return None
    if not contents.findings:
        return Section("audit", w("audit.title"), [Paragraph(w("audit.clean"))])
    rows = [
        cells(
            w.get(f"kinds.{one.kind}", one.kind),
            w.get(f"decisions.{one.decision}", one.decision),
            told(one.detail, w),
            len(one.cases) or "–",
        )
        for one in contents.findings[:_SHOWN_FINDINGS]
    ]
    count = len(contents.findings)
    blocks: list[Block] = [
        Paragraph(w("audit.text", count=count)),
        Table(w("audit.caption", shown=len(rows), count=count), w("audit.head").split("|"), rows),
    ]
    return Section("audit", w("audit.title"), blocks)


def augmentation(contents: Contents, w: Words) -> Section | None:
    """What was made of the training images."""
    if not contents.augmented:
        return None
    used = [arm.name for arm in contents.arms if arm.train.get("offline")]
    operations = [w.get(f"operations.{name}", name) for name in contents.settings.get("augment.operations", [])]
    numbers = {name: int(value) for name, value in contents.augmented.items()}
    blocks: list[Block] = [
        Paragraph(
            w(
                "augmentation.text",
                originals=numbers.get("originals", 0),
                images=numbers.get("images", 0),
                operations=w.joined(operations),
            )
        ),
        Paragraph(w("augmentation.used", arms=w.joined(used)) if used else w("augmentation.unused")),
    ]
    if contents.augmentation is not None:
        blocks.append(
            Picture(
                "augmentation",
                contents.augmentation,
                w("augmentation.caption"),
                w("augmentation.alt", operations=w.joined(operations)),
            )
        )
    return Section("augmentation", w("augmentation.title"), blocks)


def online_texts(contents: Contents, w: Words) -> Bullets | None:
    """What every training image undergoes in every epoch; None where nothing does."""
    if not contents.settings.get("train.online.enabled"):
        return None
    names = (
        "rotation_limit_deg",
        "flip",
        "scale_frac",
        "shift_frac",
        "gamma_frac",
        "contrast_frac",
        "brightness",
        "tilt",
    )
    items = [
        w(f"online.{name}", value=contents.settings[f"train.online.{name}"])
        for name in names
        if contents.settings.get(f"train.online.{name}")
    ]
    return Bullets(items)
