"""Figures of the report: estimates with intervals, confusion, curves. Each comes with the numbers that it shows."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from eusml.evaluation.reporting.document import Drawing
from eusml.evaluation.reporting.figure_style import GREY, PART_TITLES, Canvas, line, rates, styles

Labels = Mapping[str, str]
Panels = Mapping[str, Mapping[str, pd.DataFrame]]
"""Partition to network to a table."""


def forest(
    name: str, table: pd.DataFrame, group: str, entry: str, labels: Labels, *, synthetic: bool, reference: float | None
) -> Drawing:
    """Estimates with intervals, one row each, in groups.

    Args:
        name: of the files.
        table: columns value, ci_low, ci_high and those that `group` and `entry` name.
        group: column whose values head groups of rows, such as the measure.
        entry: column whose values are told apart by colour and marker, such as the network.
        labels: translations.
        synthetic: whether the images are made up.
        reference: where a dotted line stands; None for none.
    """
    groups, entries = list(dict.fromkeys(table[group])), list(dict.fromkeys(table[entry]))
    look = styles(entries)
    height = 1.0 + 0.24 * len(table) + 0.12 * len(groups) + 0.2 * (-(-len(entries) // 3))
    with Canvas(name, 1, synthetic=synthetic, width=7.2, height=height) as canvas:
        (axes,) = canvas.axes
        y, ticks, shown = 0.0, [], set()
        for one in groups:
            rows = table[table[group] == one].to_dict("records")
            ticks.append((y - (len(rows) - 1) / 2, one))
            for row in rows:
                style = look[row[entry]]
                if not np.isnan(row["ci_low"]):
                    axes.plot([row["ci_low"], row["ci_high"]], [y, y], color=style["color"], linewidth=1.4)
                label = None if row[entry] in shown else row[entry]
                shown.add(row[entry])
                if not np.isnan(row["value"]):
                    axes.plot(row["value"], y, style["marker"], color=style["color"], label=label, ms=5, clip_on=False)
                    axes.text(1.03, y, f"{row['value']:.3f}", va="center", fontsize=8, color=style["color"])
                y -= 1
            axes.axhline(y + 0.25, color="#DDDDDD", linewidth=0.6)
            y -= 0.5
        if reference is not None:
            axes.axvline(reference, color=GREY, linewidth=0.8, linestyle=":")
        axes.set_yticks([place for place, _ in ticks], [str(text) for _, text in ticks])
        axes.set(xlim=(0, 1.0), ylim=(y + 0.2, 0.8), xlabel="estimate with interval")
        axes.tick_params(axis="y", length=0)
        canvas.figure.legend(loc="outside upper left", ncols=min(len(entries), 3))
        return canvas.drawing(table, labels)


def confusion(
    name: str, counts: Mapping[str, Mapping[str, float]], classes: tuple[str, str], labels: Labels, *, synthetic: bool
) -> Drawing:
    """Counts of true against predicted class, a panel for each network.

    Args:
        name: of the files.
        counts: network to tp, fp, tn, fn.
        classes: the negative and the positive one.
        labels: translations.
        synthetic: whether the images are made up.
    """
    rows = []
    width = max(3.3 * len(counts), 4.4)
    with Canvas(name, len(counts), synthetic=synthetic, width=width, height=3.9) as canvas:
        for axes, (arm, found) in zip(canvas.axes, counts.items(), strict=True):
            matrix = np.array([[found["tn"], found["fp"]], [found["fn"], found["tp"]]])
            share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
            # Drawn as shapes: an image would stand as pixels in the SVG.
            axes.pcolormesh([-0.5, 0.5, 1.5], [-0.5, 0.5, 1.5], share, cmap="Blues", vmin=0, vmax=1.6)
            axes.set(aspect="equal", ylim=(1.5, -0.5))
            for (true, called), count in np.ndenumerate(matrix):
                text = f"{count:.0f} / {matrix[true].sum():.0f}"
                axes.text(called, true, text, ha="center", va="center", fontsize=12)
                rows.append(
                    {
                        "arm": arm,
                        "true": classes[true],
                        "predicted": classes[called],
                        "count": int(count),
                        "of": int(matrix[true].sum()),
                    }
                )
            axes.set_xticks([0, 1], classes)
            axes.set_yticks([0, 1], classes, rotation=90, va="center")
            axes.set(title=arm, xlabel="predicted")
            axes.spines[:].set_visible(False)
            axes.tick_params(length=0)
        canvas.axes[0].set_ylabel("true")
        return canvas.drawing(pd.DataFrame(rows), labels)


def bands(
    name: str,
    panels: Panels,
    columns: tuple[str, str],
    axis_labels: tuple[str, str],
    labels: Labels,
    *,
    synthetic: bool,
    diagonal: bool = False,
    levels: Mapping[str, float] | None = None,
) -> Drawing:
    """Curves of rates with bands, a panel for each partition.

    Args:
        name: of the files.
        panels: partition to network to a table with columns x, y, `y_low` and `y_high`.
        columns: names of x and y.
        axis_labels: what the axes are called.
        labels: translations.
        synthetic: whether the images are made up.
        diagonal: draw what a coin would give.
        levels: partition to a level that is drawn as a dotted line.
    """
    x, y = columns
    look = styles(list(dict.fromkeys(arm for tables in panels.values() for arm in tables)))
    found = []
    with Canvas(name, len(panels), synthetic=synthetic, width=max(3.7 * len(panels), 4.4), height=4.2) as canvas:
        for axes, (part, tables) in zip(canvas.axes, panels.items(), strict=True):
            if diagonal:
                axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
            if levels:
                axes.axhline(levels[part], color=GREY, linewidth=0.8, linestyle=":")
            for arm, table in tables.items():
                axes.fill_between(
                    table[x], table[f"{y}_low"], table[f"{y}_high"], color=look[arm]["color"], alpha=0.15, linewidth=0
                )
                axes.plot(table[x], table[y], label=arm, **line(look[arm]))
                found.append(table.assign(part=part, arm=arm))
            rates(axes, *axis_labels)
            axes.set(title=PART_TITLES.get(part, part), aspect="equal")
        canvas.axes[0].legend(loc="lower right" if diagonal else "lower left")
        return canvas.drawing(pd.concat(found, ignore_index=True), labels)


def calibration(name: str, panels: Panels, labels: Labels, *, synthetic: bool) -> Drawing:
    """Observed share over mean predicted probability of bins.

    Args:
        name: of the files.
        panels: partition to network to columns predicted, observed, low, high, count, total.
        labels: translations.
        synthetic: whether the images are made up.
    """
    look = styles(list(dict.fromkeys(arm for tables in panels.values() for arm in tables)))
    found = []
    with Canvas(name, len(panels), synthetic=synthetic, width=max(3.7 * len(panels), 4.4), height=4.2) as canvas:
        for axes, (part, tables) in zip(canvas.axes, panels.items(), strict=True):
            axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
            for arm, table in tables.items():
                error = [table["observed"] - table["low"], table["high"] - table["observed"]]
                axes.errorbar(
                    table["predicted"], table["observed"], yerr=error, label=arm, markersize=5, capsize=2, **look[arm]
                )
                found.append(table.assign(part=part, arm=arm))
            rates(axes, "mean predicted probability", "observed share")
            axes.set(title=PART_TITLES.get(part, part), aspect="equal")
        # Outside, for an interval may stand anywhere.
        canvas.figure.legend(*canvas.axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
        return canvas.drawing(pd.concat(found, ignore_index=True), labels)


def decision_curves(name: str, panels: Panels, labels: Labels, *, synthetic: bool) -> Drawing:
    """Net benefit over the threshold probability.

    Args:
        name: of the files.
        panels: partition to network to the table of `net_benefit_band`.
        labels: translations.
        synthetic: whether the images are made up.
    """
    look = styles(list(dict.fromkeys(arm for tables in panels.values() for arm in tables)))
    found = []
    with Canvas(name, len(panels), synthetic=synthetic, width=max(3.7 * len(panels), 4.4), height=3.8) as canvas:
        for axes, (part, tables) in zip(canvas.axes, panels.items(), strict=True):
            for arm, table in tables.items():
                axes.fill_between(
                    table["threshold"],
                    table["model_low"],
                    table["model_high"],
                    color=look[arm]["color"],
                    alpha=0.12,
                    linewidth=0,
                )
                axes.plot(table["threshold"], table["model"], label=arm, **line(look[arm]))
                found.append(table.assign(part=part, arm=arm))
            any_table = next(iter(tables.values()))
            axes.plot(any_table["threshold"], any_table["everybody"], color=GREY, linewidth=1, label="act on everybody")
            axes.axhline(0, color="black", linewidth=0.8, label="act on nobody")
            top = float(any_table["everybody"].max())
            axes.set(
                xlim=(0, 1),
                ylim=(-0.1 * max(top, 0.2) - 0.05, 1.15 * max(top, 0.2)),
                title=PART_TITLES.get(part, part),
                xlabel="threshold probability",
                ylabel="net benefit",
            )
        canvas.axes[-1].legend(loc="lower left", fontsize=8)
        return canvas.drawing(pd.concat(found, ignore_index=True), labels)


def predictive_values(name: str, tables: Mapping[str, pd.DataFrame], labels: Labels, *, synthetic: bool) -> Drawing:
    """PPV and NPV over the share of positives, a panel each.

    Args:
        name: of the files.
        tables: network to the table of `values_by_prevalence`.
        labels: translations.
        synthetic: whether the images are made up.
    """
    look = styles(list(tables))
    with Canvas(name, 2, synthetic=synthetic, width=7.4, height=4.0) as canvas:
        for axes, value in zip(canvas.axes, ("ppv", "npv"), strict=True):
            for arm, table in tables.items():
                axes.fill_between(
                    table["prevalence"],
                    table[f"{value}_low"],
                    table[f"{value}_high"],
                    color=look[arm]["color"],
                    alpha=0.15,
                    linewidth=0,
                )
                axes.plot(table["prevalence"], table[value], label=arm, **line(look[arm]))
            rates(axes, "share of positives", value.upper())
        canvas.axes[0].legend(loc="lower right")
        found = pd.concat([table.assign(arm=arm) for arm, table in tables.items()], ignore_index=True)
        return canvas.drawing(found, labels)
