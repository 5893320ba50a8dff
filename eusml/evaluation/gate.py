"""Which model is the candidate for promotion: plain values in, a choice and its reason out.

Nothing is chosen on cases that are reported (`test`, `fresh`): the best of several on few cases is the luckiest.
The evidence is the lower bound of AUROC on `val`, cases set aside for choosing. Where there are none, as with a
folder of one's own, a person declares the arm beforehand. Whether the candidate then becomes champion, `rules` say.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from eusml.errors import PromotionError
from eusml.evaluation.intervals import auroc_delong

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIDENCE: Final = 0.95
"""Of the bound that decides between arms, whatever `evaluate.confidence` is."""


@dataclass(frozen=True)
class Candidate:
    """A model that may be promoted, and what is known of it."""

    arm: str
    run_id: str
    """Of its evaluation."""
    val_auroc_ci_low: float | None
    """Lower bound of AUROC on `val`; None or nan without."""
    val_digest: str | None
    """Which `val` cases those were; bounds can be compared on the same cases only."""

    @property
    def evidence(self) -> tuple[float, str] | None:
        """Lower bound and the cases it was measured on, if there are both."""
        if self.val_auroc_ci_low is None or math.isnan(self.val_auroc_ci_low) or self.val_digest is None:
            return None
        return self.val_auroc_ci_low, self.val_digest


@dataclass(frozen=True)
class Choice:
    """The chosen candidate and why, in words."""

    candidate: Candidate
    reason: str


def lower_bound(y_true: "NDArray[Any]", y_score: "NDArray[Any]") -> float:
    """The evidence for one model: lower bound of AUROC on its `val` cases [N]; nan without both classes."""
    return auroc_delong(y_true, y_score, CONFIDENCE).low


def choose(candidates: Sequence[Candidate], declared_arm: str | None) -> Choice:
    """The declared arm; else the only candidate; else the highest lower bound of AUROC on the same `val` cases.

    Of equal bounds the first candidate wins.

    Args:
        candidates: all arms of the asked architecture, in the order of the experiment file.
        declared_arm: `promote.arm`.

    Raises:
        PromotionError: no candidate, the declared one is not among them, or nothing but reported cases could decide.
    """
    arms = ", ".join(candidate.arm for candidate in candidates)
    if not candidates:
        raise PromotionError(
            "no arm has the architecture that promote.arch asks for; add one to arms, or ask for another with "
            "-P promote.arch=…"
        )
    if declared_arm is not None:
        for candidate in candidates:
            if candidate.arm == declared_arm:
                return Choice(candidate, f"arm {declared_arm} was declared beforehand (promote.arm)")
        raise PromotionError(
            f"promote.arm is {declared_arm!r}, but the arms of the architecture promote.arch are {arms}; "
            "name one of them, or change promote.arch"
        )
    if len(candidates) == 1:
        return Choice(candidates[0], f"arm {arms} is the only candidate")
    evidence = [candidate.evidence for candidate in candidates]
    known = [(low, digest) for item in evidence if item is not None for low, digest in [item]]
    if len(known) < len(candidates) or len({digest for _, digest in known}) > 1:
        raise PromotionError(
            f"{len(candidates)} arms could be promoted ({arms}), but they have no common cases set aside for "
            "choosing, and the reported cases must not decide. Declare one with -P promote.arm=…, best before looking "
            "at the results"
        )
    lows = [low for low, _ in known]
    best = lows.index(max(lows))
    others = ", ".join(f"{c.arm} {low:.3f}" for c, low in zip(candidates, lows, strict=True) if c != candidates[best])
    return Choice(
        candidates[best],
        f"arm {candidates[best].arm} has the highest lower bound of AUROC on the val cases, {lows[best]:.3f} "
        f"({others}); no reported case was looked at",
    )
