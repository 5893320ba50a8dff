"""The decision on a candidate: every rule with its figures, for machines as JSON and for people as a table."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from eusml.evaluation.report import DISCLAIMER, PARTS, SYNTHETIC
from eusml.evaluation.rules import RuleResult
from eusml.sentences import record


@dataclass(frozen=True)
class Decision:
    """What was decided about one candidate, and on what grounds."""

    name: str
    """Registered model."""
    alias: str
    version: str | None
    """Of the candidate; None where a dry run did not register it."""
    arm: str
    chosen: str
    """Why this arm is the candidate."""
    champion: str | None
    """The version that is champion now."""
    part: str
    """The cases that decide."""
    rules: Sequence[RuleResult]
    policy: Mapping[str, Any]
    synthetic: bool
    dry_run: bool = False
    kind: str = "promotion"
    """`promotion` or `rollback`."""

    @property
    def accepted(self) -> bool:
        """Whether every rule was met."""
        return all(rule.passed for rule in self.rules)

    @property
    def is_champion(self) -> bool:
        """Whether the candidate is the champion already."""
        return self.version is not None and self.version == self.champion

    @property
    def moves(self) -> bool:
        """Whether the alias is to move."""
        return self.accepted and not self.is_champion and not self.dry_run

    @property
    def outcome(self) -> str:
        """In a word or two."""
        if not self.accepted:
            return "refused"
        if self.is_champion:
            return "stands"
        return f"would be {_DONE[self.kind]}" if self.dry_run else _DONE[self.kind]

    @property
    def reason(self) -> str:
        """In a sentence."""
        if not self.accepted:
            return "; ".join(f"{rule.rule}: {rule.why}" for rule in self.rules if not rule.passed)
        if self.is_champion:
            return "it is the champion already, and meets every rule"
        displaced = f"in place of version {self.champion}" if self.champion else "there was no champion"
        return f"all {len(self.rules)} rules are met; {displaced}"

    def json(self) -> str:
        """The text of `decision.json`; what is not a number there is null, for JSON has no NaN."""
        rules = [vars(rule) | {"why": str(rule.why), "said": record(rule.why)} for rule in self.rules]
        known = asdict(self) | {
            "rules": rules,
            "outcome": self.outcome,
            "reason": self.reason,
            "promoted": self.moves,
        }
        return json.dumps(_plain(known), indent=2, default=str, allow_nan=False) + "\n"

    @property
    def digest(self) -> str:
        """SHA-256 of `json`."""
        return hashlib.sha256(self.json().encode()).hexdigest()

    def markdown(self) -> str:
        """For a run's or a version's description."""
        lines = [SYNTHETIC, ""] if self.synthetic else []
        lines += [f"**{self.title()}**", "", f"Candidate: {self.chosen}.", ""]
        if self.kind == "promotion":
            lines += [f"Decided on `{self.part}`: {deciding_text(self.part)}.", ""]
        lines += ["| rule | | figures and why |", "|---|---|---|"]
        for rule in self.rules:
            why = rule.why.replace("|", "\\|").replace("\n", " ")  # as messages of libraries may have them
            lines.append(f"| {rule.rule} | {'passed' if rule.passed else '**failed**'} | {why} |")
        return "\n".join([*lines, "", DISCLAIMER])

    def lines(self) -> list[str]:
        """For the terminal."""
        width = max((len(rule.rule) for rule in self.rules), default=0)
        rows = [f"  {'passed' if rule.passed else 'FAILED'}  {rule.rule:<{width}}  {rule.why}" for rule in self.rules]
        return [*rows, self.title() + (f" ({self.reason})" if self.accepted else "")]

    def title(self) -> str:
        """What was decided, in one line."""
        version = f"version {self.version}" if self.version else f"arm {self.arm} (not registered)"
        return f"{self.name} {version}: {_TITLES[self.outcome].format(self.alias)}"


_DONE = {"promotion": "promoted", "rollback": "reinstated"}
_TITLES = {
    "refused": "refused",
    "stands": "stays {}",
    "promoted": "promoted to {}",
    "would be promoted": "would be promoted to {}; this is a dry run, and nothing was moved",
    "reinstated": "{} again",
    "would be reinstated": "would be {} again; this is a dry run, and nothing was moved",
}


def deciding_text(part: str) -> str:
    """Which cases decide, and whether they may."""
    what = PARTS.get(part, part)
    if part == "test":
        return f"{what}; there are no cases set aside for choosing, so one arm alone was declared or there is only one"
    return what


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
