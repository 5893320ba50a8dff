"""Answers of several arms brought into one order of cases; what was not measured on the same cases is refused."""

from collections.abc import Mapping, Sequence

import pandas as pd

from eusml.errors import DataError
from eusml.evaluation.metrics import check_answers

_SHOWN = 5


def same_cases(predictions: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables, all in the first one's order of cases.

    Args:
        predictions: arm to its answers with columns case_id, patient_id, y_true, y_score. With a column `repeat`, as
            repeated cross-validation makes it, a case stands once in every repeat, and is compared within it.

    Raises:
        DataError: a case stands more than once, or two arms were not measured on the same cases (in the same repeats),
            labels or patients; it names the cases.
    """
    aligned: dict[str, pd.DataFrame] = {}
    for arm, table in predictions.items():
        keys = case_keys(table)
        twice = table.loc[table.duplicated(keys), keys]
        if len(twice):
            raise DataError(f"{arm}: case {named_cases(twice)} stands more than once")
        check_answers(table["y_true"].to_numpy(), table["y_score"].to_numpy(), table["patient_id"].to_numpy())
        if not aligned:
            first, reference = arm, table.reset_index(drop=True)
            aligned[arm] = reference
            continue
        if keys != case_keys(reference):
            raise DataError(f"{first} and {arm} cannot be compared: only one of them has several repeats")
        both = reference[keys].merge(table[keys], how="outer", on=keys, indicator="_of")
        differing = both.loc[both["_of"] != "both", keys].sort_values(keys, key=lambda column: column.astype(str))
        if len(differing):
            raise DataError(
                f"{first} and {arm} cannot be compared: only one of them was measured on case {named_cases(differing)}"
            )
        ordered = reference[keys].merge(table, how="left", on=keys)[list(table.columns)]
        check_equal({first: reference, arm: ordered}, ("y_true", "patient_id"))
        aligned[arm] = ordered
    return aligned


def check_equal(aligned: Mapping[str, pd.DataFrame], columns: Sequence[str]) -> None:
    """Refuse tables in one order of cases that differ in one of the columns.

    Raises:
        DataError: they do; it names the cases.
    """
    (first, reference), *others = aligned.items()
    for arm, table in others:
        for column in columns:
            differs = table[column].to_numpy() != reference[column].to_numpy()
            if differs.any():
                cases = named_cases(reference.loc[differs, case_keys(reference)])
                raise DataError(f"{first} and {arm} cannot be compared: {column} differs for case {cases}")


def case_keys(table: pd.DataFrame) -> list[str]:
    """The columns that tell one answer from all others."""
    return ["case_id", "repeat"] if "repeat" in table.columns else ["case_id"]


def named_cases(keys: pd.DataFrame) -> str:
    """The first few cases for a message, and how many more there are: `c1, c2 (repeat 3) and 4 more`."""
    rows = keys.head(_SHOWN).to_dict("records")
    shown = [f"{row['case_id']} (repeat {row['repeat']})" if "repeat" in row else str(row["case_id"]) for row in rows]
    more = len(keys) - _SHOWN
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
