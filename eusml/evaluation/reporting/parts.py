"""What several sections ask of the contents: what a partition is called, and who answered its cases."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, TypeVar

import numpy.typing as npt
import pandas as pd

from eusml.evaluation.figures.drawing import PART_TITLES, Frame
from eusml.evaluation.reporting.contents import Arm, Contents
from eusml.evaluation.reporting.document import Cell
from eusml.evaluation.reporting.words import Words, by_measure, estimate

T = TypeVar("T")

BASELINE = ", no image"
"""How the names of clinical baselines end in a table of comparison."""


def told(said: str, w: Words) -> Cell:
    """A recorded sentence as a cell."""
    text, recorded = w.told(said)
    return Cell(text, recorded=recorded)


def in_english(svg: str, texts: Sequence[str]) -> str:
    """A drawing whose texts of this list are marked as English, in a page of another language."""
    for text in dict.fromkeys(texts):
        shown = f">{escape(text, quote=False)}</text>"
        svg = svg.replace(shown, f' lang="en"{shown}')
    return svg


def file_name(text: str) -> str:
    """A name as a part of a file's name or of an identifier in a page, where no space may stand."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)


def part_title(part: str, contents: Contents, w: Words) -> str:
    """What a partition is, with its number of cases."""
    key = "out_of_fold" if part == "test" and contents.cross_validated else part
    arm = next(arm for arm in contents.arms if part in arm.metrics)
    return w(f"parts.{key}", n=f"{arm.metrics[part]['cases']:.0f}", patients=f"{arm.metrics[part]['patients']:.0f}")


def panels_of(panels: Mapping[str, T], contents: Contents) -> dict[str, T]:
    """The same by the partition's name in figures."""
    return {"all" if part == "test" and contents.cross_validated else part: found for part, found in panels.items()}


def frame(contents: Contents, w: Words) -> Frame:
    """What all figures of the report say beside their numbers; panels of partitions have their number of cases."""
    labels, titles = dict(w.labels()), {}
    for part, key in panels_of({part: part for part in contents.parts}, contents).items():
        cases = next(arm.metrics[key]["cases"] for arm in contents.arms if key in arm.metrics)
        titles[part] = f"{PART_TITLES[part]}, n = {cases:.0f}"
        labels[titles[part]] = f"{labels.get(PART_TITLES[part], PART_TITLES[part])}, n = {cases:.0f}"
    return Frame(contents.synthetic, labels=labels, titles=titles)


def part_name(part: str, contents: Contents, w: Words, form: str = "on") -> str:
    """What a partition is called in a sentence."""
    return w(f"parts_{form}.{'all' if part == 'test' and contents.cross_validated else part}")


def estimate_of(arm: Arm, part: str, measure: str) -> str:
    """One measure of a network, with its interval."""
    return estimate(by_measure(arm.tables[part])[measure])


def arrays(table: pd.DataFrame) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """y_true, y_score and patient_id of answers."""
    return table["y_true"].to_numpy(), table["y_score"].to_numpy(), table["patient_id"].to_numpy()


def both_classes(contents: Contents, part: str) -> list[tuple[str, pd.DataFrame]]:
    """Networks and their answers where both classes are among the cases."""
    return [
        (arm.name, arm.predictions[part])
        for arm in contents.arms
        if part in arm.predictions and arm.predictions[part]["y_true"].nunique() == 2
    ]
