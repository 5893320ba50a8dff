import io
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from functools import cache
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from PIL import Image

from eusml.config import EvaluateConfig
from eusml.evaluation.comparison import side_by_side
from eusml.evaluation.figures import pictures, single
from eusml.evaluation.figures.drawing import Drawing, Frame, files
from eusml.evaluation.metrics import Metrics, evaluate_answers
from eusml.tables import from_csv_text
from tests.conftest import answers

QUICK = EvaluateConfig(bootstrap_samples=100)
CLASSES = ("leiomyoma", "GIST")
LONG = ("peripheral nerve sheath tumour", "gastrointestinal stromal tumour")
RATES = ("0.00", "0.25", "0.50", "0.75", "1.00")
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 32, 32)).astype(np.uint8)


def measured(parts: dict[str, pd.DataFrame]) -> dict[str, Metrics]:
    return {part: evaluate_answers(table, QUICK) for part, table in parts.items()}


def evaluated(parts: dict[str, pd.DataFrame], classes: tuple[str, str] = CLASSES, **how: Any) -> dict[str, Drawing]:
    how = {"synthetic": True} | how
    drawn = single.of_evaluation("resnet34", measured(parts), parts, classes, 100, **how)
    return {drawing.name: drawing for drawing in drawn}


def history(epochs: int, *, held_out: bool = True) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    falling = 0.7 * np.exp(-epoch / 20)
    columns = {"train_loss": falling, "train_accuracy": 1 - falling / 2}
    tested = {"test_loss": 0.3 + falling / 2, "test_accuracy": 0.9 - falling / 3}
    if not held_out:
        tested = dict.fromkeys(tested, np.full(epochs, math.nan))
    return pd.DataFrame({"epoch": epoch, **columns, **tested})


def compared() -> pd.DataFrame:
    return pd.concat(
        [
            side_by_side({"resnet34": answers(0, n), "size alone, no image": answers(9, n)}, QUICK).assign(part=part)
            for part, n in (("test", 29), ("fresh", 60))
        ],
        ignore_index=True,
    )


SEVERAL = {"test": answers(0, 29), "val": answers(1, 40), "fresh": answers(2, 60)}
ONE_CLASS = {"test": answers(3, 24).query("y_true == 0"), "fresh": answers(4, 40)}
CHARTS: dict[str, Callable[[bool], list[Drawing]]] = {
    "several partitions": lambda s: list(evaluated(SEVERAL, synthetic=s).values()),
    "one partition": lambda s: list(evaluated({"test": answers(0, 29)}, synthetic=s, out_of_fold=True).values()),
    "four cases, long names": lambda s: list(evaluated({"test": answers(3, 4)}, LONG, synthetic=s).values()),
    "one class": lambda s: list(evaluated(ONE_CLASS, synthetic=s).values()),
    "networks": lambda s: [single.of_comparison(compared(), m, 0.95, synthetic=s) for m in ("accuracy", "auroc")],
    "courses": lambda s: [single.of_course("curves", {"a": history(5), "b": history(9)}, {"test": 29}, synthetic=s)],
    "one epoch": lambda s: [single.of_course("curves", {"a": history(1, held_out=False)}, {"train": 113}, synthetic=s)],
}
OPERATIONS = ("original", "rotation", "flip", "clahe", "log", "sigmoid")
SHEETS: dict[str, Callable[[bool], bytes]] = {
    "augmentation": lambda s: pictures.augmentation_panel(
        dict(zip(OPERATIONS, IMAGES, strict=True)), Frame(s, "n = 113")
    ),
    "images": lambda s: pictures.image_sheet({"GIST": IMAGES, "leiomyoma": IMAGES[:2]}, Frame(s, "n = 8")),
    "one image": lambda s: pictures.image_sheet({"GIST": IMAGES[:1], "leiomyoma": IMAGES[:0]}, Frame(s, "n = 1")),
}


@cache
def charts(name: str, *, synthetic: bool) -> list[Drawing]:
    return CHARTS[name](synthetic)


def texts(drawing: Drawing) -> list[str]:
    """Lines of an SVG, which is well-formed."""
    return [text.text or "" for text in ET.fromstring(drawing.svg_file).iter() if text.tag.endswith("text")]


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def assert_whole(png: bytes) -> None:
    """Titles, labels and the mark are inside the picture: nothing dark touches its edge."""
    grey = pixels(png).min(axis=2)
    assert grey.shape[1] >= 480
    assert len(np.unique(grey)) > 20
    assert (np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]]) > 200).all()


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_is_whole_says_n_and_whether_its_data_are_made_up(name: str) -> None:
    for synthetic in (True, False):
        for drawing in charts(name, synthetic=synthetic):
            said = "\n".join(texts(drawing))
            assert re.search(r"n = \d+", said)
            assert ("SYNTHETIC DATA - not patients" in said) == synthetic
            assert ("SYNTHETIC" in said) == synthetic
            assert "nan" not in said
            assert_whole(drawing.png)


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_has_its_numbers_beside_it(name: str) -> None:
    drawn = charts(name, synthetic=True)
    found = files(drawn)
    assert set(found) == {f"{one.name}.{ending}" for one in drawn for ending in ("png", "svg", "csv")}
    for one in drawn:
        table = from_csv_text(found[f"{one.name}.csv"].decode())
        assert len(table) == len(one.data) > 0
        assert list(table.columns) == list(one.data.columns)
        assert found[f"{one.name}.svg"].startswith(b"<?xml")


@pytest.mark.parametrize("name", SHEETS)
def test_sheets_of_pictures_are_marked_below_and_in_each_picture(name: str) -> None:
    synthetic, real = (pixels(SHEETS[name](made_up)).astype(int) for made_up in (True, False))
    assert_whole(SHEETS[name](True))
    red, plain = (picture[..., 0] - picture[..., 1] > 60 for picture in (synthetic, real))
    assert not plain.any()
    foot = len(synthetic) - 40
    assert red[foot:].any()
    assert red[:foot].sum() > 500


def test_sheets_show_the_pixels_as_they_are() -> None:
    shown = pixels(pictures.augmentation_panel(dict(zip(OPERATIONS, IMAGES, strict=True)), Frame(False)))
    # The first of six, from its left upper corner: every pixel of it is a square of one grey.
    rows, columns = np.nonzero((shown[:, : shown.shape[1] // 6] != 255).any(axis=2))
    top = next(row for row in range(len(shown)) if np.count_nonzero(rows == row) > 200)
    side = np.ptp(columns[rows == top]) / 32
    x, y = columns[rows == top].min() + side / 2, top + side / 2
    for i, j in ((0, 0), (7, 3), (31, 30)):
        assert shown[int(y + i * side), int(x + j * side), 0] == IMAGES[0, i, j]


def test_confusion_has_each_count_under_its_true_class() -> None:
    table = SEVERAL["fresh"]
    (drawing,) = (one for one in charts("several partitions", synthetic=True) if one.name == "confusion")
    confusion = drawing.data.query("part == 'fresh'").set_index(["true", "predicted"])
    for true, label in enumerate(CLASSES):
        for called, name in enumerate(CLASSES):
            count = ((table["y_true"] == true) & (table["y_pred"] == called)).sum()
            assert confusion.loc[(label, name), "count"] == count
            assert f"{count} / {(table['y_true'] == true).sum()}" in texts(drawing)


def test_curves_are_named_with_their_areas_and_intervals() -> None:
    drawn, metrics = evaluated(SEVERAL), measured(SEVERAL)
    for name, measure in (("roc", "auroc"), ("precision_recall", "auprc")):
        said = texts(drawn[name])
        for part, title in (("test", "held-out"), ("val", "validation"), ("fresh", "fresh")):
            found = metrics[part].estimates[measure]
            assert f"{title} cases, n = {metrics[part].cases}" in said
            assert f"{measure.upper()} {found.value:.3f} ({found.low:.3f}-{found.high:.3f})" in said
        foot = " ".join(said)
        assert "patient-wise bootstrap, 100 resamples" in foot
        assert metrics["test"].estimates[measure].method in foot
    area = drawn["roc"].data.query("part == 'fresh'")
    assert np.trapezoid(area["tpr"], area["fpr"]) == pytest.approx(metrics["fresh"].estimates["auroc"].value, abs=0.02)


def test_axes_of_rates_go_from_0_to_1() -> None:
    for name in ("roc", "precision_recall", "calibration"):
        said = texts(evaluated({"test": answers(0, 29)})[name])
        assert all(said.count(rate) == 2 for rate in RATES)
    drawn = single.of_comparison(compared(), "accuracy", 0.95, synthetic=False)
    assert {"0.0", "1.0"} <= set(texts(drawn))


def test_where_every_case_is_held_out_once_panels_say_so() -> None:
    for drawing in charts("one partition", synthetic=True):
        assert "all cases, out of fold, n = 29" in texts(drawing)
        assert set(drawing.data["part"]) == {"all"}


def test_cases_of_one_class_have_no_curve_and_are_said_to() -> None:
    drawn = evaluated(ONE_CLASS)
    for name in ("roc", "precision_recall"):
        assert set(drawn[name].data["part"]) == {"fresh"}
        assert texts(drawn[name]).count("undefined") == 1
        assert "resnet34" in texts(drawn[name])
    alone = evaluated({"test": ONE_CLASS["test"]})
    assert "Intervals of AUROC: 95 %, none." in " ".join(texts(alone["roc"]))


def test_calibration_names_the_counts_of_each_bin_and_that_bars_are_too_narrow() -> None:
    table = answers(0, 28)
    said = texts(evaluated({"test": table})["calibration"])
    counts = [tuple(map(int, text.split("/"))) for text in said if re.fullmatch(r"\d+/\d+", text)]
    assert [sum(column) for column in zip(*counts, strict=True)] == [14, 28]
    assert "too narrow" not in " ".join(said)
    several = evaluated({"test": table.assign(patient_id=np.arange(28) // 2)})["calibration"]
    assert "held-out cases, n = 28 images of 14 patients" in texts(several)
    assert "too narrow" in " ".join(texts(several))


def test_courses_say_what_the_held_out_curve_is_for_and_that_losses_are_cut_off() -> None:
    arms = {"a": history(5), "b": history(9)}
    drawn = single.of_course("curves", arms, {"train": 113, "test": 29}, synthetic=False)
    said = " ".join(texts(drawn))
    assert "n = 113 training cases, 29 held-out cases." in said
    assert "Nothing is chosen or stopped by the held-out curve." in said
    assert {f"{arm}, {part}" for arm in arms for part in ("training", "held out")} <= set(texts(drawn))
    assert "cut off" not in said
    for arm, curve in arms.items():
        kept = drawn.data[drawn.data["arm"] == arm]
        pd.testing.assert_frame_equal(kept[list(curve)].reset_index(drop=True), curve)
    high = {"a": history(5).assign(test_loss=9.0)}
    assert "higher losses are cut off" in texts(single.of_course("curves", high, {}, synthetic=False))


def test_forest_has_value_and_interval_of_every_network_on_every_partition() -> None:
    table = compared()
    drawn = single.of_comparison(table, "accuracy", 0.95, synthetic=False)
    rows = table[table["measure"] == "accuracy"]
    pd.testing.assert_frame_equal(drawn.data[list(rows)], rows)
    said = texts(drawn)
    for word in ("resnet34", "size alone, no image", "held-out cases,", "n = 29", "fresh cases,", "n = 60"):
        assert word in said
    assert "Accuracy with its intervals: 95 %, adjusted Wald (Agresti-Coull)." in " ".join(said)
    for value in rows["value"]:
        assert f"{value:.3f}" in said
    nothing = single.of_comparison(table.assign(value=math.nan, ci_low=math.nan, ci_high=math.nan), "auroc", 0.95,
                                   synthetic=False)  # fmt: skip
    assert texts(nothing).count("undefined") == 4


def test_each_file_is_drawn_once_and_the_users_own_settings_lay_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    (before,) = CHARTS["one epoch"](True)
    drawn = 0
    draw = Figure.draw

    def counted(figure: Figure, renderer: RendererBase) -> None:
        nonlocal drawn
        drawn += 1
        draw(figure, renderer)

    monkeypatch.setattr(Figure, "draw", counted)
    for setting in ("figure.autolayout", "figure.constrained_layout.use"):
        with matplotlib.rc_context({setting: True}):
            (after,) = CHARTS["one epoch"](True)
        assert (after.svg, after.png) == (before.svg, before.png)
    assert drawn == 4  # SVG and PNG, twice


def test_equal_figures_are_equal_files() -> None:
    assert files(charts("one partition", synthetic=True)) == files(CHARTS["one partition"](True))
