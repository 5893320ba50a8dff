"""A decision says the same to machines and to people, and refuses for any one rule."""

import hashlib
import json
import math
from dataclasses import replace

import pytest

from eusml.evaluation.decision import Decision
from eusml.evaluation.rules import RuleResult

MET = RuleResult("floor", True, "0.9 is above 0.5", {"value": 0.9})
NOT_MET = RuleResult("cap", False, "0.3 is above 0.2", {"value": math.nan})
GOOD = Decision(
    name="eusml-phantom-resnet34",
    alias="champion",
    version="4",
    arm="resnet34",
    chosen="arm resnet34 is the only candidate",
    champion="3",
    part="val",
    rules=[MET, MET],
    policy={"margin": 0.05},
    synthetic=True,
)


@pytest.mark.parametrize(
    ("changes", "outcome", "moves", "says"),
    [
        ({}, "promoted", True, "all 2 rules are met; in place of version 3"),
        ({"champion": None}, "promoted", True, "there was no champion"),
        ({"rules": [MET, NOT_MET]}, "refused", False, "cap: 0.3 is above 0.2"),
        ({"champion": "4"}, "stands", False, "it is the champion already"),
        ({"champion": "4", "rules": [NOT_MET]}, "refused", False, "cap: 0.3"),
        ({"dry_run": True}, "would be promoted", False, "all 2 rules are met"),
        ({"dry_run": True, "version": None}, "would be promoted", False, "all 2 rules are met"),
        ({"dry_run": True, "rules": [NOT_MET]}, "refused", False, "cap: 0.3"),
        ({"kind": "rollback", "part": ""}, "reinstated", True, "in place of version 3"),
    ],
)
def test_what_is_decided(changes: dict[str, object], outcome: str, moves: bool, says: str) -> None:
    decision = replace(GOOD, **changes)  # type: ignore[arg-type]
    assert (decision.outcome, decision.moves) == (outcome, moves)
    assert says in decision.reason
    assert decision.accepted is (outcome != "refused")
    known = json.loads(decision.json())
    assert (known["outcome"], known["promoted"]) == (outcome, moves)


def test_every_rule_is_shown_with_its_figures_whoever_reads() -> None:
    decision = replace(GOOD, rules=[MET, NOT_MET])
    note = decision.markdown()
    assert "SYNTHETIC" in note
    assert "| floor | passed | 0.9 is above 0.5 |" in note
    assert "| cap | **failed** | 0.3 is above 0.2 |" in note
    assert "used only to choose between models" in note
    assert decision.lines() == [
        "  passed  floor  0.9 is above 0.5",
        "  FAILED  cap    0.3 is above 0.2",
        "eusml-phantom-resnet34 version 4: refused",
    ]
    known = json.loads(decision.json())
    assert known["rules"][1] == {"rule": "cap", "passed": False, "why": "0.3 is above 0.2", "figures": {"value": None},
                                 "said": {"text": "0.3 is above 0.2"}}  # fmt: skip
    assert known["policy"] == {"margin": 0.05}
    assert decision.digest == hashlib.sha256(decision.json().encode()).hexdigest()


def test_a_message_with_bars_and_line_ends_stays_one_row() -> None:
    note = replace(GOOD, rules=[RuleResult("files", False, "a | b\nc")]).markdown()
    assert "| files | **failed** | a \\| b c |" in note.splitlines()


def test_where_the_held_out_cases_decide_it_is_said_why_they_may() -> None:
    note = replace(GOOD, part="test").markdown()
    assert "no cases set aside for choosing, so one arm alone was declared or there is only one" in note
    assert "Decided on" not in replace(GOOD, part="", kind="rollback").markdown()
