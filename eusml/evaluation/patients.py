"""From answers to images to answers to patients, where patients have several."""

import numpy as np
import pandas as pd


def by_patient(predictions: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """One row per patient, with the mean probability of the patient's images.

    A patient with lesions of both classes counts once for each: they are two questions. A patient of a repeated
    cross-validation counts once in every repeat.

    Args:
        predictions: columns case_id, patient_id, y_true, y_score, and repeat where there are several.
        threshold: a patient is called positive from here on.

    Returns:
        Columns case_id (the patient's, marked with the class where both occur), patient_id, y_true, y_score, y_pred,
        images (how many), and repeat where it was given.
    """
    keys = [name for name in ("repeat", "patient_id", "y_true") if name in predictions.columns]
    table = predictions.groupby(keys, sort=False, as_index=False).agg(
        y_score=("y_score", "mean"), images=("y_score", "size")
    )
    both = table.duplicated([name for name in keys if name != "y_true"], keep=False)
    case_id = table["patient_id"].where(~both, table["patient_id"] + ", class " + table["y_true"].astype(str))
    y_pred = (table["y_score"] >= threshold).astype(np.int64)
    table = table.assign(case_id=case_id, y_pred=y_pred)
    first = ["case_id", "patient_id", "y_true", "y_score", "y_pred", "images"]
    return table[first + [name for name in ("repeat",) if name in table.columns]]


def has_several_images(predictions: pd.DataFrame) -> bool:
    """Whether some patient has more than one image (in one repeat), so that patients and images are two results."""
    keys = [name for name in ("repeat", "patient_id") if name in predictions.columns]
    return bool(predictions.duplicated(keys).any())
