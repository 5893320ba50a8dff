import math

import numpy as np
import pytest

from eusml.errors import PromotionError
from eusml.evaluation.gate import Candidate, choose, lower_bound
from eusml.evaluation.intervals import auroc_delong


def candidate(arm: str, low: float | None = None, digest: str | None = None) -> Candidate:
    return Candidate(arm, f"run-{arm}", low, digest)


def test_the_declared_arm_is_taken_whatever_the_evidence() -> None:
    choice = choose([candidate("a", 0.9, "v"), candidate("b", 0.6, "v")], "b")
    assert choice.candidate.arm == "b"
    assert "declared beforehand" in choice.reason


def test_the_only_candidate_needs_no_evidence() -> None:
    choice = choose([candidate("a")], None)
    assert choice.candidate.arm == "a"
    assert "only candidate" in choice.reason


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_otherwise_the_highest_lower_bound_on_the_same_val_cases(order: tuple[int, ...]) -> None:
    arms = [candidate("a", 0.81, "v"), candidate("b", 0.93, "v"), candidate("c", 0.90, "v")]
    choice = choose([arms[place] for place in order], None)
    assert choice.candidate.arm == "b"
    assert "0.930" in choice.reason
    assert "a 0.810" in choice.reason
    assert "no reported case" in choice.reason


def test_of_equal_bounds_the_first_arm_of_the_file() -> None:
    assert choose([candidate("b", 0.9, "v"), candidate("a", 0.9, "v")], None).candidate.arm == "b"


@pytest.mark.parametrize(
    "other", [candidate("b"), candidate("b", 0.9, "other"), candidate("b", math.nan, "v"), candidate("b", 0.9, None)]
)
def test_nothing_is_chosen_where_only_reported_cases_could_decide(other: Candidate) -> None:
    with pytest.raises(PromotionError, match=r"2 arms could be promoted \(a, b\).*-P promote\.arm="):
        choose([candidate("a", 0.8, "v"), other], None)


def test_what_is_not_there_is_refused_with_what_is() -> None:
    with pytest.raises(PromotionError, match=r"no arm has the architecture.*promote\.arch"):
        choose([], None)
    with pytest.raises(PromotionError, match=r"promote\.arm is 'c', but the arms of the architecture .* are a, b"):
        choose([candidate("a"), candidate("b")], "c")


def test_the_bound_that_decides_is_that_of_95_percent() -> None:
    y_true = np.arange(60) % 2
    y_score = np.random.default_rng(0).normal(y_true, 1.0)
    assert lower_bound(y_true, y_score) == auroc_delong(y_true, y_score, 0.95).low
    assert math.isnan(lower_bound(np.ones(5), y_score[:5]))
