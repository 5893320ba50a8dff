"""Table 1 of Guo et al. as numbers: what the synthetic cohort has in common with the study's 142 patients."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Label = Literal["GIST", "leiomyoma"]
Sex = Literal["male", "female"]
Site = Literal["oesophagus", "cardia", "cardia-fundus", "fundus", "fundus-body", "body", "antrum", "antrum-body"]
Layer = Literal["muscularis mucosae", "submucosa", "muscularis propria"]
InternalEcho = Literal["homogeneous", "heterogeneous"]
EchoLevel = Literal["hypoechoic", "mid-hypoechoic", "mixed", "hyperechoic"]
Shape = Literal["round", "oval", "spindle", "irregular"]
Growth = Literal["intraluminal", "extraluminal", "mixed"]
Border = Literal["clear", "unclear"]
Surface = Literal["smooth", "ulcer", "erosion"]


@dataclass(frozen=True)
class Moments:
    """A continuous characteristic as Table 1 prints it, and the range that synthetic values keep to."""

    mean: float
    sd: float
    """Sample standard deviation (divisor n - 1)."""
    low: float
    high: float


@dataclass(frozen=True)
class Margins:
    """One column of Table 1: every characteristic on its own, without how they go together."""

    cases: int
    age_years: Moments
    size_mm: Moments
    counts: Mapping[str, Mapping[str | bool, int]]
    """Characteristic -> value -> number of cases; every characteristic sums to `cases`."""


def _column(age: tuple[float, float], size: tuple[float, float], **counts: dict[str | bool, int]) -> Margins:
    cases = sum(counts["sex"].values())
    assert all(sum(values.values()) == cases for values in counts.values()), "Table 1 does not add up"
    return Margins(cases, Moments(*age, low=18.0, high=90.0), Moments(*size, low=3.0, high=65.0), counts)


TABLE_1: Final[Mapping[Label, Margins]] = {
    "GIST": _column(
        age=(58.35, 9.52),
        size=(23.88, 13.12),
        sex={"male": 26, "female": 43},
        site={
            "oesophagus": 1,
            "cardia": 5,
            "cardia-fundus": 2,
            "fundus": 19,
            "fundus-body": 2,
            "body": 33,
            "antrum": 4,
            "antrum-body": 3,
        },
        layer={"muscularis mucosae": 0, "submucosa": 3, "muscularis propria": 66},
        internal_echo={"homogeneous": 29, "heterogeneous": 40},
        echo_level={"hypoechoic": 58, "mid-hypoechoic": 9, "mixed": 2, "hyperechoic": 0},
        shape={"round": 32, "oval": 20, "spindle": 5, "irregular": 12},
        lobulated={False: 67, True: 2},
        growth={"intraluminal": 51, "extraluminal": 14, "mixed": 4},
        border={"clear": 61, "unclear": 8},
        surface={"smooth": 60, "ulcer": 6, "erosion": 3},
        calcification={False: 66, True: 3},
        anechoic_area={False: 63, True: 6},
    ),
    "leiomyoma": _column(
        age=(50.64, 10.04),
        size=(9.63, 6.21),
        sex={"male": 28, "female": 45},
        site={
            "oesophagus": 35,
            "cardia": 13,
            "cardia-fundus": 0,
            "fundus": 10,
            "fundus-body": 0,
            "body": 15,
            "antrum": 0,
            "antrum-body": 0,
        },
        layer={"muscularis mucosae": 26, "submucosa": 2, "muscularis propria": 45},
        internal_echo={"homogeneous": 61, "heterogeneous": 12},
        echo_level={"hypoechoic": 70, "mid-hypoechoic": 1, "mixed": 2, "hyperechoic": 0},
        shape={"round": 20, "oval": 26, "spindle": 22, "irregular": 5},
        lobulated={False: 72, True: 1},
        growth={"intraluminal": 71, "extraluminal": 1, "mixed": 1},
        border={"clear": 72, "unclear": 1},
        surface={"smooth": 73, "ulcer": 0, "erosion": 0},
        calcification={False: 72, True: 1},
        anechoic_area={False: 72, True: 1},
    ),
}
