"""Figures of a course: of cases from found to reported, and of a training."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from eusml.evaluation.figures.drawing import Drawing, Frame
from eusml.evaluation.figures.style import COLOURS, GREY, Canvas, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEGEND_COLUMNS, _LEGEND_ROW_IN = 3, 0.18


def learning_curves(name: str, histories: Mapping[str, pd.DataFrame], frame: Frame) -> Drawing:
    """Loss and accuracy per epoch; solid on the training partition, dashed on the held-out one.

    Args:
        name: of the files.
        histories: network to columns epoch and train_loss, train_accuracy, test_loss, test_accuracy, nan where nothing
            is held out.
        frame: what it says beside its numbers.
    """
    from matplotlib.ticker import MaxNLocator

    look = styles(histories)
    legend_rows = -(-2 * len(histories) // _LEGEND_COLUMNS)
    with Canvas(name, frame, 2, width=7.6, height=3.2 + _LEGEND_ROW_IN * legend_rows) as canvas:
        for axes, measure in zip(canvas.axes, ("loss", "accuracy"), strict=True):
            for arm, history in histories.items():
                marker = "o" if len(history) < 4 else ""  # a line through one point cannot be seen
                for part, dash, name_of in (("train", "-", "training"), ("test", "--", "held out")):
                    values = history[f"{part}_{measure}"]
                    if values.notna().any():
                        axes.plot(
                            history["epoch"],
                            values,
                            dash,
                            marker=marker,
                            color=look[arm]["color"],
                            linewidth=1.3,
                            label=f"{arm}, {name_of}",
                        )
            axes.set(xlabel="epoch", ylabel=measure)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        found = pd.concat([history.assign(arm=arm) for arm, history in histories.items()], ignore_index=True)
        _bound_loss(canvas.axes[0], found)
        canvas.axes[1].set_ylim(0, 1.02)
        handles, names = canvas.axes[1].get_legend_handles_labels()
        # Outside, for a curve may run anywhere.
        canvas.figure.legend(handles, names, loc="outside upper left", ncols=_LEGEND_COLUMNS, fontsize=8)
        return canvas.drawing(found)


def _bound_loss(axes: "Axes", histories: pd.DataFrame) -> None:
    """Early test losses can be huge while batch statistics settle; they would flatten all the rest."""
    top = max(2 * float(histories["train_loss"].max()), 1.0)
    axes.set_ylim(0, top)
    if (histories[["train_loss", "test_loss"]] > top).any(axis=None):
        axes.set_title("higher losses are cut off", fontsize=8, color=GREY, loc="right")


def flow(name: str, steps: pd.DataFrame, parts: Sequence[tuple[str, str]], frame: Frame) -> Drawing:
    """Boxes: found, excluded and why, studied, and the partitions.

    Args:
        name: of the files.
        steps: columns step, text, cases; first found, last studied, between them who was left out.
        parts: heading and text of each partition's box.
        frame: what it says beside its numbers.
    """
    excluded = steps.iloc[1:-1].to_dict("records")
    height = 2.9 + 0.32 * max(len(excluded) - 1, 0)
    with Canvas(name, frame, 1, width=7.2, height=height) as canvas:
        (axes,) = canvas.axes
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.axis("off")
        _box(axes, 0.28, 0.9, 0.4, [str(steps.iloc[0]["text"])])
        _arrow(axes, (0.28, 0.84), (0.28, 0.56))
        if excluded:
            _box(axes, 0.75, 0.7, 0.46, [str(row["text"]) for row in excluded], size=8)
            _arrow(axes, (0.28, 0.7), (0.52, 0.7))
        _box(axes, 0.28, 0.5, 0.4, [str(steps.iloc[-1]["text"])])
        for number, (head, text) in enumerate(parts):
            x = 0.28 if len(parts) == 1 else 0.28 + 0.46 * number
            _arrow(axes, (0.28, 0.44), (x, 0.22))
            _box(axes, x, 0.14, 0.42, [head, text])
        data = pd.concat(
            [steps, pd.DataFrame([{"step": head, "text": text} for head, text in parts])], ignore_index=True
        )
        return canvas.drawing(data)


def _box(axes: "Axes", x: float, y: float, width: float, lines: Sequence[str], size: float = 9) -> None:
    from matplotlib.patches import FancyBboxPatch

    height = 0.1 + 0.07 * (len(lines) - 1)
    box = FancyBboxPatch(
        (x - width / 2, y - height / 2),
        width,
        height,
        boxstyle="round,pad=0.01",
        facecolor="white",
        edgecolor=COLOURS[0],
    )
    axes.add_patch(box)
    for number, text in enumerate(lines):
        place = y + height / 2 - (number + 0.5) * height / len(lines)
        axes.text(x, place, text, ha="center", va="center", fontsize=size)


def _arrow(axes: "Axes", start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": GREY})
