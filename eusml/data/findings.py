"""The record of an audit: findings, decisions, groups, and the flow of cases."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
import pandas as pd

from eusml.data.duplicates import Pair
from eusml.errors import DataError
from eusml.files import written_whole
from eusml.sentences import record, recorded

if TYPE_CHECKING:
    from numpy.typing import NDArray

Decision = Literal["stops the run", "dropped", "grouped", "kept", "reported"]
Kind = Literal[
    "unreadable",
    "same picture, two labels",
    "same picture, two folds",
    "one patient, two labels",
    "blank",
    "same picture",
    "small",
    "marks in the region",
    "covariate",
    "class balance",
    "source",
]

_SETTING = {
    "unreadable": "data.audit.unreadable=drop",
    "same picture, two labels": "data.audit.label_conflicts=drop_both (or drop, keep)",
    "one patient, two labels": "data.audit.patient_conflicts=keep (or drop_both)",
}


_SHOWN_OF_A_KIND = 3


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know about the cohort."""

    kind: Kind
    cases: tuple[str, ...]
    """Whom it concerns; empty for the cohort as a whole."""
    detail: str
    """A `Sentence`, or plain text where that alone was recorded."""
    decision: Decision


@dataclass(frozen=True)
class FlowStep:
    """One line of the flow of cases."""

    step: str
    """Found, excluded and why, or kept; as `Finding.detail`."""
    cases: int


@dataclass(frozen=True)
class Audit:
    """All findings, who is kept, and who must stay together."""

    findings: tuple[Finding, ...]
    pairs: tuple[Pair, ...]
    """Pairs of the same picture, by number of the case."""
    kept: "NDArray[np.bool_]"
    """Which cases are studied, bool [N]."""
    groups: "NDArray[np.int64]"
    """Cases that share a patient or a picture have the same number, int64 [N]."""
    steps: tuple[FlowStep, ...]
    """How many cases were found, left out and kept, in this order."""

    @property
    def flow(self) -> pd.DataFrame:
        """The steps as a table: columns step, cases."""
        return pd.DataFrame([(str(one.step), one.cases) for one in self.steps], columns=["step", "cases"])

    @property
    def blocking(self) -> tuple[Finding, ...]:
        """Findings that need a decision before anything goes on."""
        return tuple(finding for finding in self.findings if finding.decision == "stops the run")

    def stop(self, where: str) -> NoReturn:
        """Raise for the findings that stop the run.

        Args:
            where: where all findings are shown.

        Raises:
            DataError: names those findings and the settings that decide on them.
        """
        blocking = self.blocking
        lines = [f"the audit stops here, {len(blocking)} findings need a decision:"]
        lines += [f"  {finding.kind}: {finding.detail}" for finding in blocking[:10]]
        if len(blocking) > 10:
            lines.append(f"  and {len(blocking) - 10} more")
        kinds = dict.fromkeys(finding.kind for finding in blocking)
        lines.append("correct the images, or say what is to be done with such:")
        lines += [f"  {kind}: -P {_SETTING[kind]}" for kind in kinds]
        raise DataError("\n".join([*lines, f"all findings: {where}"]))

    def worth_saying(self) -> tuple[str, ...]:
        """Lines for the terminal: findings of which there are many are only counted."""
        counts = Counter((finding.kind, finding.decision) for finding in self.findings)
        lines = [
            f"audit: {kind}: {count} findings ({decision})"
            for (kind, decision), count in counts.items()
            if count > _SHOWN_OF_A_KIND
        ]
        lines += [
            f"audit: {finding.kind}: {finding.detail} ({finding.decision})"
            for finding in self.findings
            if counts[finding.kind, finding.decision] <= _SHOWN_OF_A_KIND
        ]
        return tuple(lines)

    def table(self) -> pd.DataFrame:
        """One row per finding: kind, decision, detail, cases."""
        rows = [
            {"kind": f.kind, "decision": f.decision, "detail": str(f.detail), "cases": "; ".join(f.cases)}
            for f in self.findings
        ]
        return pd.DataFrame(rows, columns=["kind", "decision", "detail", "cases"])


def audit_record(audit: Audit) -> dict[str, Any]:
    """Findings and flow as JSON can hold them, with all that another language needs to say them."""
    return {
        "findings": [vars(finding) | {"detail": record(finding.detail)} for finding in audit.findings],
        "flow": [{"step": record(one.step), "cases": one.cases} for one in audit.steps],
    }


def findings_of(known: Mapping[str, Any]) -> tuple[Finding, ...]:
    """The findings of an `audit_record`.

    Raises:
        KeyError, TypeError: it is none.
    """
    return tuple(
        Finding(row["kind"], tuple(row["cases"]), recorded(row["detail"]), row["decision"]) for row in known["findings"]
    )


def flow_of(known: Mapping[str, Any]) -> tuple[FlowStep, ...]:
    """The flow of an `audit_record`.

    Raises:
        KeyError, TypeError: it is none.
    """
    return tuple(FlowStep(recorded(row["step"]), row["cases"]) for row in known["flow"])


def save_audit(audit: Audit, file: Path) -> None:
    """Write it as JSON, in one step."""
    known = {
        **audit_record(audit),
        "pairs": [asdict(pair) for pair in audit.pairs],
        "kept": audit.kept.tolist(),
        "groups": audit.groups.tolist(),
    }
    with written_whole(file) as stream:
        stream.write(json.dumps(known, indent=1).encode())


def load_audit(file: Path) -> Audit:
    """Read what `save_audit` wrote.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        return Audit(
            findings=findings_of(known),
            pairs=tuple(Pair(**row) for row in known["pairs"]),
            kept=np.array(known["kept"], dtype=np.bool_),
            groups=np.array(known["groups"], dtype=np.int64),
            steps=flow_of(known),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"audit {file} cannot be read ({error!r}); delete its folder") from None
