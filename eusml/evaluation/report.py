"""Texts that people read in the UI: Markdown from plain values."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from eusml.config import MAXIMISED
from eusml.evaluation.comparison import PairedResult
from eusml.evaluation.metrics import PROPORTIONS, Estimate, Metrics

DISCLAIMER = "Research software: no output of it is fit for diagnosis, and none claims clinical validity."
CROSS_VALIDATED = (
    "they are of the way in which networks are made, by networks each of which was tuned and trained without the cases "
    "that it was asked about. The network that is kept was made of all cases in the same way; no case is left to "
    "measure it on. Intervals take the cases as drawn anew, and not the training."
)
SYNTHETIC = "**SYNTHETIC images, not patients.** The figures say that the software works, and nothing about medicine."

_NOTED_TRIALS = 20
PARTS: Mapping[str, str] = {
    "test": "held-out cases, reported once",
    "val": "further cases, used only to choose between models",
    "fresh": "further independent synthetic cases, on which nothing was chosen",
}


def part_text(part: str, *, out_of_fold: bool = False) -> str:
    """What a partition is; with cross-validation, `test` is all cases."""
    return "all cases, each out of fold" if part == "test" and out_of_fold else PARTS.get(part, part)


def evaluation_note(metrics: Mapping[str, Metrics], *, synthetic: bool, protocol: str = "holdout") -> str:
    """Result tables of one network, one per partition.

    Args:
        metrics: partition to measures.
        synthetic: whether the images are made up.
        protocol: how those on `test` were come by.
    """
    lines = [SYNTHETIC, ""] if synthetic else []
    if protocol != "holdout":
        lines += [f"The figures on `test` are estimated by {protocol}: {CROSS_VALIDATED}", ""]
    for part, measured in metrics.items():
        percent = round(100 * measured.confidence)
        what = part_text(part, out_of_fold=protocol != "holdout")
        lines += [f"### {part}: {measured.cases} images of {measured.patients} patients ({what})", ""]
        lines += [f"| measure | value ({percent} % interval) | interval by |", "|---|---|---|"]
        lines += [_row(name, estimate) for name, estimate in measured.table().set_index("measure").iterrows()]
        lines += ["", f"TP {measured.tp}, FP {measured.fp}, TN {measured.tn}, FN {measured.fn}.", ""]
    if "test" in metrics:
        lines += [_size_remark(metrics["test"]), ""]
    return "\n".join([*lines, DISCLAIMER])


def comparison_note(
    table: pd.DataFrame,
    pairs: Mapping[str, Sequence[PairedResult]],
    by_fold: Sequence[str] = (),
    *,
    synthetic: bool,
    out_of_fold: bool = False,
) -> str:
    """Arms and baselines side by side.

    Args:
        table: columns part, arm, measure, value, ci_low, ci_high, count, total, method.
        pairs: partition to paired comparisons.
        by_fold: what the folds of a cross-validation of the test partition say, a sentence each.
        synthetic: whether the images are made up.
        out_of_fold: whether `test` is all cases, cross-validated.
    """
    lines = [SYNTHETIC, ""] if synthetic else []
    for part in table["part"].unique():
        lines += [f"### {part} ({part_text(part, out_of_fold=out_of_fold)})", ""]
        lines += ["| arm | accuracy | AUROC |", "|---|---|---|"]
        rows = table[table["part"] == part]
        for arm in rows["arm"].unique():
            lines.append(f"| {arm} | {' | '.join(arm_texts(rows, arm).values())} |")
        lines.append("")
        lines += [f"- {result.sentence()}" for result in pairs.get(part, ())]
        lines += [f"- {sentence}" for sentence in by_fold if part == "test"]
        lines.append("")
    lines.append("`val` is where models are chosen; it is no estimate of how good the chosen one is.")
    return "\n".join([*lines, "", DISCLAIMER])


def arm_texts(table: pd.DataFrame, arm: str) -> dict[str, str]:
    """Accuracy and AUROC of one arm for people, from the rows of one partition."""
    rows = {row["measure"]: row for _, row in table[table["arm"] == arm].iterrows()}
    return {name: estimate_text(rows[name]) for name in ("accuracy", "auroc")}


def pipeline_note(records: Sequence[Mapping[str, Any]], *, synthetic: bool) -> str:
    """What a job did.

    Args:
        records: label, run_id, reused, seconds of every stage.
        synthetic: whether the images were made up.
    """
    lines = [SYNTHETIC, ""] if synthetic else []
    lines += ["| stage | | seconds | run |", "|---|---|---|---|"]
    for record in records:
        how = "reused" if record["reused"] else "done"
        lines.append(f"| {record['label']} | {how} | {record['seconds']:.1f} | `{record['run_id']}` |")
    return "\n".join([*lines, "", DISCLAIMER])


def tuning_note(table: pd.DataFrame, summary: str, metric: str, *, synthetic: bool) -> str:
    """A study's trials, best first, and what was not looked at.

    Args:
        table: columns trial, state, as_it_stood, objective, seconds, error, fold_…, and one per setting.
        summary: how many configurations were tried.
        metric: name of the objective.
        synthetic: whether the images are made up.
    """
    lines = [SYNTHETIC, ""] if synthetic else []
    lines += [
        f"{summary} Each figure is the mean {metric} over inner folds of the training partition; no reported case "
        "took part, and the best of several such figures is too good an estimate of itself. Best first:",
        "",
    ]
    columns = [name for name in table.columns if "." in name]
    ranked = table.sort_values("objective", ascending=metric not in MAXIMISED, na_position="last", kind="stable")
    lines += [f"| trial | {metric} | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for row in ranked.head(_NOTED_TRIALS).to_dict("records"):
        value = row["state"] if pd.isna(row["objective"]) else f"{row['objective']:.4f}"
        mark = " (as it stood)" if row["as_it_stood"] else ""
        settings = " | ".join("" if pd.isna(row[name]) else _short(str(row[name])) for name in columns)
        lines.append(f"| {row['trial']}{mark} | {value} | {settings} |")
    if len(ranked) > _NOTED_TRIALS:
        lines.append(f"\n{len(ranked) - _NOTED_TRIALS} more stand in `trials.csv`.")
    return "\n".join([*lines, "", DISCLAIMER])


def _short(text: str) -> str:
    """A setting as people read it: four digits of a fraction, all else as it is."""
    try:
        return text if text.isdigit() else f"{float(text):.4g}"
    except ValueError:
        return text


def estimate_text(estimate: "pd.Series[Any]") -> str:
    """One row of a table of measures for people: `26/29 = 0.897 (0.728-0.972)`."""
    count, total = (None if pd.isna(estimate[name]) else int(estimate[name]) for name in ("count", "total"))
    method = str(estimate["method"])
    return Estimate(estimate["value"], estimate["ci_low"], estimate["ci_high"], count, total, method).text()


def _row(name: Any, estimate: "pd.Series[Any]") -> str:
    return f"| {name} | {estimate_text(estimate)} | {estimate['method']} |"


def _size_remark(metrics: Metrics) -> str:
    estimates = [metrics.estimates[name] for name in PROPORTIONS]
    widest = max((e.high - e.low for e in estimates if not math.isnan(e.low)), default=1.0)
    return (
        f"The intervals on `test` are up to {100 * widest:.0f} points wide: models that differ by less cannot be told "
        "apart on these cases."
    )
