import numpy as np
import pandas as pd
import pytest

from eusml.config import EvaluateConfig
from eusml.evaluation import report
from eusml.evaluation.comparison import compare_all, side_by_side
from eusml.evaluation.metrics import evaluate_answers
from tests.conftest import answers

QUICK = EvaluateConfig(bootstrap_samples=100)
MLFLOW_NOTE_LIMIT = 8000


def paper_result() -> pd.DataFrame:
    y_true = np.repeat([1, 0], [14, 15])
    y_score = np.concatenate([np.full(12, 0.9), np.full(2, 0.1), np.full(14, 0.1), [0.9]])
    return pd.DataFrame({"y_true": y_true, "y_score": y_score, "patient_id": np.arange(29)})


def measured(table: pd.DataFrame, **changed: object) -> object:
    chosen = QUICK.model_copy(update=changed)
    return evaluate_answers(table, chosen)


@pytest.mark.parametrize("synthetic", [True, False])
def test_evaluation_note_has_counts_intervals_partitions_and_the_warning(synthetic: bool) -> None:
    metrics = {part: measured(paper_result(), confidence=0.9 if part == "val" else 0.95) for part in report.PARTS}
    note = report.evaluation_note(metrics, synthetic=synthetic)
    assert "12/14 = 0.857 (0.588-0.972)" in note
    assert "26/29 = 0.897 (0.728-0.972)" in note
    assert "adjusted Wald (Agresti-Coull)" in note
    assert "95 % interval" in note
    assert "90 % interval" in note
    for meaning in ("held-out cases", "used only to choose between models", "further independent synthetic cases"):
        assert meaning in note
    assert ("SYNTHETIC" in note) is synthetic
    assert "Research software" in note
    assert "clinical validity" in note
    assert len(note) < MLFLOW_NOTE_LIMIT


def test_a_note_shows_what_is_undefined_as_undefined() -> None:
    one_class = paper_result().assign(y_true=0)
    note = report.evaluation_note({"test": measured(one_class)}, synthetic=False)
    assert "undefined (0/0)" in note
    assert "nan" not in note.lower()


def test_estimate_text_reads_a_row_of_the_table() -> None:
    table = side_by_side({"a": answers(0)}, QUICK)
    rows = {row["measure"]: row for _, row in table.iterrows()}
    estimates = measured(answers(0)).estimates
    for measure, row in rows.items():
        assert report.estimate_text(row) == estimates[measure].text()
    assert report.estimate_text(rows["accuracy"]).split("/")[1].startswith("30 = ")


def test_comparison_note_shows_arms_beside_baselines_and_says_what_was_seen() -> None:
    arms = {"resnet34": answers(0), "resnet50": answers(1)}
    table = pd.concat(
        [side_by_side(arms | {"size alone, no image": answers(2)}, QUICK).assign(part=part) for part in ("test", "val")]
    )
    pairs = {"test": compare_all(arms, confidence=0.95)}
    note = report.comparison_note(table, pairs, ["the folds say this."], synthetic=True)
    assert note.count("- the folds say this.") == 1
    for arm in (*arms, "size alone, no image"):
        assert note.count(f"| {arm} |") == 2
    assert pairs["test"][0].sentence() in note
    assert "SYNTHETIC" in note
    assert "SYNTHETIC" not in report.comparison_note(table, pairs, synthetic=False)


def test_a_study_of_four_arms_fits_into_a_note() -> None:
    arms = {f"resnet34-augmented-{i}": answers(i) for i in range(4)}
    everyone = arms | {name: answers(9) for name in ("size alone, no image", "age + sex + size, no image")}
    table = pd.concat([side_by_side(everyone, QUICK).assign(part=part) for part in ("test", "fresh")])
    pairs = dict.fromkeys(("test", "fresh"), compare_all(arms, confidence=0.95))
    assert len(report.comparison_note(table, pairs, synthetic=True)) < MLFLOW_NOTE_LIMIT


def test_pipeline_note_tells_reused_stages_from_done_ones() -> None:
    record = {"label": "train resnet34", "run_id": "abc123", "reused": False, "seconds": 12.34}
    done, reused = (report.pipeline_note([{**record, "reused": flag}], synthetic=flag) for flag in (False, True))
    for note in (done, reused):
        assert "train resnet34" in note
        assert "`abc123`" in note
        assert "12.3" in note
    assert "reused" in reused
    assert "reused" not in done
    assert report.SYNTHETIC in reused
    assert report.SYNTHETIC not in done


def test_a_study_is_noted_best_first_with_settings_that_can_be_read() -> None:
    table = pd.DataFrame(
        {
            "trial": [0, 1, 2], "state": ["complete", "complete", "pruned"], "as_it_stood": [True, False, False],
            "objective": [0.7, 0.65, None], "train.lr": ["0.001", "0.0003169170940388509", "1e-05"],
            "train.batch_size": ["16", "32", "8"], "train.optimizer": ["adamw", "sgd", "sgd"],
        }
    )  # fmt: skip
    note = report.tuning_note(table, "3 configurations were tried.", "log_loss", synthetic=False)
    rows = [line for line in note.splitlines() if line.startswith("|")][2:]
    assert rows == [
        "| 1 | 0.6500 | 0.0003169 | 32 | sgd |",
        "| 0 (as it stood) | 0.7000 | 0.001 | 16 | adamw |",
        "| 2 | pruned | 1e-05 | 8 | sgd |",
    ]
    assert note.startswith("3 configurations were tried.")
