"""Figures. Each is a matplotlib `Figure`, never pyplot's global state; synthetic data are marked in the picture."""

from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from eusml.evaluation.calibration import reliability
from eusml.evaluation.captions import MARK
from eusml.evaluation.metrics import Metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette, told apart with every kind of colour vision."""
_GREY = "#666666"

Curves = Mapping[str, "tuple[NDArray[np.int64], NDArray[np.float64]]"]
"""Name to y_true int64 [N] and y_score float64 [N]."""


def confusion(metrics: Metrics, classes: tuple[str, str], *, synthetic: bool) -> Figure:
    """Counts of true against predicted class; `classes` are the negative and the positive one."""
    counts = np.array([[metrics.tn, metrics.fp], [metrics.fn, metrics.tp]])
    figure, (axes,) = _figure(1, synthetic, width=5.0)
    axes.imshow(counts, cmap="Blues", vmin=0, vmax=max(counts.max(), 1) * 1.5)
    for (row, column), count in np.ndenumerate(counts):
        share = count / counts[row].sum() if counts[row].sum() else 0.0
        axes.text(column, row, f"{count}\n{share:.0%}", ha="center", va="center", fontsize=14)
    axes.set(xticks=[0, 1], yticks=[0, 1], xlabel="predicted", ylabel="true")
    axes.set_xticklabels(classes)
    axes.set_yticklabels(classes, rotation=90, va="center")
    axes.set_title(f"Confusion, {counts.sum()} cases; shares of each true class")
    return figure


def roc(curves: Curves, *, synthetic: bool) -> Figure:
    """Sensitivity against false-positive rate."""
    from sklearn.metrics import roc_auc_score, roc_curve

    figure, (axes,) = _figure(1, synthetic, width=5.5)
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle=":")
    for colour, (name, (y_true, y_score)) in zip(cycle(COLOURS), curves.items(), strict=False):
        if len(np.unique(y_true)) == 2:
            x, y, _ = roc_curve(y_true, y_score)
            label = f"{name}: AUROC {roc_auc_score(y_true, y_score):.3f}, n = {len(y_true)}"
            axes.plot(x, y, color=colour, label=label)
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), title="ROC")
    _legend(axes, "lower right")
    return figure


def precision_recall(curves: Curves, *, synthetic: bool) -> Figure:
    """Positive predictive value against sensitivity."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    figure, (axes,) = _figure(1, synthetic, width=5.5)
    for colour, (name, (y_true, y_score)) in zip(cycle(COLOURS), curves.items(), strict=False):
        if y_true.sum() > 0:
            precision, recall, _ = precision_recall_curve(y_true, y_score)
            label = f"{name}: AUPRC {average_precision_score(y_true, y_score):.3f}, n = {len(y_true)}"
            axes.step(recall, precision, where="post", color=colour, label=label)
            axes.axhline(float(y_true.mean()), color=colour, linewidth=0.8, linestyle=":")
    axes.set(xlabel="recall (sensitivity)", ylabel="precision (PPV)", xlim=(-0.02, 1.02), ylim=(-0.02, 1.05))
    axes.set_title("Precision and recall; dotted: share of positives")
    _legend(axes, "lower left")
    return figure


def calibration(y_true: "NDArray[np.int64]", y_score: "NDArray[np.float64]", *, synthetic: bool) -> Figure:
    """Predicted probability against observed share, in bins of equal width with Wilson intervals and counts."""
    figure, (axes,) = _figure(1, synthetic, width=5.5)
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle=":")
    for row in reliability(y_true, y_score).to_dict("records"):
        axes.plot([row["predicted"]] * 2, [row["low"], row["high"]], color=COLOURS[0])
        axes.plot(row["predicted"], row["observed"], "o", color=COLOURS[0])
        place = row["predicted"], row["observed"]
        axes.annotate(f"{row['count']}/{row['total']}", place, textcoords="offset points", xytext=(6, 4), fontsize=9)
    axes.set(xlabel="mean predicted probability", ylabel="observed share", xlim=(-0.02, 1.08), ylim=(-0.05, 1.05))
    axes.set_title(f"Calibration, {len(y_true)} cases, 95 % Wilson")
    return figure


def learning_curves(histories: Mapping[str, pd.DataFrame], *, synthetic: bool) -> Figure:
    """Loss and accuracy per epoch on train and test partition, one colour per arm."""
    figure, panels = _figure(2, synthetic, width=10.0)
    for axes, measure in zip(panels, ("loss", "accuracy"), strict=True):
        for colour, (arm, history) in zip(cycle(COLOURS), histories.items(), strict=False):
            marker = "o" if len(history) == 1 else ""  # a line through one point cannot be seen
            for part, style in (("train", "-"), ("test", "--")):
                values = history[f"{part}_{measure}"]
                if values.isna().all():
                    continue  # nothing was held out
                axes.plot(history["epoch"], values, style, marker=marker, color=colour, label=f"{arm}, {part}")
        axes.set(xlabel="epoch", title=measure)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    # Early test losses can be huge while the batch statistics settle; they would flatten all the rest.
    highest = max(float(history["train_loss"].max()) for history in histories.values())
    panels[0].set_ylim(0, max(2 * highest, 1.0))
    panels[0].annotate("higher losses are cut off", (0.99, 0.97), xycoords="axes fraction", ha="right", fontsize=8)
    panels[1].set_ylim(0, 1.02)
    panels[1].legend(frameon=False, loc="lower right", fontsize=9)
    figure.suptitle("The test curve is for the eye: nothing is chosen or stopped by it", fontsize=10, color=_GREY)
    return figure


def augmentation_panel(panel: "Mapping[str, NDArray[np.uint8]]", *, synthetic: bool) -> Figure:
    """One image and its augmented copies, as figure 2 of the study."""
    figure, panels = _figure(len(panel), synthetic, width=2.0 * len(panel), height=2.6)
    for axes, (name, image) in zip(panels, panel.items(), strict=True):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(name, fontsize=10)
        axes.axis("off")
    return figure


def image_sheet(by_class: "Mapping[str, NDArray[np.uint8]]", *, synthetic: bool) -> Figure:
    """The first prepared images of each class, one row per class."""
    columns = max(len(images) for images in by_class.values())
    figure = Figure(figsize=(1.7 * columns, 1.9 * len(by_class) + 0.4), layout="constrained")
    grid = figure.subplots(len(by_class), columns, squeeze=False)
    for row, (name, images) in zip(grid, by_class.items(), strict=True):
        for axes in row:
            axes.axis("off")
        for axes, image in zip(row, images, strict=False):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        row[0].set_title(name, loc="left", fontsize=10)
    _mark(figure, synthetic)
    return figure


def forest(table: pd.DataFrame, measure: str, *, synthetic: bool) -> Figure:
    """One measure of all arms with intervals, per partition.

    Args:
        table: columns part, arm, measure, value, ci_low, ci_high.
        measure: which one.
        synthetic: whether the images are made up.
    """
    rows = table[table["measure"] == measure]
    figure, (axes,) = _figure(1, synthetic, width=7.5, height=0.9 + 0.42 * max(len(rows), 2))
    parts = list(dict.fromkeys(rows["part"]))
    for y, row in enumerate(rows[::-1].to_dict("records")):
        colour = COLOURS[parts.index(row["part"]) % len(COLOURS)]
        if np.isnan(row["value"]):
            axes.text(0.5, y, "undefined", va="center", ha="center", color=_GREY)
            continue
        if not np.isnan(row["ci_low"]):
            axes.plot([row["ci_low"], row["ci_high"]], [y, y], color=colour)
        axes.plot(row["value"], y, "o", color=colour)
        axes.annotate(f"{row['value']:.3f}", (row["value"], y), textcoords="offset points", xytext=(0, 5), fontsize=8,
                      ha="center")  # fmt: skip
    axes.set_yticks(range(len(rows)))
    axes.set_yticklabels([f"{row['arm']}  [{row['part']}]" for row in rows[::-1].to_dict("records")])
    axes.axvline(0.5, color=_GREY, linewidth=0.8, linestyle=":")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.6, len(rows) - 0.3), title=f"{measure} with its interval")
    return figure


def _figure(panels: int, synthetic: bool, *, width: float, height: float | None = None) -> "tuple[Figure, list[Axes]]":
    figure = Figure(figsize=(width, height or 4.6), layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    _mark(figure, synthetic)
    return figure, axes


def _legend(axes: "Axes", place: Literal["lower left", "lower right"]) -> None:
    """A legend, unless nothing was drawn that could stand in it."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc=place, frameon=False)


def _mark(figure: Figure, synthetic: bool) -> None:
    if synthetic:
        figure.supxlabel(MARK, fontsize=9, color="#B00020", fontweight="bold")
