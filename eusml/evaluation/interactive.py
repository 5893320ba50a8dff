"""One page of figures that answer to the mouse: every threshold of every network, with what it would mean there.

The page holds plotly's own code, 4.8 MB, so it needs no network wherever it is opened.
"""

import html
import math
from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eusml.evaluation import report
from eusml.evaluation.calibration import reliability
from eusml.evaluation.captions import MARK
from eusml.evaluation.figures.style import COLOURS
from eusml.plotly_options import PLOTLY_OPTIONS

Figure = dict[str, Any]
"""`data` and `layout`, as plotly takes them."""

_DASHES = ("solid", "dash", "dot", "dashdot")
_WIDTH_PX, _HEIGHT_PX = 460, 520
POINTS = 1000
"""Of a curve, at most: more than the eye can tell apart, and each is 90 bytes."""
_HOVER = (
    "<b>{name}</b><br>positive from %{{customdata[0]}}<br>"
    "sensitivity %{{customdata[1]}}/{positives} = %{{customdata[2]:.3f}}<br>"
    "specificity %{{customdata[3]}}/{negatives} = %{{customdata[4]:.3f}}<br>"
    "PPV %{{customdata[1]}}/%{{customdata[5]}} = %{{customdata[6]}}<extra></extra>"
)
_CALIBRATION_HOVER = (
    "<b>{name}</b><br>mean probability %{{x:.3f}}<br>positive %{{customdata[0]}}/%{{customdata[1]}} = %{{y:.3f}} "
    "(%{{customdata[2]:.3f}}-%{{customdata[3]:.3f}})<extra></extra>"
)


def curves_page(
    answers: Mapping[str, Mapping[str, pd.DataFrame]],
    table: pd.DataFrame,
    threshold: float,
    *,
    synthetic: bool,
    out_of_fold: bool = False,
) -> str:
    """ROC, precision-recall and calibration of all arms as one self-contained HTML file; no case is named.

    Args:
        answers: partition to arm to columns case_id, patient_id, y_true, y_score.
        table: their measures, columns part, arm, measure, value, ci_low, ci_high, count, total, method.
        threshold: marked on every curve.
        synthetic: whether the images are made up.
        out_of_fold: whether `test` is all cases, cross-validated.
    """
    import plotly.io as pio
    from plotly.offline import get_plotlyjs

    parts = [
        "<h1>ROC, precision-recall and calibration</h1>",
        f"<p class=mark>{MARK}</p>" if synthetic else "",
        "<p>Point at a curve to see what a threshold would mean there; click a name to hide its curve. A diamond marks "
        f"the threshold that was fixed beforehand, {threshold:g}. Of very many, {POINTS} stand on a curve.</p>",
    ]
    for part, arms in answers.items():
        parts.append(f"<h2>{part}: {html.escape(report.part_text(part, out_of_fold=out_of_fold))}</h2><div class=row>")
        for kind, figure in figures(arms, table[table["part"] == part], threshold, synthetic=synthetic).items():
            drawn = pio.to_html(
                figure, dict(PLOTLY_OPTIONS), full_html=False, include_plotlyjs=False, validate=False,
                div_id=f"{part}-{kind}", default_width=f"{_WIDTH_PX}px", default_height=f"{_HEIGHT_PX}px",
            )  # fmt: skip
            parts.append(drawn)
        parts.append("</div>")
    style = (
        "body {font-family: sans-serif} .mark {color: #B00020; font-weight: bold} .row {display: flex; flex-wrap: wrap}"
    )
    head = f'<meta charset="utf-8"><title>Curves</title><style>{style}</style><script>{get_plotlyjs()}</script>'
    body = "\n".join([*parts, f"<p>{html.escape(report.DISCLAIMER)}</p>"])
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def figures(
    arms: Mapping[str, pd.DataFrame], table: pd.DataFrame, threshold: float, *, synthetic: bool
) -> dict[str, Figure]:
    """The figures of one partition, by `roc`, `precision_recall` and `calibration`; arguments as `curves_page`."""
    first = next(iter(arms.values()))
    texts = {(row["arm"], row["measure"]): report.estimate_text(row) for _, row in table.iterrows()}
    n = _counted(first)
    roc = _empty("ROC", n, "1 - specificity", "sensitivity", synthetic=synthetic)
    recall = _empty("Precision and recall", n, "recall (sensitivity)", "precision (PPV)", synthetic=synthetic)
    calibration = _empty("Calibration, bars: 95 % Wilson" + _too_narrow(first), n, "mean predicted probability",
                         "observed share", synthetic=synthetic)  # fmt: skip
    for figure in (roc, calibration):
        figure["data"].append(_reference([0, 1], [0, 1]))
    recall["data"].append(_reference([0, 1], [float(first["y_true"].mean())] * 2))
    for colour, dash, (arm, answers) in zip(cycle(COLOURS), cycle(_DASHES), arms.items(), strict=False):
        y_true, y_score = answers["y_true"].to_numpy(), answers["y_score"].to_numpy()
        look = {"legendgroup": arm, "line": {"color": colour, "dash": dash}, "marker": {"color": colour}}
        points = operating_points(y_true, y_score)
        for figure, measure, axes in ((roc, "auroc", ("fpr", "tpr")), (recall, "auprc", ("tpr", "ppv"))):
            name = f"{arm}: {measure.upper()} {texts[arm, measure]}"
            figure["data"] += _curve(points, axes, arm, name, look, threshold)
        calibration["data"].append(_bins(reliability(y_true, y_score), arm, look))
    return {"roc": roc, "precision_recall": recall, "calibration": calibration}


def operating_points(y_true: npt.NDArray[Any], y_score: npt.NDArray[Any]) -> pd.DataFrame:
    """What every threshold that makes a difference would mean, from calling nobody positive to calling everybody.

    Args:
        y_true: [N], 1 or 0.
        y_score: [N], probability of the positive class.

    Returns:
        Columns threshold (positive from here on; inf first), tp, fp, tn, called, tpr, fpr, tnr, ppv; nan for 0/0.
    """
    order = np.argsort(-y_score, kind="stable")
    ends = np.flatnonzero(np.diff(y_score[order], append=-np.inf) != 0)  # cases of equal score enter together
    positive = y_true[order] == 1
    tp, fp = (np.append(0, np.cumsum(which)[ends]) for which in (positive, ~positive))
    called = tp + fp
    with np.errstate(invalid="ignore"):
        tpr, fpr, ppv = tp / tp[-1], fp / fp[-1], tp / called
    return pd.DataFrame(
        {
            "threshold": np.append(np.inf, y_score[order][ends]),
            "tp": tp, "fp": fp, "tn": fp[-1] - fp, "called": called,
            "tpr": tpr, "fpr": fpr, "tnr": 1 - fpr, "ppv": ppv,
        }
    )  # fmt: skip


def _curve(
    points: pd.DataFrame, axes: tuple[str, str], arm: str, name: str, look: Mapping[str, Any], threshold: float
) -> list[Figure]:
    """A curve and the diamond on it; nothing where a class is missing."""
    known = points.dropna(subset=list(axes))
    # The first and the last are always among them.
    drawn = known.iloc[np.unique(np.linspace(0, len(known) - 1, min(len(known), POINTS)).round().astype(np.int64))]
    if drawn.empty:
        return []
    called = points["called"].iloc[-1]
    positives = points["tp"].iloc[-1]
    shared = {
        "hovertemplate": _HOVER.format(name=html.escape(arm), positives=positives, negatives=called - positives),
        **look,
    }
    x, y = axes
    shape = "linear" if x == "fpr" else "vh"  # between two recalls, the precision of the higher one
    curve = {
        "type": "scatter", "mode": "lines", "name": name, **shared, "line": {**look["line"], "shape": shape},
        "x": drawn[x].tolist(), "y": drawn[y].tolist(), "customdata": _told(drawn),
    }  # fmt: skip
    here = known[known["threshold"] >= threshold].tail(1)
    diamond = {
        "type": "scatter", "mode": "markers", "showlegend": False, **shared,
        "marker": {**look["marker"], "symbol": "diamond", "size": 11},
        "x": here[x].tolist(), "y": here[y].tolist(), "customdata": _told(here.assign(threshold=threshold)),
    }  # fmt: skip
    return [curve, diamond]


def _told(points: pd.DataFrame) -> list[list[Any]]:
    """What the mouse is told of each point."""
    rows = points[["threshold", "tp", "tpr", "tn", "tnr", "called", "ppv"]].to_numpy(dtype=object)
    return [
        [
            "above every probability" if math.isinf(threshold) else f"{threshold:.4f}",
            tp,
            round(tpr, 4),
            tn,
            round(tnr, 4),
            called,
            f"{ppv:.3f}" if called else "undefined",
        ]
        for threshold, tp, tpr, tn, tnr, called, ppv in rows
    ]


def _bins(bins: pd.DataFrame, arm: str, look: Mapping[str, Any]) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": arm,
        **look,
        "x": bins["predicted"].tolist(),
        "y": bins["observed"].tolist(),
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": (bins["high"] - bins["observed"]).tolist(),
            "arrayminus": (bins["observed"] - bins["low"]).tolist(),
        },
        "customdata": bins[["count", "total", "low", "high"]].to_numpy(dtype=object).tolist(),
        "hovertemplate": _CALIBRATION_HOVER.format(name=html.escape(arm)),
    }


def _empty(title: str, n: str, x: str, y: str, *, synthetic: bool) -> Figure:
    """Axes from 0 to 1, the title with n, and the mark of made-up data."""
    axis = {"range": [-0.02, 1.02], "tick0": 0, "dtick": 0.2, "zeroline": False, "gridcolor": "#E5E5E5"}
    mark = {
        "text": MARK, "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5, "showarrow": False, "textangle": -30,
        "opacity": 0.3, "font": {"size": 22, "color": "#B00020"},
    }  # fmt: skip
    layout = {
        "width": _WIDTH_PX,
        "height": _HEIGHT_PX,
        "title": {"text": f"{title}<br><sub>{n}</sub>", "font": {"size": 15}, "x": 0.02, "xanchor": "left"},
        "xaxis": {**axis, "title": {"text": x}},
        "yaxis": {**axis, "title": {"text": y}},
        "legend": {"orientation": "h", "y": -0.2},
        "margin": {"l": 55, "r": 15, "t": 60, "b": 40},
        "plot_bgcolor": "white",
        "hovermode": "closest",
        "annotations": [mark] if synthetic else [],
    }
    return {"data": [], "layout": layout}


def _reference(x: list[float], y: list[float]) -> Figure:
    line = {"color": "#666666", "width": 1, "dash": "dot"}
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "line": line, "showlegend": False, "hoverinfo": "skip"}


def _counted(answers: pd.DataFrame) -> str:
    cases, given = answers["case_id"].nunique(), len(answers)
    repeated = f", answered {given} times" if given > cases else ""
    positives = answers.drop_duplicates("case_id")["y_true"].sum()
    return f"n = {cases} cases ({positives} positive, {cases - positives} negative){repeated}"


def _too_narrow(answers: pd.DataFrame) -> str:
    return ", too narrow: several answers per patient" if answers["patient_id"].duplicated().any() else ""
