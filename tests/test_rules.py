"""Every rule refuses the candidate that it is there to refuse, and lets the good one pass."""

import math

import numpy as np
import pandas as pd
import pytest

from eusml.config import PolicyConfig
from eusml.evaluation import champion_rules, rules
from eusml.evaluation.champion_rules import Overlap, Versus
from eusml.evaluation.metrics import Estimate
from tests.conftest import answers

SHA = "a" * 64


def estimate(low: float) -> Estimate:
    return Estimate(0.9, low, 0.97, 26, 29, "adjusted Wald")


@pytest.mark.parametrize("decision", ["kept", "grouped", "stops the run"])
@pytest.mark.parametrize("kind", ["same picture, two labels", "one patient, two labels", "unreadable"])
def test_a_doubtful_label_that_was_kept_is_refused(kind: str, decision: str) -> None:
    findings = [{"kind": "marks in the region", "decision": "reported"}, {"kind": kind, "decision": "dropped"}]
    assert rules.audit_is_clean(findings, pictures_compared=True, required=True).passed
    kept = [*findings, {"kind": kind, "decision": decision}]
    refused = rules.audit_is_clean(kept, pictures_compared=True, required=True)
    assert not refused.passed
    assert f"1 kept ({kind})" in refused.why
    waived = rules.audit_is_clean(kept, pictures_compared=True, required=False)
    assert waived.passed
    assert "not asked for" in waived.why


def test_labels_that_nobody_compared_are_refused() -> None:
    refused = rules.audit_is_clean([], pictures_compared=False, required=True)
    assert not refused.passed
    assert "data.audit.near_duplicates" in refused.why
    assert rules.audit_is_clean([], pictures_compared=False, required=False).passed


def test_no_audit_on_record_is_refused() -> None:
    assert not rules.audit_is_clean(None, pictures_compared=True, required=True).passed
    assert rules.audit_is_clean([], pictures_compared=True, required=True).passed


def test_a_model_whose_files_are_not_sound_is_refused_with_what_is_wrong() -> None:
    assert rules.files_are_sound(None, 136).why == "136 files, each as recorded"
    refused = rules.files_are_sound("changed: weights", 0)
    assert not refused.passed
    assert refused.why == "changed: weights"


@pytest.mark.parametrize(
    ("recorded", "found", "says"),
    [("b" * 64, SHA, "split differs"), (None, SHA, "split not on record"), (SHA, None, "split differs")],
)
def test_a_digest_that_differs_or_is_missing_is_refused_by_name(
    recorded: str | None, found: str | None, says: str
) -> None:
    good = {"weights": (SHA, SHA)}
    assert rules.digests_match(good).passed
    refused = rules.digests_match({**good, "split": (recorded, found)})
    assert not refused.passed
    assert refused.why == says


@pytest.mark.parametrize("status", ["FAILED", "KILLED", "RUNNING", "ABSENT", "DELETED"])
def test_a_run_that_did_not_finish_is_refused(status: str) -> None:
    assert rules.runs_finished({"train": "FINISHED", "evaluate": "FINISHED"}).passed
    refused = rules.runs_finished({"train": status, "evaluate": "FINISHED"})
    assert not refused.passed
    assert refused.why == f"train: {status}"


@pytest.mark.parametrize(
    ("commit", "dirty", "required", "passed"),
    [
        ("1234567890", "false", "known", True),
        ("1234567890", "true", "known", True),
        ("unknown", "unknown", "known", False),
        ("1234567890", "unknown", "known", False),
        ("1234567890", "false", "clean", True),
        ("1234567890", "true", "clean", False),
        ("unknown", "unknown", "clean", False),
        ("unknown", "unknown", "any", True),
    ],
)
def test_code_that_nobody_knows_is_refused(commit: str, dirty: str, required: str, passed: bool) -> None:
    states = {"train": ("7654321000", "false"), "evaluate": (commit, dirty)}
    found = rules.git_state_is_known(states, required)
    assert found.passed is passed
    assert "unknown for evaluate" in found.why or "evaluate at 1234567" in found.why


@pytest.mark.parametrize(
    ("low", "floor", "passed"), [(0.8, 0.7, True), (0.7, 0.7, True), (0.69, 0.7, False), (math.nan, 0.7, False),
                                 (math.nan, 0.0, True), (0.0, 0.0, True)]
)  # fmt: skip
@pytest.mark.parametrize("measure", ["sensitivity", "AUROC"])
def test_a_lower_bound_below_the_floor_is_refused(measure: str, low: float, floor: float, passed: bool) -> None:
    found = rules.above_floor(measure, estimate(low), floor, 0.95)
    assert found.passed is passed
    assert found.rule == f"{measure} above its floor"
    assert "26/29 = 0.900" in found.why


def test_an_ill_calibrated_network_is_refused() -> None:
    assert rules.calibration_below_cap(0.2, 0.2, 60).passed
    refused = rules.calibration_below_cap(0.21, 0.2, 60)
    assert not refused.passed
    assert "0.210 on 60 cases, cap 0.2" in refused.why
    assert not rules.calibration_below_cap(math.nan, 1.0, 60).passed


@pytest.mark.parametrize(("synthetic", "name_is"), [(True, False), (False, True)])
def test_synthetic_and_real_models_never_share_a_name(synthetic: bool, name_is: bool) -> None:
    assert rules.synthetic_stays_apart(synthetic=name_is, name="n", name_is_synthetic=name_is).passed
    assert not rules.synthetic_stays_apart(synthetic=synthetic, name="n", name_is_synthetic=name_is).passed


def test_what_was_rolled_back_is_refused() -> None:
    assert rules.not_rolled_back("3", None).passed
    refused = rules.not_rolled_back("3", "2026-01-01")
    assert not refused.passed
    assert "promote.rollback_to=3" in refused.why


def test_only_what_was_champion_is_gone_back_to() -> None:
    assert rules.was_champion("3", "2026-01-01").passed
    assert not rules.was_champion("3", None).passed


@pytest.mark.parametrize(
    ("registered", "then", "passed"),
    [(SHA, SHA, True), (SHA, "", True), (SHA, None, True), ("b" * 64, SHA, False), (None, SHA, False)],
)
def test_a_version_that_is_gone_or_was_exchanged_is_not_gone_back_to(
    registered: str | None, then: str | None, passed: bool
) -> None:
    assert rules.version_is_there("3", registered=registered, then=then).passed is passed


def people(**columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(columns)


JUDGED = people(case_id=["a", "b", "c"], patient_id=["pa", "pb", "pc"], pixels_sha256=["1", "2", "3"])


@pytest.mark.parametrize(
    ("trained_on", "expected"),
    [
        (people(case_id=["x"], patient_id=["px"], pixels_sha256=["9"]), Overlap(3, 0, 0, 0, 0)),
        (people(case_id=["a"], patient_id=["px"], pixels_sha256=["9"]), Overlap(3, 1, 0, 0, 1)),
        (people(case_id=["x"], patient_id=["pb"], pixels_sha256=["9"]), Overlap(3, 0, 1, 0, 1)),
        (people(case_id=["x"], patient_id=["px"], pixels_sha256=["3"]), Overlap(3, 0, 0, 1, 1)),
        (people(case_id=["a", "x"], patient_id=["pb", "px"], pixels_sha256=["3", "3"]), Overlap(3, 1, 1, 1, 3)),
        # The audit found that x shows what c shows, and gave both the name of the first.
        (people(case_id=["x"], patient_id=["px"], pixels_sha256=["9"], group_id=["pc"]), Overlap(3, 0, 1, 0, 1)),
    ],
)
def test_a_champion_that_has_seen_the_cases_is_refused_with_how_many(
    trained_on: pd.DataFrame, expected: Overlap
) -> None:
    found = champion_rules.overlap(trained_on, JUDGED)
    assert found == expected
    result = champion_rules.not_trained_on(found, "version 7")
    assert result.passed is (expected.any_of_them == 0)
    assert result.passed or f"version 7 was trained on {expected.any_of_them} of the 3 cases" in result.why


def test_the_group_of_a_judged_case_counts_too() -> None:
    trained_on = people(case_id=["x"], patient_id=["px"], pixels_sha256=["9"])
    found = champion_rules.overlap(trained_on, JUDGED.assign(group_id=["px", "pb", "pc"]))
    assert found == Overlap(3, 0, 1, 0, 1)


def test_a_champion_of_whom_nobody_knows_what_it_has_seen_is_refused() -> None:
    assert not champion_rules.not_trained_on(None, "version 7").passed
    assert not champion_rules.champion_cannot_be_asked("damaged").passed
    assert champion_rules.no_champion("there is none").passed


def against(difference: float, low: float) -> Versus:
    return Versus("auroc", 0.9, 0.9 - difference, difference, low, 0.95, 60, "DeLong")


@pytest.mark.parametrize(("low", "passed"), [(-0.04, True), (0.1, True), (-0.05, False), (-0.2, False),
                                             (math.nan, False)])  # fmt: skip
def test_an_inferior_candidate_or_one_of_which_too_little_is_known_is_refused(low: float, passed: bool) -> None:
    found = champion_rules.not_inferior(against(0.01, low), 0.05)
    assert found.passed is passed
    assert "same 60 cases" in found.why


@pytest.mark.parametrize(("difference", "passed"), [(0.001, True), (0.0, False), (-0.1, False), (math.nan, False)])
def test_a_candidate_that_is_not_better_is_refused(difference: float, passed: bool) -> None:
    assert champion_rules.better(against(difference, 0.0)).passed is passed


def test_the_comparison_is_paired_and_one_sided() -> None:
    good, bad = answers(0, 200), answers(0, 200)
    rng = np.random.default_rng(1)
    bad["y_score"] = np.clip(bad["y_score"] + rng.normal(0, 0.3, 200), 0, 1)
    bad["y_pred"] = (bad["y_score"] >= 0.5).astype(int)
    for metric in ("auroc", "accuracy"):
        found = champion_rules.versus(good, bad.sample(frac=1, random_state=0), metric, 0.95, 100)  # type: ignore[arg-type]
        assert found.candidate - found.champion == pytest.approx(found.difference)
        assert found.low < found.difference
        assert found.difference > 0
    two_sided = champion_rules.versus(good, bad, "auroc", 0.975, 100)
    one_sided = champion_rules.versus(good, bad, "auroc", 0.95, 100)
    assert one_sided.low > two_sided.low
    # The one-sided bound of 95 % lies 1.645 standard errors below, that of 97.5 % lies 1.96.
    steps = [(found.difference - found.low) for found in (one_sided, two_sided)]
    assert steps[1] / steps[0] == pytest.approx(1.959964 / 1.644854, rel=1e-6)
    accuracy = champion_rules.versus(good, bad, "accuracy", 0.95, 100)
    assert accuracy.candidate == (good["y_pred"] == good["y_true"]).mean()


def test_the_defaults_let_a_fair_network_pass_and_refuse_a_guess() -> None:
    policy = PolicyConfig()
    from eusml.config import EvaluateConfig
    from eusml.evaluation.metrics import evaluate_answers

    fair, guess = answers(0, 60), answers(0, 60)
    guess["y_score"] = np.random.default_rng(0).uniform(size=60)
    for table, passed in ((fair, True), (guess, False)):
        found = evaluate_answers(table, EvaluateConfig(bootstrap_samples=100)).estimates
        results = [
            rules.above_floor("sensitivity", found["sensitivity"], policy.sensitivity_floor, 0.95),
            rules.above_floor("AUROC", found["auroc"], policy.auroc_floor, 0.95),
        ]
        assert all(result.passed for result in results) is passed, [result.why for result in results]
