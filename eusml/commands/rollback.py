"""Entry point `rollback`: give the champion's alias back to an earlier champion."""

from dataclasses import dataclass

from eusml.commands.champion import champion_of, follow, mark_displaced, write_on
from eusml.commands.history import registered_model
from eusml.commands.job import Job, open_job
from eusml.commands.promote import Promotion, moved
from eusml.commands.terminal import say
from eusml.config import Config
from eusml.errors import CheckpointError, PromotionError, TrackingError
from eusml.evaluation import rules
from eusml.evaluation.decision import Decision
from eusml.tracking import history, registry, runs, versions


@dataclass(frozen=True)
class Target:
    """The version to go back to."""

    version: str
    entry: history.Entry | None
    """What made it champion last; None where nothing did."""
    chosen: str
    """Why this one."""


def run(config: Config) -> None:
    """Roll back by one champion, or to `promote.rollback_to`, as an MLflow run of its own.

    Raises:
        PromotionError: there is none to go back to, it is not sound, or somebody moved the champion meanwhile.
    """
    with open_job("rollback", config) as job:
        result = rollback(job)
    result.check()


def rollback(job: Job) -> Promotion:
    """Decide, record the decision, and move the alias if every rule is met.

    No figures are compared: a version that was champion has met the rules of its time, and whoever goes back to it has
    a reason that no figure shows. What is asked is that it is the very model that was champion.

    Raises:
        PromotionError: there is no earlier champion, or somebody moved the champion meanwhile.
    """
    settings, name = job.config.promote, registered_model(job.config)
    known = history.read(name, settings.alias)
    if known is None or known.champion is None:
        raise PromotionError(f"{name} has had no {settings.alias}, so there is nothing to roll back")
    follow(known)
    champion, target = champion_of(known), _target(known, settings.rollback_to)
    version = versions.version_of(name, target.version)
    job.synthetic = registry.is_synthetic_name(name)
    decision = Decision(
        name=name,
        alias=settings.alias,
        version=target.version,
        arm=(version.tags.get("eusml.arm", "") if version else ""),
        chosen=target.chosen,
        champion=champion.entry.after if champion.entry else None,
        part="",
        rules=_rules(name, target, version),
        policy={},
        synthetic=job.synthetic,
        dry_run=settings.dry_run,
        kind="rollback",
    )
    job.run.tags(runs.common_tags("rollback", source="registry", synthetic=job.synthetic, fingerprint=""))
    job.run.text(decision.json(), "decision.json")
    job.run.note(decision.markdown())
    if decision.moves and not moved(known, decision, version, job.run):
        # What was to be undone is not what is champion now, so nobody asked for this.
        raise PromotionError(
            f"{name}: the {settings.alias} was changed by somebody else meanwhile, and not rolled back; look at "
            "`history` and ask again"
        )
    job.run.tags({"eusml.decision": decision.outcome, "eusml.decision_digest": decision.digest})
    for line in decision.lines():
        say(line)
    if decision.moves:
        assert version is not None
        note = f"{decision.markdown()}\n\n{version.description}"
        write_on(version, decision, job.run.run_id, outcome=decision.outcome, description=note)
        mark_displaced(champion, decision, job.run.run_id)
    return Promotion(decision, job.run.run_id, target.version if decision.moves else decision.champion)


def _target(known: history.History, asked: int | None) -> Target:
    assert known.champion is not None
    if asked is not None:
        entries = [entry for entry in known.entries if entry.after == str(asked)]
        return Target(str(asked), entries[-1] if entries else None, f"version {asked} was asked for")
    earlier = known.displaced()
    if not earlier:
        raise PromotionError(
            f"{known.name} has had one {known.alias} only, version {known.champion.after}: there is none to go back to"
        )
    why = f"version {earlier[-1].after} was {known.alias} before version {known.champion.after}"
    return Target(earlier[-1].after, earlier[-1], why)


def _rules(name: str, target: Target, version: versions.RegisteredVersion | None) -> list[rules.RuleResult]:
    return [
        rules.was_champion(target.version, None if target.entry is None else target.entry.when),
        rules.version_is_there(
            target.version,
            registered=None if version is None else version.files_sha256,
            then=None if target.entry is None else target.entry.files_sha256,
        ),
        rules.files_are_sound(*_soundness(version)),
        rules.synthetic_stays_apart(
            synthetic=version is not None and version.tags.get(runs.SYNTHETIC) == "true",
            name=name,
            name_is_synthetic=registry.is_synthetic_name(name),
        ),
    ]


def _soundness(version: versions.RegisteredVersion | None) -> tuple[str | None, int]:
    """What is wrong with the files of a version, and how many there are."""
    if version is None:
        return "there are none", 0
    try:
        return None, versions.verified_files(version)
    except (CheckpointError, TrackingError) as error:
        return str(error), 0
