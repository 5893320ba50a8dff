"""What a candidate must show before it is served: one function per rule, plain values in, a verdict with reasons out.

None of them raises: what is not known is a rule that was not met.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from eusml.evaluation.metrics import Estimate

DOUBTFUL = ("same picture, two labels", "one patient, two labels", "unreadable")
"""Findings of the audit that leave no trust in a label or a file when they are kept."""


@dataclass(frozen=True)
class RuleResult:
    """One rule and how the candidate stands by it."""

    rule: str
    passed: bool
    why: str
    """A sentence with the figures in it."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """The same for machines."""


def audit_is_clean(
    findings: Sequence[Mapping[str, str]] | None, *, pictures_compared: bool, required: bool
) -> RuleResult:
    """Nothing that makes a label doubtful was kept, and one has looked.

    Args:
        findings: kind and decision of each; None where no audit is on record.
        pictures_compared: whether the audit looked for the same picture under two labels.
        required: whether the policy asks for it.
    """
    name, waived = "audit is clean", "" if required else "; not asked for"
    if findings is None:
        return RuleResult(name, not required, f"no audit is on record{waived}")
    if not pictures_compared:
        why = f"the same picture under two labels was not looked for (data.audit.near_duplicates){waived}"
        return RuleResult(name, not required, why)
    doubtful = [f for f in findings if f["kind"] in DOUBTFUL and f["decision"] in ("kept", "stops the run")]
    figures = {"findings": len(findings), "doubtful_and_kept": len(doubtful)}
    if not doubtful:
        return RuleResult(name, True, f"{len(findings)} finding(s), none that makes a label doubtful was kept", figures)
    kinds = ", ".join(dict.fromkeys(f["kind"] for f in doubtful))
    return RuleResult(name, not required, f"{len(doubtful)} kept ({kinds}){waived}", figures)


def digests_match(digests: Mapping[str, tuple[str | None, str | None]]) -> RuleResult:
    """Everything is still what was recorded.

    Args:
        digests: what it is of, to the recorded digest and the one found now; None where there is none.
    """
    wrong = [what for what, (recorded, found) in digests.items() if recorded is None or recorded != found]
    figures = {what: {"recorded": recorded, "found": found} for what, (recorded, found) in digests.items()}
    if not wrong:
        return RuleResult("digests match", True, f"{', '.join(digests)}: as recorded", figures)
    said = [f"{what} {'not on record' if digests[what][0] is None else 'differs'}" for what in wrong]
    return RuleResult("digests match", False, ", ".join(said), figures)


def files_are_sound(problem: str | None, files: int) -> RuleResult:
    """Every file of the model in the store is there, and is what was evaluated and recorded.

    Args:
        problem: what is wrong, None where nothing is.
        files: how many there are.
    """
    why = problem or f"{files} files, each as recorded"
    return RuleResult("model files are sound", problem is None, why, {"files": files})


def was_champion(version: str, since: str | None) -> RuleResult:
    """The version to go back to was champion once.

    Args:
        version: its number.
        since: when it became champion, by the history; None where it never did.
    """
    why = f"version {version} became champion at {since}" if since else f"version {version} never was champion"
    return RuleResult("was champion", since is not None, why, {"since": since})


def version_is_there(version: str, *, registered: str | None, then: str | None) -> RuleResult:
    """The version still exists, and its recorded digest is that of the model that was champion.

    Args:
        version: its number.
        registered: digest of its files as the registry has it now; None where there is no such version.
        then: the same as the history has it; empty where it was not known.
    """
    figures = {"registered": registered, "by_history": then}
    if registered is None:
        return RuleResult("version is there", False, f"version {version} was deleted", figures)
    if then and registered != then:
        why = f"the digest on version {version} was changed since it was champion"
        return RuleResult("version is there", False, why, figures)
    return RuleResult("version is there", True, f"version {version} is in the registry", figures)


def not_rolled_back(version: str, when: str | None) -> RuleResult:
    """A champion that somebody rolled back is not brought back by the figures that had made it champion.

    Args:
        version: its number.
        when: it was rolled back last; None where it never was.
    """
    why = (
        f"version {version} was rolled back at {when}; `rollback` with promote.rollback_to={version} brings it back"
        if when
        else f"version {version} never was"
    )
    return RuleResult("was not rolled back", when is None, why, {"when": when})


def runs_finished(statuses: Mapping[str, str]) -> RuleResult:
    """The runs that made and measured the model ended well.

    Args:
        statuses: what the run did, to MLflow's status.
    """
    wrong = {what: status for what, status in statuses.items() if status != "FINISHED"}
    said = [f"{what}: {status}" for what, status in (wrong or statuses).items()]
    return RuleResult("runs finished", not wrong, ", ".join(said), dict(statuses))


def git_state_is_known(states: Mapping[str, tuple[str, str]], required: str) -> RuleResult:
    """Which code made and measured the model.

    Args:
        states: what the run did, to its commit and whether the code was changed since (`true`, `false`, `unknown`).
        required: `clean`, `known` or `any`.
    """
    unknown = [what for what, (commit, dirty) in states.items() if commit == "unknown" or dirty == "unknown"]
    changed = [what for what, (_, dirty) in states.items() if dirty == "true"]
    figures = {what: {"commit": commit, "changed": dirty} for what, (commit, dirty) in states.items()}
    said = [
        f"{what} at {commit[:7]}{' with changes' if dirty == 'true' else ''}"
        for what, (commit, dirty) in states.items()
    ]
    why = f"unknown for {', '.join(unknown)}" if unknown else ", ".join(said)
    passed = required == "any" or (not unknown and (required == "known" or not changed))
    return RuleResult("git state", passed, why + ("; not asked for" if required == "any" else ""), figures)


def above_floor(measure: str, estimate: Estimate, floor: float, confidence: float) -> RuleResult:
    """The lower bound of a measure's interval is at least the floor; a floor of 0 asks nothing."""
    bound = "no bound" if math.isnan(estimate.low) else f"{estimate.low:.3f}"
    why = f"{estimate.text()}, lower bound {bound} at {100 * confidence:g} %, floor {floor:g}"
    figures = asdict(estimate) | {"floor": floor, "confidence": confidence}
    return RuleResult(f"{measure} above its floor", floor == 0.0 or bool(estimate.low >= floor), why, figures)


def calibration_below_cap(error: float, cap: float, cases: int) -> RuleResult:
    """The expected calibration error is at most the cap."""
    why = f"expected calibration error {error:.3f} on {cases} cases, cap {cap:g}"
    return RuleResult("calibration", bool(error <= cap), why, {"error": error, "cap": cap, "cases": cases})


def synthetic_stays_apart(*, synthetic: bool, name: str, name_is_synthetic: bool) -> RuleResult:
    """What was made from synthetic images never stands where people look for models of patients, nor the reverse."""
    what = "synthetic images" if synthetic else "images of patients"
    of = "such" if name_is_synthetic == synthetic else "synthetic" if name_is_synthetic else "real"
    return RuleResult(
        "synthetic stays apart",
        synthetic == name_is_synthetic,
        f"trained on {what}; {name} is a name of {of} models",
        {"synthetic": synthetic, "name": name},
    )
