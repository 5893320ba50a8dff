"""What a candidate must show before it is served: one function per rule, plain values in, a verdict with reasons out.

None of them raises: what is not known is a rule that was not met.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from eusml.evaluation.metrics import Estimate
from eusml.sentences import Sentence, sentence

DOUBTFUL = ("same picture, two labels", "one patient, two labels", "unreadable")
"""Findings of the audit that leave no trust in a label or a file when they are kept."""


@dataclass(frozen=True)
class RuleResult:
    """One rule and how the candidate stands by it."""

    rule: str
    passed: bool
    why: str
    """A `Sentence` with the figures in it."""
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
    name = "audit is clean"
    if findings is None:
        why = sentence("whys.no_audit", "no audit is on record")
        return RuleResult(name, not required, why if required else _waived(why))
    if not pictures_compared:
        why = sentence(
            "whys.not_compared",
            "the same picture under two labels was not looked for (data.audit.near_duplicates)",
        )
        return RuleResult(name, not required, why if required else _waived(why))
    doubtful = [f for f in findings if f["kind"] in DOUBTFUL and f["decision"] != "dropped"]
    figures = {"findings": len(findings), "doubtful_and_kept": len(doubtful)}
    if not doubtful:
        template = "{count} finding(s), none that makes a label doubtful was kept"
        return RuleResult(name, True, sentence("whys.clean", template, count=len(findings)), figures)
    kinds = [Sentence(kind, f"kinds.{kind}") for kind in dict.fromkeys(f["kind"] for f in doubtful)]
    why = sentence("whys.doubtful", "{count} kept ({kinds})", count=len(doubtful), kinds=kinds)
    return RuleResult(name, not required, why if required else _waived(why), figures)


def _waived(why: Sentence) -> Sentence:
    return sentence("whys.waived", "{why}; not asked for", why=why)


def digests_match(digests: Mapping[str, tuple[str | None, str | None]]) -> RuleResult:
    """Everything is still what was recorded.

    Args:
        digests: what it is of, to the recorded digest and the one found now; None where there is none.
    """
    wrong = [what for what, (recorded, found) in digests.items() if recorded is None or recorded != found]
    figures = {what: {"recorded": recorded, "found": found} for what, (recorded, found) in digests.items()}
    named = {what: Sentence(what, f"named.{what}") for what in digests}
    if not wrong:
        why = sentence("whys.as_recorded", "{what}: as recorded", what=list(named.values()))
        return RuleResult("digests match", True, why, figures)
    said = [
        sentence("whys.not_on_record", "{what} not on record", what=named[what])
        if digests[what][0] is None
        else sentence("whys.differs", "{what} differs", what=named[what])
        for what in wrong
    ]
    return RuleResult("digests match", False, sentence("whys.digests", "{what}", what=said), figures)


def files_are_sound(problem: str | None, files: int) -> RuleResult:
    """Every file of the model in the store is there, and is what was evaluated and recorded.

    Args:
        problem: what is wrong, None where nothing is.
        files: how many there are.
    """
    why = sentence("whys.sound", "{files} files, each as recorded", files=files)
    if problem is not None:
        why = sentence("whys.unsound", "", quoted=problem)
    return RuleResult("model files are sound", problem is None, why, {"files": files})


def was_champion(version: str, since: str | None) -> RuleResult:
    """The version to go back to was champion once.

    Args:
        version: its number.
        since: when it became champion, by the history; None where it never did.
    """
    why = sentence("whys.never_champion", "version {version} never was champion", version=version)
    if since:
        template = "version {version} became champion at {since}"
        why = sentence("whys.champion_since", template, version=version, since=since)
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
        why = sentence("whys.deleted", "version {version} was deleted", version=version)
        return RuleResult("version is there", False, why, figures)
    if then and registered != then:
        template = "the digest on version {version} was changed since it was champion"
        return RuleResult(
            "version is there", False, sentence("whys.digest_changed", template, version=version), figures
        )
    why = sentence("whys.registered", "version {version} is in the registry", version=version)
    return RuleResult("version is there", True, why, figures)


def not_rolled_back(version: str, when: str | None) -> RuleResult:
    """A champion that somebody rolled back is not brought back by the figures that had made it champion.

    Args:
        version: its number.
        when: it was rolled back last; None where it never was.
    """
    why = sentence("whys.never_back", "version {version} never was", version=version)
    if when:
        why = sentence(
            "whys.rolled_back",
            "version {version} was rolled back at {when}; `rollback` with promote.rollback_to={version} brings it back",
            version=version,
            when=when,
        )
    return RuleResult("was not rolled back", when is None, why, {"when": when})


def runs_finished(statuses: Mapping[str, str]) -> RuleResult:
    """The runs that made and measured the model ended well.

    Args:
        statuses: what the run did, to MLflow's status.
    """
    wrong = {what: status for what, status in statuses.items() if status != "FINISHED"}
    said = [f"{what}: {status}" for what, status in (wrong or statuses).items()]
    return RuleResult("runs finished", not wrong, sentence("whys.statuses", "{runs}", runs=said), dict(statuses))


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
        sentence("whys.at_changed", "{run} at {commit} with changes", run=what, commit=commit[:7])
        if dirty == "true"
        else sentence("whys.at", "{run} at {commit}", run=what, commit=commit[:7])
        for what, (commit, dirty) in states.items()
    ]
    why = sentence("whys.commits", "{runs}", runs=said)
    if unknown:
        why = sentence("whys.unknown_for", "unknown for {runs}", runs=unknown)
    passed = required == "any" or (not unknown and (required == "known" or not changed))
    return RuleResult("git state", passed, _waived(why) if required == "any" else why, figures)


def above_floor(measure: str, estimate: Estimate, floor: float, confidence: float) -> RuleResult:
    """The lower bound of a measure's interval is at least the floor; a floor of 0 asks nothing."""
    why = sentence(
        "whys.floor",
        "{estimate}, lower bound {bound} at {percent:g} %, floor {floor:g}",
        estimate=estimate_sentence(estimate),
        bound=bound(estimate.low, "{low:.3f}"),
        percent=100 * confidence,
        floor=floor,
    )
    figures = asdict(estimate) | {"floor": floor, "confidence": confidence}
    return RuleResult(f"{measure} above its floor", floor == 0.0 or bool(estimate.low >= floor), why, figures)


def calibration_below_cap(error: float, cap: float, cases: int) -> RuleResult:
    """The expected calibration error is at most the cap."""
    template = "expected calibration error {error:.3f} on {cases} cases, cap {cap:g}"
    why = sentence("whys.cap", template, error=error, cases=cases, cap=cap)
    return RuleResult("calibration", bool(error <= cap), why, {"error": error, "cap": cap, "cases": cases})


def synthetic_stays_apart(*, synthetic: bool, name: str, name_is_synthetic: bool) -> RuleResult:
    """What was made from synthetic images never stands where people look for models of patients, nor the reverse."""
    what = ("images of patients", "synthetic images")[synthetic]
    of = "such" if name_is_synthetic == synthetic else ("real", "synthetic")[name_is_synthetic]
    why = sentence(
        "whys.apart",
        "trained on {what}; {name} is a name of {of} models",
        what=Sentence(what, f"named.{what}"),
        name=name,
        of=Sentence(of, f"named.{of}"),
    )
    return RuleResult(
        "synthetic stays apart", synthetic == name_is_synthetic, why, {"synthetic": synthetic, "name": name}
    )


def bound(low: float, template: str) -> str:
    """A lower bound as the template shows it, or that there is none."""
    return sentence("whys.no_bound", "no bound") if math.isnan(low) else template.format(low=low)


def estimate_sentence(estimate: Estimate) -> str:
    """An estimate with its interval, or that there is none."""
    if math.isnan(estimate.value):
        return sentence("whys.undefined", "undefined (0/0)")
    if math.isnan(estimate.low):
        return sentence("whys.no_interval", "{value} (no interval)", value=estimate.text().partition(" (")[0])
    return estimate.text()
