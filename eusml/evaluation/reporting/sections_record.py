"""Sections about what was recorded beside results: tuning, promotion, and what it all ran on."""

import pandas as pd

from eusml.config import MAXIMISED
from eusml.evaluation.reporting.contents import Contents, Study
from eusml.evaluation.reporting.document import (
    Block,
    Cell,
    Paragraph,
    Section,
    Table,
    cells,
)
from eusml.evaluation.reporting.parts import part_name, told
from eusml.evaluation.reporting.words import Words, number

_SHOWN_TRIALS = 10


def tuning(contents: Contents, w: Words) -> Section | None:
    """How many settings were tried, and what was best on inner folds."""
    kept = [study for study in contents.studies if study.name.removeprefix("tune ") in {a.name for a in contents.arms}]
    shown = kept or list(contents.studies)
    if not shown:
        return None
    blocks: list[Block] = [Paragraph(w("tuning.text", studies=len(contents.studies)))]
    for study in shown:
        blocks += _study_blocks(study, str(contents.settings.get("tune.metric", "log_loss")), w)
    return Section("tuning", w("tuning.title"), blocks)


def _study_blocks(study: Study, metric: str, w: Words) -> list[Block]:
    states = study.trials["state"].value_counts()
    columns = [str(name) for name in study.trials.columns if "." in str(name)]
    ranked = study.trials.sort_values("objective", ascending=metric not in MAXIMISED, na_position="last", kind="stable")
    rows = []
    for row in ranked.head(_SHOWN_TRIALS).to_dict("records"):
        mark = w("tuning.as_it_stood") if row["as_it_stood"] else ""
        value = (
            w.get(f"states.{row['state']}", row["state"]) if pd.isna(row["objective"]) else number(row["objective"], 4)
        )
        settings = ["–" if pd.isna(row[name]) else _short(row[name]) for name in columns]
        rows.append([Cell(f"{row['trial']}{mark}"), Cell(value), *cells(*settings)])
    text = w(
        "tuning.study",
        name=study.name,
        trials=len(study.trials),
        complete=int(states.get("complete", 0)),
        pruned=int(states.get("pruned", 0)),
        failed=int(states.get("failed", 0)),
        best=study.best["trial"],
        metric=metric,
        value=number(float(study.best[metric]), 4),
    )
    head = [w("tuning.trial"), metric, *columns]
    return [Paragraph(text), Table(w("tuning.caption", name=study.name, shown=len(rows)), head, rows)]


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def promotion(contents: Contents, w: Words) -> Section | None:
    """Which model may be served, and by which rules."""
    decision = contents.decision
    if decision is None:
        return None
    rows = [
        cells(
            w.get(f"rules.{rule['rule']}", rule["rule"]),
            w("promotion.passed" if rule["passed"] else "promotion.failed"),
            told(rule["why"], w),
        )
        for rule in decision["rules"]
    ]
    outcome = w.get(f"outcomes.{decision['outcome']}", str(decision["outcome"]))
    part = part_name(str(decision["part"]), contents, w)
    text = w(
        "promotion.text",
        arm=decision["arm"],
        name=decision["name"],
        version=decision["version"] or "–",
        outcome=outcome,
        part=part,
    )
    table = Table(w("promotion.caption"), w("promotion.head").split("|"), rows)
    return Section("promotion", w("promotion.title"), [Paragraph(text), table])


def environment(contents: Contents, w: Words) -> Section:
    """What it ran on, how long it took, and the digests by which all of it can be told from anything else."""
    changed = {"true": "environment.changed", "false": "environment.unchanged"}.get(
        contents.changed, "environment.unknown"
    )
    blocks: list[Block] = [Paragraph(w("environment.code", commit=contents.commit, state=w(changed)))]
    computed = [w("environment.device", arm=arm.name, compute=arm.compute) for arm in contents.arms if arm.compute]
    if computed:
        blocks.append(Paragraph(" ".join(computed)))
    if contents.stages is not None:
        total = float(contents.stages["seconds"].sum())
        rows = [
            cells(
                row["label"],
                w("environment.reused" if row["reused"] else "environment.done"),
                f"{row['seconds']:.1f}",
                row["run_id"],
            )
            for row in contents.stages.to_dict("records")
        ]
        caption = w("environment.stages", minutes=f"{total / 60:.1f}", count=len(rows))
        blocks.append(Table(caption, w("environment.stages_head").split("|"), rows))
    if contents.environment:
        rows = [cells(w.get(f"machine.{name}", name), value) for name, value in contents.environment.items()]
        blocks.append(Table(w("environment.libraries"), w("environment.libraries_head").split("|"), rows))
    digests = [cells(w.get(f"digests.{name}", name), value) for name, value in contents.digests.items()]
    digests += [
        cells(f"{arm.name}: {w.get(f'digests.{name}', name)}", value)
        for arm in contents.arms
        for name, value in arm.digests.items()
    ]
    if digests:
        blocks.append(Table(w("environment.digests"), w("environment.digests_head").split("|"), digests))
    runs = [cells(w("environment.asked"), run_id) for run_id in contents.run_ids]
    runs += [cells(w("environment.evaluation", arm=arm.name), arm.run_id) for arm in contents.arms]
    blocks.append(Table(w("environment.runs"), w("environment.runs_head").split("|"), runs))
    return Section("environment", w("environment.title"), blocks)
