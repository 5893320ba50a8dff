"""Figures of curves over a rate: ROC, precision and recall, calibration, net benefit, predictive values."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import pandas as pd

from eusml.evaluation.figures.drawing import Drawing, Frame, Panels, joined
from eusml.evaluation.figures.style import GREY, UNDEFINED, Canvas, band, rates, styles, styles_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL_IN, _NARROWEST_IN = 3.7, 4.2


def roc(name: str, panels: Panels, frame: Frame) -> Drawing:
    """Sensitivity over the false-positive rate with its band, a panel for each partition.

    Args:
        name: of the files.
        panels: tables as `roc_band` makes them; one without rows, of cases of one class, is said to be undefined.
        frame: what it says beside its numbers.
    """
    with _paneled(name, panels, frame, 4.3) as canvas:
        for axes in canvas.axes:
            _diagonal(axes)
        _bands(canvas, panels, ("fpr", "tpr"), ("1 - specificity", "sensitivity"), frame)
        _legend(canvas.axes, "lower right")
        return canvas.drawing(joined(panels))


def precision_recall(name: str, panels: Panels, shares: Mapping[str, float], frame: Frame) -> Drawing:
    """Positive predictive value over sensitivity with its band, a panel for each partition.

    Args:
        name: of the files.
        panels: tables as `precision_recall_band` makes them.
        shares: partition to its share of positives, 0 to 1, which a coin would reach: a dotted line.
        frame: what it says beside its numbers.
    """
    with _paneled(name, panels, frame, 4.3) as canvas:
        for axes, part in zip(canvas.axes, panels, strict=True):
            axes.axhline(shares[part], color=GREY, linewidth=0.8, linestyle=":")
        _bands(canvas, panels, ("recall", "precision"), ("recall (sensitivity)", "precision (PPV)"), frame)
        _legend(canvas.axes, "lower left")
        return canvas.drawing(joined(panels))


def calibration(name: str, panels: Panels, frame: Frame) -> Drawing:
    """Observed share over mean predicted probability of bins.

    Args:
        name: of the files.
        panels: tables as `reliability` makes them.
        frame: what it says beside its numbers.
    """
    look = styles_of(panels)
    with _paneled(name, panels, frame, 4.3) as canvas:
        for axes, (part, tables) in zip(canvas.axes, panels.items(), strict=True):
            _diagonal(axes)
            for arm, table in tables.items():
                error = [table["observed"] - table["low"], table["high"] - table["observed"]]
                axes.errorbar(
                    table["predicted"], table["observed"], yerr=error, label=arm, markersize=5, capsize=2, **look[arm]
                )
                if len(tables) == 1:  # the counts of several networks would stand on one another
                    _bin_counts(axes, table)
            rates(axes, "mean predicted probability", "observed share")
            axes.set(title=frame.title(part), aspect="equal")
            axes.label_outer()
        # Outside, for an interval may stand anywhere.
        canvas.figure.legend(*canvas.axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
        return canvas.drawing(joined(panels))


def decision_curves(name: str, panels: Panels, frame: Frame) -> Drawing:
    """Net benefit over the threshold probability.

    Args:
        name: of the files.
        panels: tables as `net_benefit_band` makes them.
        frame: what it says beside its numbers.
    """
    look = styles_of(panels)
    with _paneled(name, panels, frame, 4.0) as canvas:
        for axes, (part, tables) in zip(canvas.axes, panels.items(), strict=True):
            for arm, table in tables.items():
                band(axes, table, "threshold", "model", arm, look[arm])
            any_table = next(iter(tables.values()))
            axes.plot(any_table["threshold"], any_table["everybody"], color=GREY, linewidth=1, label="act on everybody")
            axes.axhline(0, color="black", linewidth=0.8, label="act on nobody")
            top = max(float(any_table["everybody"].max()), 0.2)
            axes.set(
                xlim=(0, 1),
                ylim=(-0.1 * top - 0.05, 1.15 * top),
                title=frame.title(part),
                xlabel="threshold probability",
                ylabel="net benefit",
            )
        handles, names = canvas.axes[0].get_legend_handles_labels()
        canvas.figure.legend(handles, names, loc="outside upper left", ncols=4)
        return canvas.drawing(joined(panels))


def predictive_values(name: str, tables: Mapping[str, pd.DataFrame], frame: Frame) -> Drawing:
    """PPV and NPV over the share of positives, a panel each.

    Args:
        name: of the files.
        tables: network to the table of `values_by_prevalence`.
        frame: what it says beside its numbers.
    """
    look = styles(tables)
    with Canvas(name, frame, 2, width=7.4, height=4.0) as canvas:
        for axes, value in zip(canvas.axes, ("ppv", "npv"), strict=True):
            for arm, table in tables.items():
                band(axes, table, "prevalence", value, arm, look[arm])
            rates(axes, "share of positives", value.upper())
        canvas.axes[0].legend(loc="lower right")
        found = pd.concat([table.assign(arm=arm) for arm, table in tables.items()], ignore_index=True)
        return canvas.drawing(found)


def _paneled(name: str, panels: Panels, frame: Frame, height: float) -> Canvas:
    return Canvas(name, frame, len(panels), width=max(_PANEL_IN * len(panels), _NARROWEST_IN), height=height)


def _bands(
    canvas: Canvas, panels: Panels, columns: tuple[str, str], axis_labels: tuple[str, str], frame: Frame
) -> None:
    look = styles_of(panels)
    for axes, (part, tables) in zip(canvas.axes, panels.items(), strict=True):
        for arm, table in tables.items():
            if len(table):
                band(axes, table, *columns, arm, look[arm])
        if not any(map(len, tables.values())):
            axes.text(0.5, 0.5, UNDEFINED, ha="center", va="center", color=GREY)
        rates(axes, *axis_labels)
        axes.set(title=frame.title(part), aspect="equal")
        axes.label_outer()


def _diagonal(axes: "Axes") -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")


def _bin_counts(axes: "Axes", table: pd.DataFrame) -> None:
    """Positives and cases of each bin, beside its point: right and below, where no rising curve runs."""
    for row in table.to_dict("records"):
        place, below = (row["predicted"], row["observed"]), row["observed"] > 0.1
        text = f"{row['count']}/{row['total']}"
        axes.annotate(
            text, place, textcoords="offset points", xytext=(5, -3 if below else 4), fontsize=8,
            va="top" if below else "bottom", bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5},
        )  # fmt: skip


def _legend(panels: "list[Axes]", place: Literal["lower left", "lower right"]) -> None:
    """In the first panel that has a curve; nowhere without any."""
    drawn = [axes for axes in panels if axes.get_legend_handles_labels()[0]]
    for axes in drawn[:1]:
        axes.legend(loc=place)
