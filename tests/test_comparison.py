import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from statsmodels.stats.multitest import multipletests

from eusml.config import EvaluateConfig
from eusml.errors import DataError
from eusml.evaluation.alignment import same_cases
from eusml.evaluation.comparison import PairedResult, compare_all, side_by_side
from eusml.evaluation.paired_tests import accuracy_difference, auroc_difference, holm
from eusml.evaluation.power import smallest_accuracy_difference

QUICK = EvaluateConfig(bootstrap_samples=100)


def answers(count: int, strength: float, seed: int, images_per_patient: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    y_true = np.arange(count) // images_per_patient % 2
    y_score = 1 / (1 + np.exp(-(strength * (2 * y_true - 1) + rng.normal(size=count))))
    return pd.DataFrame(
        {
            "case_id": [f"c{i}" for i in range(count)],
            "patient_id": [f"p{i // images_per_patient}" for i in range(count)],
            "y_true": y_true,
            "y_score": y_score,
            "y_pred": (y_score >= 0.5).astype(int),
        }
    )


@settings(max_examples=60)
@given(only_a=st.integers(0, 15), only_b=st.integers(0, 15), rest=st.integers(1, 60))
def test_mcnemar_is_the_exact_binomial_test_and_the_interval_agresti_and_mins(
    only_a: int, only_b: int, rest: int
) -> None:
    cases = only_a + only_b + rest
    found = accuracy_difference(only_a, only_b, cases, 0.95)
    assert found.value == pytest.approx((only_a - only_b) / cases)
    discordant = only_a + only_b
    assert found.p == pytest.approx(binomtest(only_a, discordant, 0.5).pvalue if discordant else 1.0)
    # The interval from the multinomial covariance of the four cells, half a case added to each.
    cells = np.array([rest / 2 + 0.5, only_a + 0.5, only_b + 0.5, rest / 2 + 0.5])
    p = cells / cells.sum()
    contrast = np.array([0, 1, -1, 0])
    error = math.sqrt(contrast @ (np.diag(p) - np.outer(p, p)) @ contrast / cells.sum())
    expected = contrast @ p + np.array([-1, 1]) * norm.ppf(0.975) * error
    assert (found.low, found.high) == pytest.approx(tuple(np.clip(expected, -1, 1)))
    swapped = accuracy_difference(only_b, only_a, cases, 0.95)
    assert (swapped.low, swapped.high, swapped.p) == pytest.approx((-found.high, -found.low, found.p))


def test_paired_delong_is_the_textbook_one() -> None:
    rng = np.random.default_rng(1)
    y_true = rng.integers(0, 2, 60)
    a, b = np.round(rng.normal(y_true, 1.2), 1), np.round(rng.normal(0.5 * y_true, 1.2), 1)

    def wins(score: np.ndarray) -> np.ndarray:
        positive, negative = score[y_true == 1], score[y_true == 0]
        return (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)

    excess = wins(a) - wins(b)
    variance = excess.mean(axis=1).var(ddof=1) / len(excess) + excess.mean(axis=0).var(ddof=1) / excess.shape[1]
    z = excess.mean() / math.sqrt(variance)
    found = auroc_difference(y_true, a, b, 0.9)
    assert found.value == pytest.approx(excess.mean())
    assert found.p == pytest.approx(2 * norm.sf(abs(z)))
    half = norm.ppf(0.95) * math.sqrt(variance)
    assert (found.low, found.high) == pytest.approx((excess.mean() - half, excess.mean() + half))


def test_two_equally_good_scores_are_told_apart_no_more_often_than_promised() -> None:
    rng = np.random.default_rng(2)
    y_true = np.repeat([1, 0], [40, 40])
    shared = rng.normal(1.5 * y_true, 1, (400, 80))
    p = [auroc_difference(y_true, row + rng.normal(size=80), row + rng.normal(size=80), 0.95).p for row in shared]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.08


def test_no_spread_and_one_class_give_no_interval() -> None:
    y_true = np.repeat([1, 0], 5)
    for other in (y_true.astype(float), 1.0 - y_true):
        found = auroc_difference(y_true, y_true.astype(float), other, 0.95)
        assert found.value == 1.0 - other[0]
        assert math.isnan(found.low)
        assert math.isnan(found.p)
    assert math.isnan(auroc_difference(np.ones(5, int), np.linspace(0, 1, 5), np.linspace(1, 0, 5), 0.95).value)


@settings(max_examples=50)
@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_statsmodels_and_leaves_out_what_is_unknown(p_values: list[float]) -> None:
    expected = multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(expected)
    with_unknown = holm([math.nan, *p_values])
    assert math.isnan(with_unknown[0])
    assert with_unknown[1:] == pytest.approx(expected)


def test_arms_on_other_cases_are_refused_by_name() -> None:
    a = answers(12, 1.0, 0)
    with pytest.raises(DataError, match=r"a and b cannot be compared: only one of them was measured on case c3, new$"):
        same_cases({"a": a, "b": a.replace({"case_id": {"c3": "new"}})})
    with pytest.raises(DataError, match="case c0, c1, c10, c11, c2 and 19 more"):
        same_cases({"a": a, "b": a.assign(case_id="x" + a["case_id"])})
    with pytest.raises(DataError, match=r"y_true differs for case c2$"):
        same_cases({"a": a, "b": a.assign(y_true=a["y_true"].where(a.index != 2, 1))})
    with pytest.raises(DataError, match=r"patient_id differs for case c5$"):
        same_cases({"a": a, "b": a.assign(patient_id=a["patient_id"].where(a.index != 5, "other"))})
    with pytest.raises(DataError, match="b: case c1 stands more than once"):
        same_cases({"a": a, "b": a.replace({"case_id": {"c2": "c1"}})})
    for refuse in (lambda arms: compare_all(arms, confidence=0.95), lambda arms: side_by_side(arms, QUICK)):
        with pytest.raises(DataError, match="only one of them"):
            refuse({"a": a, "b": a.iloc[1:]})


def repeated(table: pd.DataFrame, repeats: int) -> pd.DataFrame:
    """The same answers in every repeat of a cross-validation."""
    return pd.concat([table.assign(repeat=number) for number in range(repeats)], ignore_index=True)


def test_a_case_may_stand_once_in_every_repeat() -> None:
    a = repeated(answers(12, 1.0, 0), 2)
    shuffled = a.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(same_cases({"a": a, "b": shuffled})["b"], a)
    for changed, message in (
        (a.assign(repeat=0), r"b: case c0 \(repeat 0\), c1 \(repeat 0\), .* and 7 more stands more than once"),
        (a.assign(repeat=a["repeat"] + 1), r"measured on case c0 \(repeat 0\), c0 \(repeat 2\), c1 \(repeat 0\)"),
        (a.drop(columns="repeat").iloc[:12], "only one of them has several repeats"),
        (a.assign(y_true=a["y_true"].where(a.index != 14, 1)), r"y_true differs for case c2 \(repeat 1\)$"),
    ):
        with pytest.raises(DataError, match=message):
            same_cases({"a": a, "b": changed})


def test_order_of_cases_does_not_matter() -> None:
    a, b = answers(30, 1.0, 0), answers(30, 0.4, 1)
    shuffled = b.sample(frac=1, random_state=0)
    assert compare_all({"a": a, "b": b}, confidence=0.95) == compare_all({"a": a, "b": shuffled}, confidence=0.95)
    pd.testing.assert_frame_equal(side_by_side({"a": a, "b": b}, QUICK), side_by_side({"a": a, "b": shuffled}, QUICK))


def test_every_pair_is_compared_and_corrected_for_their_number() -> None:
    arms = {
        name: answers(200, strength, seed)
        for seed, (name, strength) in enumerate({"a": 1.5, "b": 0.2, "c": 1.6}.items())
    }
    pairs = compare_all(arms, confidence=0.95)
    assert [(pair.arm_a, pair.arm_b) for pair in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [pair.auroc_p_holm for pair in pairs] == pytest.approx(holm([pair.auroc_p for pair in pairs]))
    assert [pair.accuracy_p_holm for pair in pairs] == pytest.approx(holm([pair.mcnemar_p for pair in pairs]))
    assert pairs[0].auroc_p_holm > pairs[0].auroc_p
    right = {name: arm["y_pred"] == arm["y_true"] for name, arm in arms.items()}
    assert pairs[0].only_a_right == (right["a"] & ~right["b"]).sum()
    assert pairs[0].only_b_right == (right["b"] & ~right["a"]).sum()
    assert pairs[0].accuracy_difference == pytest.approx(right["a"].mean() - right["b"].mean())
    assert "a has the higher accuracy here" in pairs[0].sentence()
    assert "c has the higher AUROC here" in pairs[2].sentence()
    assert "no order can be told: the interval covers zero" in pairs[1].sentence()


def paired(**changed: object) -> PairedResult:
    result = compare_all({"a": answers(29, 1.5, 0), "b": answers(29, 1.4, 1)}, confidence=0.95)[0]
    return replace(result, **changed)


def test_sentences_claim_an_order_only_where_interval_and_corrected_p_do() -> None:
    assert "none seen does not mean none there" in paired().sentence()
    assert "higher" not in paired().sentence()
    clear = {"auroc_low": 0.02, "auroc_high": 0.2, "auroc_p": 0.005, "auroc_p_holm": 0.01}
    assert "a has the higher AUROC here" in paired(**clear).sentence()
    assert "higher AUROC" not in paired(**{**clear, "auroc_p_holm": 0.06}).sentence()
    assert "once all pairs are counted" in paired(**{**clear, "auroc_p_holm": 0.06}).sentence()
    assert "does not bear out" in paired(**{**clear, "auroc_p": 0.06, "auroc_p_holm": 0.06}).sentence()
    assert "b has the higher AUROC here" in paired(**{**clear, "auroc_low": -0.2, "auroc_high": -0.02}).sentence()
    assert "higher AUROC" not in paired(**{**clear, "auroc_low": 0.0}).sentence()
    unknown = paired(auroc_low=math.nan, auroc_high=math.nan, auroc_p_holm=math.nan).sentence()
    assert "(no interval)" in unknown
    assert "higher AUROC" not in unknown


def test_sentences_say_what_could_have_been_seen() -> None:
    seen = paired(smallest_accuracy_difference=0.301, smallest_auroc_difference=0.25, level=0.05 / 3).sentence()
    assert (
        "These 29 cases could have shown a difference of accuracy of 0.31 or more and a difference of AUROC of 0.25 or "
        "more (power 0.8, level 0.017)"
    ) in seen
    nothing = paired(smallest_accuracy_difference=math.nan, smallest_auroc_difference=math.nan).sentence()
    assert "no difference of accuracy however large and no difference of AUROC however large" in nothing
    both = {f"{measure}_{end}": 0.01 for measure in ("accuracy", "auroc") for end in ("low", "high", "p", "p_holm")}
    assert "none seen" not in paired(**both).sentence()


def test_the_smallest_difference_is_that_of_the_test_and_level_that_are_used() -> None:
    arms = {name: answers(80, strength, seed) for seed, (name, strength) in enumerate({"a": 1.5, "b": 0.9}.items())}
    alone = compare_all(arms, confidence=0.9)[0]
    assert alone.level == pytest.approx(0.1)
    discordant = (alone.only_a_right + alone.only_b_right) / 80
    assert alone.smallest_accuracy_difference == smallest_accuracy_difference(80, discordant, alone.level)
    # DeLong's error, from the interval, which is as wide on both sides here.
    error = (alone.auroc_high - alone.auroc_low) / 2 / norm.ppf(0.95)
    assert alone.smallest_auroc_difference == pytest.approx((norm.ppf(0.95) + norm.ppf(0.8)) * error)
    of_three = compare_all({**arms, "c": answers(80, 0.5, 5)}, confidence=0.9)[0]
    assert of_three.level == pytest.approx(0.1 / 3)
    assert of_three.smallest_accuracy_difference > alone.smallest_accuracy_difference
    assert of_three.smallest_auroc_difference > alone.smallest_auroc_difference
    same = compare_all({"a": arms["a"], "again": arms["a"]}, confidence=0.9)[0]
    assert math.isnan(same.smallest_auroc_difference)


def test_repeats_of_the_same_answers_are_no_more_cases() -> None:
    once = {"a": answers(60, 1.0, 0), "b": answers(60, 0.6, 1)}
    single = compare_all(once, confidence=0.95)[0]
    triple = compare_all({name: repeated(table, 3) for name, table in once.items()}, confidence=0.95)[0]
    assert (triple.cases, triple.repeats, triple.patients) == (60, 3, 60)
    assert triple.only_a_right == 3 * single.only_a_right
    assert triple.accuracy_difference == pytest.approx(single.accuracy_difference)
    assert "60 cases in each of 3 repeats" in triple.sentence()
    assert "repeats" not in single.sentence()
    for measure in ("accuracy", "auroc"):
        width = {p: getattr(p, f"{measure}_high") - getattr(p, f"{measure}_low") for p in (single, triple)}
        assert width[triple] == pytest.approx(width[single], rel=0.2)
        smallest = [getattr(p, f"smallest_{measure}_difference") for p in (single, triple)]
        assert smallest[1] == pytest.approx(smallest[0], rel=0.2)


def test_several_images_per_patient_are_compared_by_patient() -> None:
    # Every image twice: no more is known than from one each, and formulas for independent cases would not see that.
    once = {"a": answers(120, 1.0, 0), "b": answers(120, 0.6, 1)}
    twice = {
        name: pd.concat([table, table.assign(case_id=table["case_id"] + "-again")], ignore_index=True)
        for name, table in once.items()
    }
    single, double = (compare_all(arms, confidence=0.95)[0] for arms in (once, twice))
    assert (double.cases, double.patients) == (240, 120)
    assert math.isnan(double.mcnemar_p)
    assert "patient-wise bootstrap" in double.method
    for measure in ("accuracy", "auroc"):
        width = {p: getattr(p, f"{measure}_high") - getattr(p, f"{measure}_low") for p in (single, double)}
        assert width[double] == pytest.approx(width[single], rel=0.15)
        assert (
            getattr(double, f"{measure}_low")
            < getattr(double, f"{measure}_difference")
            < getattr(double, f"{measure}_high")
        )
        assert getattr(double, f"{measure}_p") == pytest.approx(getattr(single, f"{measure}_p"), abs=0.05)


def test_side_by_side_has_every_measure_of_every_arm() -> None:
    table = side_by_side({"a": answers(29, 1.5, 0), "b": answers(29, 1.0, 1)}, QUICK)
    assert list(table.columns) == ["arm", "measure", "value", "ci_low", "ci_high", "count", "total", "method"]
    assert table.groupby("arm")["measure"].nunique().to_dict() == {"a": 11, "b": 11}
    a = answers(29, 1.5, 0)
    row = table[(table["arm"] == "a") & (table["measure"] == "accuracy")].iloc[0]
    assert row["count"] == (a["y_pred"] == a["y_true"]).sum()
