import numpy as np
import pandas as pd
import pytest

from eusml.evaluation.patients import by_patient, has_several_images

ANSWERS = pd.DataFrame(
    [
        ("i1", "p1", 1, 0.9, 1),
        ("i2", "p1", 1, 0.2, 0),
        ("i3", "p2", 0, 0.6, 1),
        ("i4", "p3", 1, 0.3, 0),
        ("i5", "p3", 0, 0.1, 0),
        ("i6", "p3", 0, 0.2, 0),
    ],
    columns=["case_id", "patient_id", "y_true", "y_score", "y_pred"],
)


def test_a_patient_gets_the_mean_of_the_images_and_is_called_by_it() -> None:
    table = by_patient(ANSWERS, 0.5).set_index("case_id")
    assert table.loc["p1", ["y_true", "y_pred", "images"]].tolist() == [1, 1, 2]
    assert table.loc["p1", "y_score"] == pytest.approx(0.55)
    assert table.loc["p2", ["y_true", "y_score", "y_pred", "images"]].tolist() == [0, 0.6, 1, 1]


def test_a_patient_with_lesions_of_both_classes_is_two_questions() -> None:
    table = by_patient(ANSWERS, 0.5)
    assert table["case_id"].tolist() == ["p1", "p2", "p3, class 1", "p3, class 0"]
    assert table["patient_id"].tolist() == ["p1", "p2", "p3", "p3"]
    assert table["y_score"].tolist() == pytest.approx([0.55, 0.6, 0.3, 0.15])


def test_every_repeat_has_its_patients() -> None:
    twice = pd.concat([ANSWERS.assign(repeat=1), ANSWERS.assign(repeat=2, y_score=0.0)])
    table = by_patient(twice, 0.5)
    assert len(table) == 8
    np.testing.assert_allclose(table.loc[table["repeat"] == 2, "y_score"], 0.0)


def test_images_and_patients_are_two_results_only_where_they_differ() -> None:
    assert has_several_images(ANSWERS)
    single = ANSWERS.drop_duplicates("patient_id")
    assert not has_several_images(single)
    assert not has_several_images(pd.concat([single.assign(repeat=1), single.assign(repeat=2)]))
