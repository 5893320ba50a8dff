import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from sklearn.metrics import roc_auc_score

from eusml.config import EvaluateConfig
from eusml.evaluation import figures
from eusml.evaluation.comparison import side_by_side
from eusml.evaluation.metrics import Metrics, evaluate

QUICK = EvaluateConfig(bootstrap_samples=100)
RNG = np.random.default_rng(0)
Y_TRUE = np.repeat([1, 0], [14, 15])
Y_SCORE = np.concatenate([RNG.uniform(0.55, 0.95, 12), [0.2, 0.3], RNG.uniform(0.05, 0.45, 14), [0.8]])
IMAGES = RNG.integers(0, 256, (6, 32, 32)).astype(np.uint8)


def measured() -> Metrics:
    return evaluate(Y_TRUE, Y_SCORE, np.arange(29), QUICK)


def history(epochs: int) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    falling = 0.7 * np.exp(-epoch / 20)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "train_loss": falling,
            "train_accuracy": 1 - falling / 2,
            "test_loss": 0.3 + falling / 2,
            "test_accuracy": 0.9 - falling / 3,
        }
    )


def arms() -> pd.DataFrame:
    names = [f"c{i}" for i in range(29)]
    answers = pd.DataFrame({"case_id": names, "patient_id": names, "y_true": Y_TRUE, "y_score": Y_SCORE})
    worse = answers.assign(y_score=(answers["y_score"] + 1 - Y_TRUE) / 2)
    return pd.concat(
        [side_by_side({"resnet34": answers, "size alone": worse}, QUICK).assign(part=p) for p in ("test", "fresh")]
    )


FIGURES: dict[str, Callable[[bool], Figure]] = {
    "confusion": lambda s: figures.confusion(measured(), ("leiomyoma", "GIST"), synthetic=s),
    "roc": lambda s: figures.roc({"test": (Y_TRUE, Y_SCORE), "val": (Y_TRUE, 1 - Y_SCORE)}, synthetic=s),
    "precision_recall": lambda s: figures.precision_recall({"test": (Y_TRUE, Y_SCORE)}, synthetic=s),
    "calibration": lambda s: figures.calibration(Y_TRUE, Y_SCORE, synthetic=s),
    "learning_curves": lambda s: figures.learning_curves({"a": history(5), "b": history(9)}, synthetic=s),
    "augmentation_panel": lambda s: figures.augmentation_panel(
        dict(zip(["original", "rotation", "flip", "clahe", "log", "sigmoid"], IMAGES, strict=True)), synthetic=s
    ),
    "image_sheet": lambda s: figures.image_sheet({"GIST": IMAGES, "leiomyoma": IMAGES[:2]}, synthetic=s),
    "forest": lambda s: figures.forest(arms(), "accuracy", synthetic=s),
}


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def rendered(figure: Figure) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer).convert("L"))


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_of_synthetic_data_says_so_and_no_other_does(name: str) -> None:
    synthetic, real = FIGURES[name](True), FIGURES[name](False)
    assert any("SYNTHETIC DATA - not patients" in text for text in texts(synthetic))
    assert not any("SYNTHETIC" in text for text in texts(real))
    pixels = rendered(synthetic)
    assert pixels.shape[1] >= 480
    assert len(np.unique(pixels)) > 20
    # Titles, labels and the mark are inside the picture: nothing dark touches its edge.
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (edge > 200).all()


def all_texts(name: str) -> str:
    return "\n".join(texts(FIGURES[name](True)))


def test_confusion_shows_each_count_under_its_true_class() -> None:
    figure = FIGURES["confusion"](False)
    axes = figure.axes[0]
    y_names = {
        round(tick): label.get_text() for tick, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
    }
    x_names = {
        round(tick): label.get_text() for tick, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    }
    found = {}
    for text in axes.texts:
        first = text.get_text().split("\n")[0]
        if first.isdigit():
            x, y = text.get_position()
            found[(y_names[round(y)], x_names[round(x)])] = int(first)
    assert found == {
        ("GIST", "GIST"): 12,
        ("GIST", "leiomyoma"): 2,
        ("leiomyoma", "leiomyoma"): 14,
        ("leiomyoma", "GIST"): 1,
    }


def test_roc_curves_enclose_the_area_they_name() -> None:
    figure = FIGURES["roc"](False)
    area = roc_auc_score(Y_TRUE, Y_SCORE)
    assert f"test: AUROC {area:.3f}" in "\n".join(texts(figure))
    drawn = [line.get_xydata() for line in figure.axes[0].lines]
    areas = [float(np.trapezoid(points[:, 1], points[:, 0])) for points in drawn]
    assert pytest.approx(area) in areas
    assert pytest.approx(1 - area) in areas


def test_curves_without_both_classes_are_left_out() -> None:
    one_class = (np.ones(4), np.linspace(0, 1, 4))
    found = "\n".join(texts(figures.roc({"test": (Y_TRUE, Y_SCORE), "val": one_class}, synthetic=False)))
    assert "test: AUROC" in found
    assert "val" not in found


def test_calibration_names_the_counts_of_each_bin() -> None:
    found = [text for text in texts(FIGURES["calibration"](False)) if text.count("/") == 1]
    counts = [tuple(map(int, text.split("/"))) for text in found]
    assert sum(total for _, total in counts) == 29
    assert sum(count for count, _ in counts) == 14
    edge = figures.calibration(np.array([0, 1]), np.array([0.0, 1.0]), synthetic=False)
    assert {"0/1", "1/1"} <= set(texts(edge))


def test_learning_curves_draw_both_partitions_and_say_what_the_test_curve_is_for() -> None:
    figure = FIGURES["learning_curves"](False)
    assert "for the eye" in "\n".join(texts(figure))
    for axes, measure in zip(figure.axes, ("loss", "accuracy"), strict=True):
        drawn = [tuple(np.asarray(line.get_ydata())) for line in axes.lines]
        for arm in (history(5), history(9)):
            for part in ("train", "test"):
                assert tuple(arm[f"{part}_{measure}"]) in drawn


def test_panels_show_the_images_under_their_names() -> None:
    for name, shown in (("augmentation_panel", 6), ("image_sheet", 8)):
        images: list[Any] = [np.asarray(i.get_array()) for axes in FIGURES[name](False).axes for i in axes.get_images()]
        assert len(images) == shown
        assert (images[0] == IMAGES[0]).all()
    assert {"original", "rotation", "flip", "clahe", "log", "sigmoid"} <= set(
        all_texts("augmentation_panel").split("\n")
    )
    assert {"GIST", "leiomyoma"} <= set(all_texts("image_sheet").split("\n"))


def test_forest_draws_value_and_interval_of_every_arm_on_every_partition() -> None:
    figure, table = FIGURES["forest"](False), arms()
    rows = table[table["measure"] == "accuracy"]
    drawn = {tuple(np.round(np.asarray(line.get_xdata(), float), 6)) for axes in figure.axes for line in axes.lines}
    for row in rows.to_dict("records"):
        assert (round(row["ci_low"], 6), round(row["ci_high"], 6)) in drawn
        assert (round(row["value"], 6),) in drawn
    words = "\n".join(texts(figure))
    for word in ("resnet34", "size alone", "test", "fresh", "0.897"):
        assert word in words
