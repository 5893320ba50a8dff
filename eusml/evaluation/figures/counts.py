"""Figures of counts and estimates: forest plots, confusion."""

from collections.abc import Mapping
from textwrap import fill

import numpy as np
import pandas as pd

from eusml.evaluation.figures.drawing import Drawing, Frame
from eusml.evaluation.figures.style import GREY, UNDEFINED, Canvas, styles

_LEGEND_COLUMNS = 3
_ROW_IN, _GROUP_IN, _LEGEND_ROW_IN, _AXIS_IN = 0.24, 0.12, 0.2, 1.0
_LABEL_CHARACTERS = 18
"""Of a class's name beside its row, which is 1.4 inches high."""
_VALUE_X = 1.03
"""Where the estimates are written: right of the axis, which ends at 1."""

Counts = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Partition to network to tp, fp, tn and fn."""


def forest(
    name: str, table: pd.DataFrame, group: str, entry: str, frame: Frame, *, reference: float | None = None
) -> Drawing:
    """Estimates with intervals, one row each, in groups.

    Args:
        name: of the files.
        table: columns value, ci_low, ci_high and those that `group` and `entry` name.
        group: column whose values head groups of rows, such as the measure.
        entry: column whose values are told apart by colour and marker, such as the network.
        frame: what it says beside its numbers.
        reference: where a dotted line stands; None for none.
    """
    groups, look = list(dict.fromkeys(table[group])), styles(table[entry])
    legend_rows = -(-len(look) // _LEGEND_COLUMNS)
    height = _AXIS_IN + _ROW_IN * len(table) + _GROUP_IN * len(groups) + _LEGEND_ROW_IN * legend_rows
    with Canvas(name, frame, 1, width=7.2, height=height) as canvas:
        (axes,) = canvas.axes
        y, ticks = 0.0, []
        for one in groups:
            rows = table[table[group] == one].to_dict("records")
            ticks.append(y - (len(rows) - 1) / 2)
            for row in rows:
                style, place = look[row[entry]], float(row["value"])
                colour = style["color"]
                axes.plot([row["ci_low"], row["ci_high"]], [y, y], color=colour, linewidth=1.4)
                axes.plot(place, y, style["marker"], color=colour, label=row[entry], ms=5, clip_on=False)
                axes.text(_VALUE_X, y, UNDEFINED if np.isnan(place) else f"{place:.3f}", va="center", fontsize=8)
                y -= 1
            axes.axhline(y + 0.25, color="#DDDDDD", linewidth=0.6)
            y -= 0.5
        if reference is not None:
            axes.axvline(reference, color=GREY, linewidth=0.8, linestyle=":")
        axes.set_yticks(ticks, [str(one) for one in groups])
        axes.set(xlim=(0, 1.0), ylim=(y + 0.2, 0.8), xlabel="estimate with interval")
        axes.tick_params(axis="y", length=0)
        handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))  # each once
        canvas.figure.legend(
            handles.values(), handles.keys(), loc="outside upper left", ncols=min(len(handles), _LEGEND_COLUMNS)
        )
        return canvas.drawing(table)


def confusion(name: str, counts: Counts, classes: tuple[str, str], frame: Frame) -> Drawing:
    """Counts of true against predicted class, a panel for each network on each partition.

    Args:
        name: of the files.
        counts: who was taken for what.
        classes: the negative and the positive one.
        frame: what it says beside its numbers.
    """
    shown = [(part, arm, found) for part, arms in counts.items() for arm, found in arms.items()]
    rows = []
    with Canvas(name, frame, len(shown), width=max(3.3 * len(shown), 4.4), height=3.9) as canvas:
        for axes, (part, arm, found) in zip(canvas.axes, shown, strict=True):
            matrix = np.array([[found["tn"], found["fp"]], [found["fn"], found["tp"]]]).astype(np.int64)
            share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
            # Drawn as shapes: an image would stand as pixels in the SVG.
            axes.pcolormesh(
                [-0.5, 0.5, 1.5], [-0.5, 0.5, 1.5], share, cmap="Blues", vmin=0, vmax=1.6, edgecolors="white"
            )
            axes.set(aspect="equal", ylim=(1.5, -0.5))
            for (true, called), count in np.ndenumerate(matrix):
                total = int(matrix[true].sum())
                axes.text(called, true, f"{count} / {total}", ha="center", va="center", fontsize=12)
                rows.append((part, arm, classes[true], classes[called], int(count), total))
            names = [fill(name, _LABEL_CHARACTERS) for name in classes]
            axes.set_xticks([0, 1], names)
            axes.set_yticks([0, 1], names, rotation=90, va="center", multialignment="center")
            axes.set(title=f"{arm}\n{frame.title(part)}", xlabel="predicted")
            axes.spines[:].set_visible(False)
            axes.tick_params(length=0)
        canvas.axes[0].set_ylabel("true")
        return canvas.drawing(pd.DataFrame(rows, columns=["part", "arm", "true", "predicted", "count", "of"]))
