"""Parts of the report by themselves: verdicts, the study's contrasts, what is undefined."""

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from eusml.config import EvaluateConfig
from eusml.evaluation.comparison import PairedResult, compare_all
from eusml.evaluation.figures.counts import confusion
from eusml.evaluation.figures.drawing import Frame
from eusml.evaluation.metrics import evaluate_answers
from eusml.evaluation.reporting import sections_compared, sections_data, sections_method, sections_results, sections_use
from eusml.evaluation.reporting.contents import Arm, Contents
from eusml.evaluation.reporting.document import FigureBlock, Paragraph
from eusml.evaluation.reporting.verdicts import sentence
from eusml.evaluation.reporting.words import interval, number, p_value, signed, words
from tests.conftest import answers

SETTINGS = EvaluateConfig(bootstrap_samples=100)
EN = words("en")


def arm(name: str, table: pd.DataFrame, **train: Any) -> Arm:
    measured = evaluate_answers(table, SETTINGS)
    history = pd.DataFrame({"epoch": [1, 2], "train_loss": [0.7, 0.6], "train_accuracy": [0.5, 0.6],
                            "test_loss": [0.7, math.nan], "test_accuracy": [0.5, math.nan]})  # fmt: skip
    return Arm(
        name=name, arch="resnet34", run_id="r", train_run_id="t", protocol="holdout", cases={}, history=history,
        train={"arch": "resnet34", "offline": False, "epochs": 100, **train},
        metrics={"test": {key.removeprefix("test/"): value for key, value in measured.flat("test").items()}},
        tables={"test": measured.table()}, run_ids={"test": "r"}, predictions={"test": table},
    )  # fmt: skip


def contents(*arms: Arm, **changed: Any) -> Contents:
    plain = Contents(
        name="x", run_ids=["r"], started="now", source="folder x", synthetic=False,
        settings={"data.positive_class": "GIST"}, evaluate=SETTINGS, arms=arms,
    )  # fmt: skip
    return replace(plain, **changed)


@pytest.mark.parametrize("seed", range(8))
def test_verdicts_are_those_of_the_comparison(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tables = {"a": answers(seed, 120), "b": answers(seed + 50, 120)}
    if seed % 2:  # b worse than a
        worse = np.clip(0.5 * tables["b"]["y_score"] + 0.5 * rng.random(120), 0, 1)
        tables["b"] = tables["b"].assign(y_score=worse, y_pred=(worse >= 0.5) * 1)
    (pair,) = compare_all(tables, confidence=0.95)
    said, ours = pair.sentence(), sentence(pair, "the held-out cases", EN)
    for measure, name in (("accuracy", "accuracy"), ("auroc", "AUROC")):
        claimed = re.search(rf"(a|b) has the higher {name}", said)
        assert pair.better(measure) == (claimed[1] if claimed else None)
        assert (claimed[0] if claimed else "no order can be told") in ours
    assert ("None seen does not mean none there" in ours) == ("has the higher" not in said)
    assert f"{pair.only_a_right} right by the first alone, {pair.only_b_right} by the second alone" in ours


def test_a_list_is_parted_as_its_language_does_and_says_nothing_twice() -> None:
    assert EN.listed(["a", "b", "a"]) == "a; b"
    assert words("zh").listed(["甲", "乙", "甲"]) == "甲；乙"


def test_what_the_store_has_as_null_is_undefined() -> None:
    (pair,) = compare_all({"a": answers(0), "b": answers(0)}, confidence=0.95)
    stored = {
        name: None if isinstance(value, float) and math.isnan(value) else value for name, value in vars(pair).items()
    }
    read = PairedResult.from_dict(stored)
    assert pair.sentence() == read.sentence()
    assert "nan" not in sentence(read, "the held-out cases", EN)


def test_a_network_that_is_better_in_one_measure_and_worse_in_another_is_said_to_be_so() -> None:
    (pair,) = compare_all({"a": answers(0), "b": answers(1)}, confidence=0.95)
    sure = {"p": 0.001, "p_holm": 0.001}
    fields = {f"accuracy_{name}": value for name, value in {"low": 0.1, "high": 0.3, **sure}.items()}
    fields |= {f"auroc_{name}": value for name, value in {"low": -0.3, "high": -0.1, **sure}.items()}
    crossed = replace(pair, **fields)
    assert (crossed.better("accuracy"), crossed.better("auroc")) == ("a", "b")
    made = sections_method.summary(contents(arm("a", answers(0)), arm("b", answers(1)), pairs={"test": [crossed]}), EN)
    text = " ".join(block.text for block in made.blocks if isinstance(block, Paragraph))
    assert re.search(r"a has higher accuracy than b", text)
    assert re.search(r"b has higher AUROC than a", text)


def test_the_studys_four_arms_give_its_two_figures_of_curves() -> None:
    table = answers(0)
    four = [
        arm("r34", table), arm("r34-aug", table, offline=True), arm("r34-aug-200", table, offline=True, epochs=200),
        arm("r50-aug-200", table, offline=True, epochs=200, arch="resnet50"),
    ]  # fmt: skip
    section = sections_method.learning(contents(*four), EN)
    assert section is not None
    drawn = {block.drawing.name: block.drawing.data for block in section.blocks if isinstance(block, FigureBlock)}
    assert list(drawn) == ["curves", "curves_augmentation", "curves_architecture"]
    assert set(drawn["curves_augmentation"]["arm"]) == {"r34", "r34-aug"}
    assert set(drawn["curves_architecture"]["arm"]) == {"r34-aug-200", "r50-aug-200"}
    two = sections_method.learning(contents(*four[:2]), EN)
    assert two is not None
    assert sum(isinstance(block, FigureBlock) for block in two.blocks) == 1


def test_cases_of_one_class_have_no_curves_and_no_nan() -> None:
    table = answers(0).query("y_true == 1")
    only = contents(arm("r34", table))
    section = sections_results.discrimination(only, EN)
    assert section is not None
    assert section.blocks == [Paragraph(EN("discrimination.one_class"))]
    assert sections_use.calibration(only, EN) is None
    assert sections_use.decision_curve(only, EN) is None
    assert sections_use.by_prevalence(only, EN) is None
    for found in (sections_results.measured(only, EN), sections_method.summary(only, EN)):
        assert "nan" not in str(found.blocks[:2])


def test_errors_of_a_class_without_any_are_said() -> None:
    table = answers(0)
    table = table.assign(y_pred=np.where(table["y_true"] == 1, 1, table["y_pred"]))
    section = sections_compared.failures(contents(arm("r34", table)), EN)
    assert section is not None
    assert "None of them is a case of GIST" in str(section.blocks)


def test_sections_without_data_are_left_out() -> None:
    bare = contents(arm("r34", answers(0)))
    for make in (sections_compared.comparison, sections_compared.baselines, sections_compared.by_subgroup):
        assert make(bare, EN) is None


def test_a_partition_of_the_users_own_gives_way_to_that_of_the_split() -> None:
    table = answers(0)
    manifest = table[["case_id", "patient_id", "y_true"]].assign(
        label=np.where(table["y_true"] == 1, "GIST", "other"), age_years=np.arange(30), partition="theirs"
    )
    split = table[["case_id"]].assign(partition=["train"] * 20 + ["test"] * 10)
    found = contents(arm("r34", table), manifest=manifest, split=split)
    made = sections_data.partitioned(found)
    assert made is not None
    assert made["partition"].value_counts().to_dict() == {"train": 20, "test": 10}
    assert sections_data.cohort(found, EN) is not None


def test_a_class_in_other_letters_is_drawn_without_a_warning_and_stands_in_the_svg() -> None:
    counts = {"test": {"r34": {"tp": 3.0, "fp": 1.0, "tn": 4.0, "fn": 0.0}}}
    drawn = confusion("confusion", counts, ("平滑肌瘤", "间质瘤 <&>"), Frame(synthetic=False))
    assert "平滑肌瘤" in drawn.svg
    assert "间质瘤 &lt;&amp;&gt;" in drawn.svg
    assert 'id="confusion-' in drawn.svg


def test_numbers_are_written_alike_everywhere() -> None:
    assert [number(math.nan), number(0.7586)] == ["–", "0.759"]
    assert [interval(math.nan, 1.0), interval(0.576, 0.88)] == ["–", "0.576–0.880"]
    assert [p_value(value) for value in (math.nan, 0.0001, 0.049, 0.51)] == ["–", "< 0.001", "0.049", "0.51"]
    assert signed(0.1034, -0.1, 0.294) == "+0.103 (-0.100; +0.294)"
    assert signed(0.1034, math.nan, math.nan) == "+0.103"
