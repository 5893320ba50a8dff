"""Figures that answer to the mouse: they hold what the measures say, and opening them asks nobody for anything."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

from eusml.config import EvaluateConfig
from eusml.evaluation import interactive
from eusml.evaluation.calibration import reliability
from eusml.evaluation.comparison import side_by_side
from eusml.evaluation.metrics import evaluate_answers
from tests.browser import opened_from_disk
from tests.conftest import answers

SETTINGS = EvaluateConfig(bootstrap_samples=100)
ARMS = {"resnet34": answers(0), "size alone, no image": answers(1)}


def drawn(arms: dict[str, pd.DataFrame], *, synthetic: bool = True) -> dict[str, interactive.Figure]:
    table = side_by_side(arms, SETTINGS).assign(part="test")
    return interactive.figures(arms, table, SETTINGS.threshold, synthetic=synthetic)


def page(*, synthetic: bool = True, arms: dict[str, pd.DataFrame] | None = None) -> str:
    shown = {"test": arms or ARMS, "fresh": {name: answers(seed, 60) for seed, name in enumerate(arms or ARMS)}}
    table = pd.concat([side_by_side(known, SETTINGS).assign(part=part) for part, known in shown.items()])
    return interactive.curves_page(shown, table, SETTINGS.threshold, synthetic=synthetic)


def traces(figure: interactive.Figure, **wanted: Any) -> list[dict[str, Any]]:
    return [trace for trace in figure["data"] if all(trace.get(name) == value for name, value in wanted.items())]


@pytest.mark.parametrize("arm", ARMS)
def test_curves_are_those_of_the_answers(arm: str) -> None:
    figures, table = drawn(ARMS), ARMS[arm]
    y_true, y_score = table["y_true"], table["y_score"]
    (curve,) = traces(figures["roc"], legendgroup=arm, mode="lines")
    x, y, thresholds = roc_curve(y_true, y_score, drop_intermediate=False)
    np.testing.assert_allclose((curve["x"], curve["y"]), (x, y))
    assert [told[0] for told in curve["customdata"]][1:] == [f"{threshold:.4f}" for threshold in thresholds[1:]]
    (curve,) = traces(figures["precision_recall"], legendgroup=arm, mode="lines")
    precision, recall, _ = precision_recall_curve(y_true, y_score)
    assert set(zip(np.round(curve["x"], 9), np.round(curve["y"], 9), strict=True)) >= {
        pair for pair in zip(np.round(recall, 9), np.round(precision, 9), strict=True) if pair[0] > 0
    }
    area = np.sum(np.diff(curve["x"], prepend=0) * curve["y"])  # with the steps as they are drawn
    assert area == pytest.approx(average_precision_score(y_true, y_score))
    (curve,) = traces(figures["calibration"], legendgroup=arm)
    bins = reliability(y_true.to_numpy(), y_score.to_numpy())
    assert curve["x"] == bins["predicted"].tolist()
    assert curve["customdata"] == bins[["count", "total", "low", "high"]].to_numpy(dtype=object).tolist()


@pytest.mark.parametrize("arm", ARMS)
def test_the_diamond_and_the_legend_are_the_reported_measures(arm: str) -> None:
    figures, metrics = drawn(ARMS), evaluate_answers(ARMS[arm], SETTINGS)
    measured = {name: estimate.value for name, estimate in metrics.estimates.items()}
    (diamond,) = traces(figures["roc"], legendgroup=arm, mode="markers")
    assert diamond["x"] == [pytest.approx(1 - measured["specificity"])]
    assert diamond["y"] == [pytest.approx(measured["sensitivity"])]
    assert diamond["customdata"] == [
        ["0.5000", metrics.tp, round(measured["sensitivity"], 4), metrics.tn, round(measured["specificity"], 4),
         metrics.tp + metrics.fp, f"{measured['ppv']:.3f}"]
    ]  # fmt: skip
    (diamond,) = traces(figures["precision_recall"], legendgroup=arm, mode="markers")
    assert (diamond["x"], diamond["y"]) == ([pytest.approx(measured["sensitivity"])], [pytest.approx(measured["ppv"])])
    for kind, measure in (("roc", "auroc"), ("precision_recall", "auprc")):
        (curve,) = traces(figures[kind], legendgroup=arm, mode="lines")
        assert curve["name"] == f"{arm}: {measure.upper()} {metrics.estimates[measure].text()}"


def test_plotly_knows_every_word_and_axes_run_from_0_to_1_with_n_and_the_mark() -> None:
    for synthetic in (True, False):
        for figure in drawn(ARMS, synthetic=synthetic).values():
            layout = go.Figure(figure).layout  # raises where it does not
            assert "n = 30 cases (15 positive, 15 negative)" in layout.title.text
            assert (layout.xaxis.range, layout.yaxis.range) == ((-0.02, 1.02), (-0.02, 1.02))
            marks = [note.text for note in layout.annotations]
            assert marks == (["SYNTHETIC DATA - not patients"] if synthetic else [])
    assert "SYNTHETIC" not in page(synthetic=False).rpartition("</script><body>")[0]


def test_what_cannot_be_drawn_is_left_out_and_recurring_patients_are_said() -> None:
    one_class = answers(0).assign(y_true=1)
    figures = drawn({"a": one_class})
    assert traces(figures["roc"], legendgroup="a") == []
    assert len(traces(figures["precision_recall"], legendgroup="a")) == 2
    table = answers(0)
    repeated = pd.concat([table.assign(repeat=number) for number in range(2)], ignore_index=True)
    figures = drawn({"a": repeated})
    assert "n = 30 cases (15 positive, 15 negative), answered 60 times" in figures["roc"]["layout"]["title"]["text"]
    assert "too narrow" in figures["calibration"]["layout"]["title"]["text"]


def test_many_cases_do_not_make_the_page_large() -> None:
    many = answers(0, 5000)
    figures, metrics = drawn({"a": many}), evaluate_answers(many, SETTINGS)
    (curve,) = traces(figures["roc"], legendgroup="a", mode="lines")
    assert len(curve["x"]) == interactive.POINTS
    assert [(curve["x"][end], curve["y"][end]) for end in (0, -1)] == [(0, 0), (1, 1)]
    (diamond,) = traces(figures["roc"], legendgroup="a", mode="markers")
    assert diamond["customdata"][0][1] == metrics.tp


def test_no_case_is_named_and_a_name_cannot_end_the_script() -> None:
    named = ARMS["resnet34"].assign(
        case_id=[f"secret{i}" for i in range(30)], patient_id=[f"person{i}" for i in range(30)]
    )
    made = page(arms={"</script><script>alert(1)</script>": named})
    assert "secret" not in made
    assert "person" not in made
    assert "<script>alert" not in made


@pytest.mark.browser
@pytest.mark.slow
def test_opened_from_disk_it_draws_tells_and_asks_nobody(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(page(), encoding="utf-8")
    assert file.stat().st_size < 6e6
    with opened_from_disk(file, 1500, 1250) as found:
        opened = found.page
        opened.locator("#fresh-calibration .scatterlayer").wait_for(state="attached")
        assert opened.locator(".js-plotly-plot").count() == 6
        buttons = opened.locator(".modebar-btn").evaluate_all("all => all.map(one => one.dataset.title)")
        assert "Reset axes" in buttons
        assert [button for button in buttons if "Share" in button or "Cloud" in button] == []  # plotly would upload it
        # Traces of the ROC: the diagonal, then curve and diamond of each arm.
        opened.evaluate("Plotly.Fx.hover('test-roc', [{curveNumber: 2, pointNumber: 0}])")
        told = " ".join(opened.locator("#test-roc .hoverlayer tspan").all_text_contents())
        opened.screenshot(path=str(tmp_path / "page.png"))
    metrics = evaluate_answers(ARMS["resnet34"], SETTINGS)
    for name in ("sensitivity", "specificity", "ppv"):
        estimate = metrics.estimates[name]
        assert f"{estimate.count}/{estimate.total} = {estimate.value:.3f}" in told
    assert found.asked == []
    assert found.said == []
