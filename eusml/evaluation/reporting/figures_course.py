"""Figures of the report: the flow of cases, and how a training went."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from eusml.evaluation.reporting.document import Drawing
from eusml.evaluation.reporting.figure_style import GREY, Canvas, styles

Labels = Mapping[str, str]


def learning_curves(name: str, histories: Mapping[str, pd.DataFrame], labels: Labels, *, synthetic: bool) -> Drawing:
    """Loss and accuracy per epoch; solid on the training partition, dashed on the held-out one."""
    look = styles(list(histories))
    with Canvas(name, 2, synthetic=synthetic, width=7.6, height=3.6) as canvas:
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
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        # Early test losses can be huge while batch statistics settle; they would flatten all the rest.
        highest = max(float(history["train_loss"].max()) for history in histories.values())
        canvas.axes[0].set_ylim(0, max(2 * highest, 1.0))
        canvas.axes[1].set_ylim(0, 1.02)
        canvas.axes[1].legend(loc="lower right", fontsize=8)
        found = pd.concat([history.assign(arm=arm) for arm, history in histories.items()], ignore_index=True)
        return canvas.drawing(found, labels)


def flow(
    name: str, steps: pd.DataFrame, parts: Sequence[tuple[str, str]], labels: Labels, *, synthetic: bool
) -> Drawing:
    """Boxes: found, excluded and why, studied, and the partitions.

    Args:
        name: of the files.
        steps: columns step, text, cases; first found, last studied, between them who was left out.
        parts: heading and text of each partition's box.
        labels: translations.
        synthetic: whether the images are made up.
    """
    excluded = steps.iloc[1:-1].to_dict("records")
    height = 2.9 + 0.32 * max(len(excluded) - 1, 0)
    with Canvas(name, 1, synthetic=synthetic, width=7.2, height=height) as canvas:
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
        return canvas.drawing(data, labels)


def _box(axes: object, x: float, y: float, width: float, lines: Sequence[str], size: float = 9) -> None:
    height = 0.1 + 0.07 * (len(lines) - 1)
    box = FancyBboxPatch(
        (x - width / 2, y - height / 2),
        width,
        height,
        boxstyle="round,pad=0.01",
        facecolor="white",
        edgecolor="#0072B2",
    )
    axes.add_patch(box)  # type: ignore[attr-defined]
    for number, text in enumerate(lines):
        place = y + height / 2 - (number + 0.5) * height / len(lines)
        axes.text(x, place, text, ha="center", va="center", fontsize=size)  # type: ignore[attr-defined]


def _arrow(axes: object, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": GREY})  # type: ignore[attr-defined]
