"""The record of an audit: findings, decisions, groups, and the flow of cases."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

import numpy as np
import pandas as pd

from eusml.data.duplicates import Pair
from eusml.errors import DataError
from eusml.files import written_whole

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
    """A sentence."""
    decision: Decision


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
    flow: pd.DataFrame
    """How many cases were found, left out and kept: columns step, cases."""

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
            {"kind": f.kind, "decision": f.decision, "detail": f.detail, "cases": "; ".join(f.cases)}
            for f in self.findings
        ]
        return pd.DataFrame(rows, columns=["kind", "decision", "detail", "cases"])


def save_audit(audit: Audit, file: Path) -> None:
    """Write it as JSON, in one step."""
    known = {
        "findings": [asdict(finding) for finding in audit.findings],
        "pairs": [asdict(pair) for pair in audit.pairs],
        "kept": audit.kept.tolist(),
        "groups": audit.groups.tolist(),
        "flow": audit.flow.to_dict("records"),
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
            findings=tuple(Finding(**{**row, "cases": tuple(row["cases"])}) for row in known["findings"]),
            pairs=tuple(Pair(**row) for row in known["pairs"]),
            kept=np.array(known["kept"], dtype=np.bool_),
            groups=np.array(known["groups"], dtype=np.int64),
            flow=pd.DataFrame(known["flow"], columns=["step", "cases"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"audit {file} cannot be read ({error!r}); delete its folder") from None
