"""The sentences of the report, in each language: a catalogue of templates beside this file."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import pandas as pd
import yaml

from eusml.config import Language
from eusml.evaluation.metrics import Estimate
from eusml.sentences import Sentence


@dataclass(frozen=True)
class Words:
    """The catalogue of one language."""

    language: str
    entries: Mapping[str, Any]

    def __call__(self, key: str, **values: object) -> str:
        """The sentence of this key, filled in.

        Args:
            key: dotted: `cohort.title`.
            values: what stands between its braces.
        """
        return str(self._entry(key)).format(**values)

    def get(self, key: str, default: str) -> str:
        """What a name in the data is called, or the name itself."""
        try:
            return str(self._entry(key))
        except KeyError:
            return default

    def labels(self) -> Mapping[str, str]:
        """English label of a figure to the one in this language."""
        return {str(key): str(value) for key, value in self.entries["figure_labels"].items()}

    def told(self, said: str) -> tuple[str, str]:
        """A recorded sentence in this language, and what is to follow in English as it was recorded.

        That is a message of another program, or the whole of a sentence of which the text alone was recorded.
        """
        if self.language == "en":
            return str(said), ""
        try:
            return self._filled(said), said.quoted if isinstance(said, Sentence) else ""
        except KeyError:
            return "", str(said)

    def covariate(self, name: str) -> str:
        """A column of the manifest for people: `age_years` is age, years."""
        return self.get(f"covariates.{name}", name.replace("_", " "))

    def level(self, level: str) -> str:
        """A level of a covariate for people."""
        return self.get(f"levels.{level}", level)

    def measure(self, measure: str) -> str:
        """A measure for people."""
        return self.get(f"measures.{measure}", measure)

    def method(self, method: str) -> str:
        """How an interval was made, within a sentence: what cannot be said in this language stays in English."""
        return "".join(self.told(method))

    def joined(self, texts: "list[str]") -> str:
        """`a, b and c`."""
        if len(texts) < 2:
            return "".join(texts)
        return self("join.comma").join(texts[:-1]) + self("join.and") + texts[-1]

    def listed(self, texts: Iterable[str]) -> str:
        """`a; b; c`, each of them once."""
        return self("join.semicolon").join(dict.fromkeys(texts))

    def _filled(self, said: object) -> str:
        """Raises a `KeyError` for a sentence that this catalogue lacks."""
        if not isinstance(said, Sentence):
            raise KeyError(said)
        values = {name: self._value(value) for name, value in said.values.items()}
        return str(self._entry(said.key)).format(**values)

    def _value(self, value: Any) -> Any:
        if isinstance(value, Sentence):
            return self._filled(value)
        return self("join.comma").join(str(self._value(v)) for v in value) if isinstance(value, list) else value

    def _entry(self, key: str) -> Any:
        found: Any = self.entries
        for name in key.split(".", 1):
            if not isinstance(found, Mapping) or name not in found:
                raise KeyError(key)
            found = found[name]
        return found


@cache
def words(language: Language) -> Words:
    """The catalogue of a language."""
    text = (files("eusml.evaluation.reporting") / "words" / f"{language}.yaml").read_text(encoding="utf-8")
    return Words(language, yaml.safe_load(text))


def number(value: float, digits: int = 3) -> str:
    """`0.759`, or a dash for what is undefined."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def interval(low: float, high: float, digits: int = 3) -> str:
    """`0.576–0.880`, or a dash."""
    return "–" if math.isnan(low) else f"{low:.{digits}f}–{high:.{digits}f}"


def signed(value: float, low: float, high: float) -> str:
    """`+0.103 (-0.100 to +0.294)`, which reads in every language."""
    if math.isnan(value):
        return "–"
    return f"{value:+.3f}" + ("" if math.isnan(low) else f" ({low:+.3f}; {high:+.3f})")


def p_value(p: float) -> str:
    """`0.51`, `< 0.001`, or a dash."""
    if p is None or math.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.2f}" if p >= 0.095 else f"{p:.3f}"


def by_measure(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The rows of a table of measures, by measure."""
    return {str(row["measure"]): {str(k): v for k, v in row.items()} for row in table.to_dict("records")}


def estimate(row: Mapping[str, Any]) -> str:
    """`22/29 = 0.759 (0.576–0.880)` of a row of a table of measures, or a dash."""
    if math.isnan(row["value"]):
        return "–"
    count, total = (None if pd.isna(row[name]) else int(row[name]) for name in ("count", "total"))
    return Estimate(row["value"], row["ci_low"], row["ci_high"], count, total, "").text().replace("-", "–")
