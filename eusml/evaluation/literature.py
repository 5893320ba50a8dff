"""What other systems reached on the same question, as they report it: context for a reader, and no comparison."""

import math

import pandas as pd

_NONE = math.nan
_ROWS = (
    (
        "Kim 2020",
        "GIST against other mesenchymal tumours; 905 training and 212 test images",
        83.0,
        75.5,
        79.2,
        _NONE,
        _NONE,
    ),
    ("Dong 2024", "GIST against leiomyoma, five centres; 241 external cases", 90.3, 93.0, 91.7, _NONE, 0.948),
    (
        "Query2 2022",
        "GIST514-DB, five fixed folds; 514 images (251 GIST, 263 leiomyoma)",
        94.3,
        96.0,
        95.1,
        _NONE,
        _NONE,
    ),
    ("PLA General Hospital 2026", "895 patients", 83.1, 70.7, 79.2, _NONE, 0.852),
    ("Seven et al., ResNet-50 (cited by the study)", "1,362 images", 92.0, 64.3, 86.98, _NONE, _NONE),
    ("EUS read without aid (cited by the study)", "range over reports", _NONE, _NONE, 49.0, 80.0, _NONE),
)


def literature_table() -> pd.DataFrame:
    """One row per system, in per cent where nothing else is said.

    Returns:
        Columns system, data, sensitivity, specificity, accuracy, accuracy_high (the end of a range; nan where
        `accuracy` is one figure), auroc (0 to 1).
    """
    columns = ["system", "data", "sensitivity", "specificity", "accuracy", "accuracy_high", "auroc"]
    return pd.DataFrame(_ROWS, columns=columns)
